//! What somebody looks at: which table, in which order, what of it. Keys change it, and nothing else does.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::filter::Filter;
use super::store::Window;
use super::tables::{Kind, Sorting};

/// Characters that a filter may have.
const LONGEST_FILTER: usize = 200;

/// What was gone into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// The table that it was chosen from.
    pub kind: Kind,
    /// Its row's key.
    pub key: String,
}

/// Which row is marked. By its key, so that it stays the same one when others move.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// The row's; none as long as nobody has moved: the first one, whichever it is.
    pub key: Option<String>,
    /// Where it is, or was.
    pub index: usize,
    /// The first row on the screen.
    pub offset: usize,
}

/// Everything that keys change.
#[derive(Debug)]
pub struct State {
    /// The tab.
    pub tab: Kind,
    /// What was gone into from there.
    pub path: Vec<Level>,
    /// A mark for the tab's table and each level.
    marks: Vec<Mark>,
    /// By the order of [`Kind::ALL`].
    sortings: [Sorting; Kind::ALL.len()],
    /// Which intervals count.
    pub window: Window,
    /// What is shown.
    pub filter: Filter,
    /// While the filter is being typed: what it was before.
    pub typing: Option<Filter>,
    /// Nothing new is shown.
    pub paused: bool,
    /// The keys are shown.
    pub help: bool,
    /// Keys of the rows that are shown, in their order; as many empty ones as there are lines, of a page of text.
    rows: Vec<String>,
    /// Rows that fit on the screen.
    page: usize,
}

/// Whether it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It does.
    Go,
    /// Somebody has seen enough.
    Quit,
}

impl State {
    /// At the start.
    pub fn new(tab: Kind, sorting: Option<Sorting>, filter: Filter) -> Self {
        let mut sortings = Kind::ALL.map(Kind::sorting);
        if let Some(sorting) = sorting {
            sortings[tab as usize] = sorting;
        }
        Self {
            tab,
            path: Vec::new(),
            marks: vec![Mark::default()],
            sortings,
            window: Window::default(),
            filter,
            typing: None,
            paused: false,
            help: false,
            rows: Vec::new(),
            page: 1,
        }
    }

    /// Which table is shown; none where one thing's page is.
    pub fn table(&self) -> Option<Kind> {
        match self.path.last() {
            None => Some(self.tab),
            Some(level) if level.kind == Kind::Programs => Some(Kind::Flows),
            Some(_) => None,
        }
    }

    /// The order of a table.
    pub fn sorting(&self, kind: Kind) -> Sorting {
        self.sortings[kind as usize]
    }

    /// The marked row of what is shown.
    pub fn mark(&self) -> Mark {
        self.marks.last().cloned().unwrap_or_default()
    }

    /// Is told what is shown: the rows' keys, or how many lines of text, and how many fit on the screen. Keeps the mark
    /// on its row, or where that was, and on the screen.
    pub fn settle(&mut self, rows: Vec<String>, page: usize) {
        (self.rows, self.page) = (rows, page.max(1));
        let (rows, page) = (&self.rows, self.page);
        let text = self.path.last().is_some_and(|level| level.kind != Kind::Programs);
        let Some(mark) = self.marks.last_mut() else { return };
        let found = mark.key.as_ref().and_then(|key| rows.iter().position(|row| row == key));
        if text {
            // A page of text has no mark: it moves as a whole.
            mark.index = mark.index.min(rows.len().saturating_sub(page));
            mark.offset = mark.index;
            return;
        }
        mark.index = found.unwrap_or(mark.index).min(rows.len().saturating_sub(1));
        if mark.key.is_some() {
            mark.key = rows.get(mark.index).cloned();
        }
        let last = rows.len().saturating_sub(page);
        mark.offset = mark.offset.clamp(mark.index.saturating_sub(page - 1), mark.index).min(last);
    }

    /// What a key does.
    pub fn press(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Go;
        }
        if key.modifiers.contains(KeyModifiers::ALT) {
            // How a terminal sends Alt is how it sends Esc and the next key, when they come together.
            let escape = KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE);
            let rest = KeyEvent { modifiers: key.modifiers.difference(KeyModifiers::ALT), ..key };
            return match self.press(escape) {
                Next::Go => self.press(rest),
                Next::Quit => Next::Quit,
            };
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.press_with_control(key.code);
        }
        if self.typing.is_some() {
            self.type_filter(key.code);
            return Next::Go;
        }
        if self.help {
            self.help = false;
            return if key.code == KeyCode::Char('q') { Next::Quit } else { Next::Go };
        }
        self.command(key.code)
    }

    fn press_with_control(&mut self, code: KeyCode) -> Next {
        match code {
            KeyCode::Char('c') => return Next::Quit,
            KeyCode::Char('u') if self.typing.is_some() => self.set_filter(""),
            KeyCode::Char('d' | 'f') => self.go(1, self.page),
            KeyCode::Char('b' | 'u') => self.go(-1, self.page),
            _ => {}
        }
        Next::Go
    }

    fn command(&mut self, code: KeyCode) -> Next {
        match code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            KeyCode::Char(digit @ '1'..='6') => {
                let index = digit as usize - '1' as usize;
                self.show(Kind::ALL[index]);
            }
            KeyCode::Tab => self.turn(1),
            KeyCode::BackTab => self.turn(Kind::ALL.len() - 1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1, 1),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1, 1),
            KeyCode::PageDown => self.go(1, self.page),
            KeyCode::PageUp => self.go(-1, self.page),
            KeyCode::Home | KeyCode::Char('g') => self.go(-1, usize::MAX),
            KeyCode::End | KeyCode::Char('G') => self.go(1, usize::MAX),
            KeyCode::Right | KeyCode::Char('>') => self.sort_by_neighbour(1),
            KeyCode::Left | KeyCode::Char('<') => self.sort_by_neighbour(-1),
            KeyCode::Char('r') => {
                if let Some(kind) = self.table() {
                    self.sortings[kind as usize].descending ^= true;
                }
            }
            KeyCode::Char('/') => self.typing = Some(self.filter.clone()),
            KeyCode::Char('p' | ' ') => self.paused ^= true,
            KeyCode::Char('w') => self.window = self.window.next(),
            KeyCode::Enter => self.go_into(),
            KeyCode::Esc | KeyCode::Backspace => self.go_back(),
            _ => {}
        }
        Next::Go
    }

    fn type_filter(&mut self, code: KeyCode) {
        let text = self.filter.text();
        match code {
            KeyCode::Enter => self.typing = None,
            KeyCode::Esc => {
                if let Some(before) = self.typing.take() {
                    self.filter = before;
                }
            }
            KeyCode::Backspace => {
                let mut text = text.to_owned();
                text.pop();
                self.set_filter(&text);
            }
            KeyCode::Char(c) if text.chars().count() < LONGEST_FILTER => {
                let text = format!("{text}{c}");
                self.set_filter(&text);
            }
            _ => {}
        }
    }

    fn set_filter(&mut self, text: &str) {
        self.filter = Filter::parse(text);
    }

    fn show(&mut self, tab: Kind) {
        self.tab = tab;
        self.path.clear();
        self.marks = vec![Mark::default()];
    }

    fn turn(&mut self, by: usize) {
        self.show(Kind::ALL[(self.tab as usize + by) % Kind::ALL.len()]);
    }

    fn go(&mut self, direction: isize, by: usize) {
        let last = self.rows.len().saturating_sub(1);
        let Some(mark) = self.marks.last_mut() else { return };
        mark.index = if direction < 0 {
            mark.index.saturating_sub(by)
        } else {
            mark.index.saturating_add(by).min(last)
        };
        mark.key = self.rows.get(mark.index).filter(|key| !key.is_empty()).cloned();
    }

    fn sort_by_neighbour(&mut self, by: isize) {
        let Some(kind) = self.table() else { return };
        let columns = kind.columns().len();
        let column = self.sorting(kind).column;
        let column = column.saturating_add_signed(by).min(columns - 1);
        if column != self.sorting(kind).column {
            self.sortings[kind as usize] = Sorting::by(kind, column);
        }
    }

    fn go_into(&mut self) {
        let Some(kind) = self.table() else { return };
        let Some(key) = self.rows.get(self.mark().index) else { return };
        // Findings and parents that own no socket have no more to tell.
        if kind == Kind::Status || (kind == Kind::Processes && key.starts_with("parent ")) {
            return;
        }
        let key = key.clone();
        if let Some(mark) = self.marks.last_mut() {
            mark.key = Some(key.clone());
        }
        self.path.push(Level { kind, key });
        self.marks.push(Mark::default());
    }

    fn go_back(&mut self) {
        if self.path.pop().is_some() {
            self.marks.pop();
        } else {
            self.set_filter("");
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
