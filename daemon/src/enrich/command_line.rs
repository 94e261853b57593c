//! Command lines without their secrets: passwords, tokens and keys become `[REDACTED]`.
//!
//! Owns what counts as a secret, by three signs: the name in front of it (`--password=x`, `X-Api-Key: x`), the
//! program whose option it is (`mysql -px`), and its own shape (`ghp_…`, `scheme://user:password@host`). In doubt it
//! masks. Where command lines come from, how long they may be and where they go is not known here.
//!
//! A secret that stands alone, with no name, in no known place and of no known shape, is not found: that is why
//! command lines are off by default.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use regex::{Captures, Regex};

use self::names::Names;
use self::programs::Program;
use self::text::{has_space, mask_text};

mod names;
mod programs;
#[cfg(test)]
mod tests;
mod text;

/// Stands for a secret.
pub const REDACTED: &str = "[REDACTED]";

/// Scripts within scripts are followed so far: `sh -c "ssh host 'sh -c …'"`.
const DEEPEST: usize = 3;
/// Programs of one command line whose options are known at the same time, as in `sudo docker exec db mysql`.
const MOST_PROGRAMS: usize = 8;

/// Takes secrets out of command lines.
#[derive(Debug, PartialEq, Eq)]
pub struct Masker {
    names: Names,
}

impl Masker {
    /// A masker for which names that contain one of `extra` are names of secrets too. Case, `-` and `_` make no
    /// difference.
    #[must_use]
    pub fn new(extra: &[String]) -> Self {
        Self { names: Names::new(extra) }
    }

    /// The arguments without their secrets, as many as there were. The first is the program's own name (`argv[0]`),
    /// which need not be that of its executable.
    #[must_use]
    pub fn mask(&self, executable_name: &str, args: &[impl AsRef<str>]) -> Vec<Arc<str>> {
        let mut line = Line::new(&self.names, 0);
        line.notice_program(executable_name);
        let words = args.iter().enumerate();
        words.map(|(index, word)| line.word(word.as_ref(), index == 0).into()).collect()
    }
}

/// What is hidden of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secret {
    /// Nothing: the value of a harmless option.
    Nothing,
    /// All.
    Whole,
    /// All, unless it is the path of a file.
    UnlessPath,
    /// What is behind this character, `user:password`; without the character nothing.
    Behind(char),
    /// All, unless it has no `=`, and so is the path of a file: curl's `--cookie`.
    Cookie,
    /// All, if it is as long as AWS's secret keys; a shorter word only follows by chance.
    AccessKey,
    /// The password behind `pass:`; not what says where it comes from: openssl-passphrase-options(1).
    PassPhrase,
}

impl Secret {
    fn hide(self, value: &str) -> Cow<'_, str> {
        let all = Cow::Borrowed(REDACTED);
        // Too short to keep, or a switch.
        if value.chars().nth(1).is_none() {
            return value.into();
        }
        match self {
            Self::Whole => all,
            Self::AccessKey if value.len() >= 30 && !value.starts_with('-') => all,
            Self::UnlessPath if !text::is_path(value) => all,
            Self::Cookie if value.contains('=') => all,
            Self::Behind(mark) => match value.split_once(mark) {
                // `curl -u KEY:` sends a key as the user, and no password.
                Some((_, "")) => format!("{REDACTED}{mark}").into(),
                Some((user, _)) => format!("{user}{mark}{REDACTED}").into(),
                None => value.into(),
            },
            Self::PassPhrase => match value.split_once(':') {
                Some(("file" | "env" | "fd", _)) => value.into(),
                None if value == "stdin" => value.into(),
                Some(("pass", _)) => format!("pass:{REDACTED}").into(),
                _ => all,
            },
            Self::Nothing | Self::UnlessPath | Self::Cookie | Self::AccessKey => value.into(),
        }
    }
}

/// What the next word is.
#[derive(Debug, Clone, Copy)]
struct Pending {
    secret: Secret,
    /// It is that even if it looks like an option.
    certain: bool,
    /// Options may come in between.
    stays: bool,
    /// The one behind it is the same.
    repeats: bool,
}

/// A command line while it is read.
struct Line<'a> {
    names: &'a Names,
    depth: usize,
    /// Latest last.
    programs: Vec<&'static Program>,
    /// Programs whose subcommand has been seen.
    armed: Vec<&'static str>,
    pending: Option<Pending>,
    /// The word before was `set`.
    sets: bool,
}

/// An option, an assignment or a word that could name something.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s)^(?P<dashes>--?)?(?P<name>[A-Za-z_][A-Za-z0-9_.\[\]-]*)(?:=(?P<value>.*))?$")
        .expect("a constant pattern")
});
static OPTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s)^(?:--[A-Za-z][\w.-]*(?:=.*)?|-[A-Za-z]|-[a-z]{2,}(?:=.*)?)$")
        .expect("a constant pattern")
});
/// A header as one argument: its value goes to the end.
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s)^(?P<name>[A-Za-z][A-Za-z0-9_-]*):\s+(?P<value>.*)$").expect("a constant pattern")
});
/// `user/password@database`, as Oracle's tools take it.
static CONNECT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)^([^/\s=]+/)([^@]+)(@.*)?$").expect("a constant pattern"));
/// The public half of AWS's credentials; the secret one likes to follow.
static ACCESS_KEY_ID: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^(?:AKIA|ASIA)[0-9A-Z]{16}$").expect("a constant pattern"));
/// A word of a shell's script, with its quotes.
static SHELL_WORD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?s)(?:"(?:[^"\\]|\\.)*"|'[^']*'|\\.|[^\s;|&()"'\\])+"#).expect("a constant pattern")
});

impl<'a> Line<'a> {
    fn new(names: &'a Names, depth: usize) -> Self {
        Self { names, depth, programs: Vec::new(), armed: Vec::new(), pending: None, sets: false }
    }

    fn word<'w>(&mut self, word: &'w str, first: bool) -> Cow<'w, str> {
        if first {
            self.notice_program(word);
            return self.free_text(word);
        }
        let sets = std::mem::take(&mut self.sets);
        if let Some(pending) = self.pending.take() {
            let gives_way = !pending.certain && OPTION.is_match(word);
            if !gives_way {
                self.pending = pending.repeats.then_some(pending);
                return match pending.secret.hide(word) {
                    Cow::Borrowed(kept) if kept == word => self.free_text(word),
                    hidden => hidden,
                };
            }
            // `vault login -method=userpass username=jo` has no token.
            let has_none = word.contains("method=") && !word.ends_with("token");
            self.pending = Some(pending).filter(|pending| pending.stays && !has_none);
        }
        if let Some(masked) = self.option_of_program(word).or_else(|| self.named(word)) {
            return masked;
        }
        if !word.starts_with('-') {
            self.plain(word, sets);
            if self.programs.iter().any(|program| program.takes_connect_string) {
                return CONNECT.replace(word, format!("$1{REDACTED}$3"));
            }
        }
        self.free_text(word)
    }

    /// The programs whose options may be met here, the latest first.
    fn active(&self) -> Vec<&'static Program> {
        let is_active =
            |program: &&Program| program.after.is_none() || self.armed.contains(&program.names[0]);
        self.programs.iter().rev().copied().filter(is_active).collect()
    }

    /// What the known programs have to say of an option; the latest of them first.
    fn option_of_program<'w>(&mut self, word: &'w str) -> Option<Cow<'w, str>> {
        let mut takes_next = false;
        for program in self.active() {
            let prefix = program
                .prefixes
                .iter()
                .find(|prefix| word.len() > prefix.len() && word.starts_with(**prefix));
            if let Some(prefix) = prefix {
                return Some(format!("{prefix}{REDACTED}").into());
            }
            match program.letters(word) {
                Some((head, "", Secret::Nothing)) => takes_next |= head == word,
                Some((_, "", secret)) => {
                    self.pending = Some(Pending { secret, certain: true, stays: false, repeats: false });
                    return Some(word.into());
                }
                Some((head, value, secret)) if secret != Secret::Nothing => {
                    return Some(format!("{head}{}", secret.hide(value)).into());
                }
                _ => {}
            }
        }
        if takes_next {
            self.pending =
                Some(Pending { secret: Secret::Nothing, certain: true, stays: false, repeats: false });
        }
        None
    }

    /// An option or an assignment whose name tells that its value is secret.
    fn named<'w>(&mut self, word: &'w str) -> Option<Cow<'w, str>> {
        let found = NAMED.captures(word)?;
        let name = found.name("name")?.as_str();
        let is_option = found.name("dashes").is_some();
        let of_program = || {
            let options = self.active().into_iter().flat_map(|program| program.long);
            is_option.then(|| options.into_iter().find(|(option, _)| *option == name)).flatten()
        };
        let (secret, certain) = match of_program() {
            Some((_, secret)) => (*secret, true),
            None => (self.names.secret(name)?, false),
        };
        if let Some(value) = found.name("value") {
            let hidden = match secret.hide(value.as_str()) {
                // Within a script, the text has been masked before its words are.
                _ if value.as_str().trim_matches(['"', '\'']) == REDACTED => return Some(word.into()),
                _ if text::is_switch(value.as_str()) => return Some(word.into()),
                // What a name does not tell, the value's shape may.
                Cow::Borrowed(kept) if kept == value.as_str() => return Some(self.free_text(word)),
                hidden => hidden,
            };
            return Some(format!("{}{hidden}", &word[..value.start()]).into());
        }
        let is_switch =
            || names::is_switch(name) || self.active().iter().any(|program| program.switches.contains(&name));
        if !is_option || is_switch() {
            return None;
        }
        self.pending = Some(Pending { secret, certain, stays: false, repeats: false });
        Some(word.into())
    }

    /// A word that is neither option nor assignment: what does it say of those that follow?
    fn plain(&mut self, word: &str, sets: bool) {
        let lower = word.to_ascii_lowercase();
        self.sets = lower == "set";
        // `AUTH password` and `AUTH user password` of Redis.
        let repeats = lower == "auth";
        let pending =
            |stays: bool| Some(Pending { secret: Secret::Whole, certain: repeats || !stays, stays, repeats });
        if sets && word.rsplit(['/', ':']).next().is_some_and(|name| self.names.secret(name).is_some()) {
            self.pending = pending(false);
        }
        for program in &self.programs {
            if program.words.contains(&lower.as_str()) {
                self.pending = pending(true);
            }
            let arms = program.after.is_some_and(|after| after.contains(&lower.as_str()));
            if arms && !self.armed.contains(&program.names[0]) {
                self.armed.push(program.names[0]);
            }
        }
        if ACCESS_KEY_ID.is_match(word) {
            self.pending =
                Some(Pending { secret: Secret::AccessKey, certain: false, stays: false, repeats: false });
        }
        self.programs.retain(|program| !program.ends_at_word);
        self.notice_program(word);
    }

    fn notice_program(&mut self, word: &str) {
        let name = word.rsplit('/').next().unwrap_or(word);
        for program in programs::find(name) {
            if self.programs.len() < MOST_PROGRAMS && !self.programs.contains(&program) {
                self.programs.push(program);
            }
        }
    }

    /// Text in which secrets may stand anywhere, and which may itself be a command line.
    fn free_text<'w>(&self, word: &'w str) -> Cow<'w, str> {
        if let Some(header) = HEADER.captures(word)
            && let (Some(name), Some(value)) = (header.name("name"), header.name("value"))
            && self.names.secret(name.as_str()).is_some()
            && !text::is_switch(value.as_str())
        {
            return format!("{}{REDACTED}", &word[..value.start()]).into();
        }
        let masked = mask_text(self.names, word);
        if self.depth >= DEEPEST || !has_space(&masked) {
            return masked;
        }
        match self.script(&masked) {
            script if script == masked => masked,
            script => script.into(),
        }
    }

    fn script(&self, script: &str) -> String {
        let mut line = Self::new(self.names, self.depth + 1);
        let mut masked = String::with_capacity(script.len());
        let mut end = 0;
        for word in SHELL_WORD.find_iter(script) {
            let between = &script[end..word.start()];
            if between.contains([';', '|', '&', '(', ')', '\n']) {
                line = Self::new(self.names, self.depth + 1);
            }
            masked.push_str(between);
            masked.push_str(&line.quoted(word.as_str()));
            end = word.end();
        }
        masked.push_str(&script[end..]);
        masked
    }

    /// A word in quotes is masked as what is within them.
    fn quoted<'w>(&mut self, word: &'w str) -> Cow<'w, str> {
        for quote in ['"', '\''] {
            let inner = word.strip_prefix(quote).and_then(|word| word.strip_suffix(quote));
            if let Some(inner) = inner.filter(|inner| quote == '"' || !inner.contains(quote)) {
                return format!("{quote}{}{quote}", self.word(inner, false)).into();
            }
        }
        self.word(word, false)
    }
}

/// Replaces each place that a pattern finds with what `with` makes of it.
fn replace<'t>(text: Cow<'t, str>, pattern: &Regex, with: impl Fn(&Captures<'_>) -> String) -> Cow<'t, str> {
    match pattern.replace_all(&text, with) {
        Cow::Borrowed(_) => text,
        Cow::Owned(changed) => Cow::Owned(changed),
    }
}
