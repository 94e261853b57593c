//! How a spool is found again: all segments are read once, and what is missing between them is told.

use std::fs::{self, OpenOptions};
use std::io;

use super::{LOCK, POSITION, Segment, Spool};
use crate::files::{read_segment, segment_number};
use crate::loss::{Loss, Losses};
use crate::position::Position;
use crate::segment::{self, Found, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, scan};

impl Spool {
    /// Reads all segments. Without a position, the oldest record that is found is the first.
    pub(super) fn recover(&mut self, position: Option<Position>) -> io::Result<()> {
        let numbers = self.list()?;
        let position = match position {
            // Nothing is missing yet: from here on, it would be noticed.
            None if numbers.is_empty() => {
                self.write_position(self.next_write)?;
                Some(self.next_write)
            }
            known => known,
        };
        self.next_number = numbers.last().map_or(0, |number| number.saturating_add(1));
        let mut walk = Walk { expected: position, next: self.next_write, pending: None };
        let last = numbers.last().copied();
        for number in numbers {
            let path = self.path(number);
            let Ok(bytes) = read_segment(&path) else {
                // It may be readable another day, but by then it would be out of order.
                let _ = fs::rename(&path, path.with_extension("unreadable"));
                self.foreign += 1;
                continue;
            };
            let header = segment::read_segment_header(&bytes, number);
            let start = match header {
                SegmentHeader::Good => SEGMENT_HEADER_BYTES,
                SegmentHeader::Bad => 0,
                SegmentHeader::OtherVersion(_) => {
                    self.foreign += 1;
                    continue;
                }
            };
            let (segment, good) = walk.segment(number, &bytes, start, &mut self.losses);
            if segment.records == 0 {
                fs::remove_file(&path)?;
                continue;
            }
            if Some(number) == last && good < bytes.len() as u64 {
                OpenOptions::new().write(true).open(&path)?.set_len(good)?;
            }
            let bytes = if Some(number) == last { good } else { segment.bytes };
            self.segments.push_back(Segment { bytes, ..segment });
        }
        walk.finish(&mut self.losses);
        self.next_write = walk.next;
        if let Some(front) = self.segments.front() {
            self.cursor = front.start;
        }
        Ok(())
    }

    /// The numbers of all segments, in order. Files of other names are counted and left alone.
    fn list(&mut self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == LOCK || name == POSITION {
                continue;
            }
            let number = name.to_str().and_then(segment_number);
            match number {
                // Through a link or from a pipe we read nothing.
                Some(number) if entry.file_type()?.is_file() => numbers.push(number),
                _ => self.foreign += 1,
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// Reads all segments in their order and tells what is missing between what was found.
struct Walk {
    /// What the next record should be; `None` before the first, when nobody knows.
    expected: Option<Position>,
    /// What the next record that is written will be.
    next: Position,
    /// Damage since the last good record, with what is known of it: records and items.
    pending: Option<(u64, u64)>,
}

impl Walk {
    /// The segment with the records that are to be sent, and where its last good record ends.
    fn segment(&mut self, number: u64, bytes: &[u8], start: usize, losses: &mut Losses) -> (Segment, u64) {
        let mut segment = Segment {
            number,
            start: start as u64,
            bytes: bytes.len() as u64,
            records: 0,
            items: 0,
            first_ms: 0,
            after: self.next,
        };
        let (mut offset, mut good) = (start, start as u64);
        if start == 0 && !bytes.is_empty() {
            self.pending.get_or_insert((0, 0));
        }
        while let Some(found) = scan(bytes, offset) {
            let begin = offset as u64;
            offset = found.end();
            match found {
                Found::Record { header, .. } => {
                    good = offset as u64;
                    if self.take(&header, losses) {
                        if segment.records == 0 {
                            (segment.start, segment.first_ms) = (begin, header.unix_ms);
                        }
                        segment.records += 1;
                        segment.items = segment.items.saturating_add(header.items.into());
                    }
                }
                Found::BadBody { header, .. } => {
                    self.see(&header);
                    if self.expected.is_none_or(|expected| header.sequence >= expected.sequence) {
                        let (records, items) = self.pending.unwrap_or_default();
                        self.pending = Some((records + 1, items.saturating_add(header.items.into())));
                    }
                }
                // A header at least was here, if anything was.
                Found::Gap { .. } => {
                    let (records, items) = self.pending.unwrap_or_default();
                    self.pending = Some((records + 1, items));
                }
            }
        }
        segment.after = self.next;
        (segment, good)
    }

    /// A good record. Answers whether it is to be sent.
    fn take(&mut self, header: &RecordHeader, losses: &mut Losses) -> bool {
        self.see(header);
        let after = Position { sequence: header.sequence.saturating_add(1), before: header.after() };
        let damaged = self.pending.take().is_some();
        if let Some(expected) = self.expected {
            if header.sequence < expected.sequence {
                return false;
            }
            let reason = if damaged { Loss::Corrupt } else { Loss::Missing };
            let items = header.before.saturating_sub(expected.before);
            losses.add(reason, header.sequence - expected.sequence, items);
        }
        self.expected = Some(after);
        true
    }

    fn see(&mut self, header: &RecordHeader) {
        if header.sequence >= self.next.sequence {
            self.next = Position { sequence: header.sequence.saturating_add(1), before: header.after() };
        }
    }

    /// Damage that no good record follows.
    fn finish(&mut self, losses: &mut Losses) {
        if let Some((records, items)) = self.pending.take() {
            losses.add(Loss::Torn, records, items);
        }
    }
}
