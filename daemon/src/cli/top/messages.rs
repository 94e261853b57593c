//! What the probes of this process have to say while the screen is taken: the last lines are kept, and shown with the
//! state.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that are kept.
const MOST: usize = 100;
/// Bytes of a line that are kept.
const LONGEST: usize = 2_000;

/// The last lines. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Messages(Arc<Mutex<VecDeque<String>>>);

impl Messages {
    /// The lines, oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Takes one line.
#[derive(Debug)]
pub struct Line {
    to: Messages,
    text: Vec<u8>,
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LONGEST.saturating_sub(self.text.len());
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.text).trim_end().to_owned();
        let mut lines = self.to.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= MOST {
            lines.pop_front();
        }
        lines.push_back(text);
    }
}

impl<'a> MakeWriter<'a> for Messages {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { to: self.clone(), text: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let messages = Messages::default();
        for n in 0..MOST + 3 {
            writeln!(messages.make_writer(), "line {n}").expect("memory takes all");
        }
        let lines = messages.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (MOST, "line 3"));
        messages.make_writer().write_all(&[b'x'; 10 * LONGEST]).expect("memory takes all");
        assert_eq!(messages.lines().last().map(String::len), Some(LONGEST));
    }
}
