//! The terminal while it is ours, and giving it back as it was, however this ends.

use std::io::{self, Stdout, Write as _, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::scene::Looks;

/// Whether the terminal is ours. One process has one terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// A screen of its own, in raw mode; the terminal is as before once it is dropped.
pub struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// When standard output is none.
    pub fn take() -> io::Result<Self> {
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            // What a panic has to say is to be read, whichever thread it is.
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                before(panic);
            }));
        });
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let taken = execute!(stdout(), EnterAlternateScreen, Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        taken.map(Self).inspect_err(|_| give_back())
    }

    /// Whether it still is ours: a panic in another thread gives it back.
    pub fn is_taken(&self) -> bool {
        TAKEN.load(Ordering::SeqCst)
    }

    /// What is drawn on.
    pub fn terminal(&mut self) -> &mut Terminal<CrosstermBackend<Stdout>> {
        &mut self.0
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // It may be gone; then there is nothing to give back.
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = stdout().flush();
    }
}

/// What a terminal can do, from what the environment says of it: `NO_COLOR` (<https://no-color.org>), `TERM`, and the
/// first that is set of `LC_ALL`, `LC_CTYPE` and `LANG` (locale(7)).
pub fn looks(variable: impl Fn(&str) -> Option<String>) -> Looks {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let term = set("TERM").unwrap_or_default();
    let mono = ["dumb", "vt52", "vt100", "vt102", "vt220", "vt320"].contains(&term.as_str())
        || term.ends_with("-m")
        || term.ends_with("-mono")
        || term.is_empty();
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
    // The kernel's own console has no bars among its letters.
    let unicode = (locale.contains("utf-8") || locale.contains("utf8")) && term != "linux";
    Looks { colour: set("NO_COLOR").is_none() && !mono, unicode }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks_of(variables: &[(&str, &str)]) -> (bool, bool) {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let looks = looks(find);
        (looks.colour, looks.unicode)
    }

    #[test]
    fn colours_and_signs_are_for_terminals_that_have_them() {
        assert_eq!(looks_of(&[("TERM", "xterm-256color"), ("LANG", "de_DE.UTF-8")]), (true, true));
        assert_eq!(looks_of(&[("TERM", "tmux"), ("LANG", "C.utf8"), ("NO_COLOR", "1")]), (false, true));
        assert_eq!(looks_of(&[("TERM", "tmux"), ("NO_COLOR", "")]), (true, false));
        assert_eq!(looks_of(&[("TERM", "vt220"), ("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]), (false, false));
        assert_eq!(looks_of(&[("TERM", "linux"), ("LANG", "en_US.UTF-8")]), (true, false));
        assert_eq!(looks_of(&[]), (false, false));
    }
}
