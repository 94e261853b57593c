//! Reading the next record, whatever lies before it.

use std::fs::File;
use std::io;

use bytes::Bytes;

use super::{Held, Source, Spool};
use crate::RECORD_OVERHEAD;
use crate::files::{missing_is_empty, read_exactly, read_segment};
use crate::kinds::Record;
use crate::loss::Loss;
use crate::segment::{Found, RECORD_HEADER_BYTES, RecordHeader, scan};

enum Read {
    Record(RecordHeader, Bytes),
    Skipped,
    Damaged,
}

impl Spool {
    /// The oldest record that is not settled; `None` when there is none.
    pub(super) fn read_next(&mut self) -> io::Result<Option<Held>> {
        while let Some(front) = self.segments.front() {
            let (number, bytes) = (front.number, front.bytes);
            if self.cursor >= bytes {
                let last = self.active.is_some() && self.segments.len() == 1;
                self.forget_unread();
                if last {
                    return Ok(None);
                }
                self.remove_consumed()?;
                continue;
            }
            match self.read_at_cursor(number, bytes)? {
                Read::Record(header, body) => {
                    self.next_read = header.sequence.saturating_add(1);
                    let record = Record {
                        body,
                        items: header.items,
                        kind: header.kind,
                        sequence: header.sequence,
                        unix_ms: header.unix_ms,
                    };
                    return Ok(Some(Held { record, before: header.before, number: Some(number) }));
                }
                Read::Skipped => {}
                Read::Damaged => {
                    if self.segments.len() == 1 {
                        // What is appended would not be in the copy that is read from now on.
                        self.seal()?;
                    }
                    let mut whole = read_segment(&self.path(number)).or_else(missing_is_empty)?;
                    whole.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
                    self.source = Some(Source::Bytes(whole));
                }
            }
        }
        Ok(None)
    }

    /// Reads what begins at the cursor and moves it on, but for damage in a file.
    fn read_at_cursor(&mut self, number: u64, segment_bytes: u64) -> io::Result<Read> {
        let source = match self.source.take() {
            Some(source) => source,
            None => match File::open(self.path(number)) {
                Ok(file) => Source::File(file),
                Err(error) => Source::Bytes(missing_is_empty(error)?),
            },
        };
        let source = self.source.insert(source);
        let (header, body) = match source {
            Source::File(file) => {
                let mut bytes = [0; RECORD_HEADER_BYTES];
                if !read_exactly(file, &mut bytes, self.cursor)? {
                    return Ok(Read::Damaged);
                }
                let fits = |header: &RecordHeader| self.cursor + header.record_bytes() <= segment_bytes;
                let Some(header) = RecordHeader::decode(&bytes).filter(fits) else {
                    return Ok(Read::Damaged);
                };
                if header.sequence < self.next_read {
                    self.cursor += header.record_bytes();
                    return Ok(Read::Skipped);
                }
                let mut body = vec![0; header.length as usize];
                if !read_exactly(file, &mut body, self.cursor + RECORD_OVERHEAD)?
                    || crc32fast::hash(&body) != header.checksum
                {
                    return Ok(Read::Damaged);
                }
                self.cursor += header.record_bytes();
                (header, Bytes::from(body))
            }
            Source::Bytes(bytes) => {
                let offset = usize::try_from(self.cursor).unwrap_or(usize::MAX);
                let Some(found) = scan(bytes, offset) else {
                    self.cursor = segment_bytes;
                    return Ok(Read::Skipped);
                };
                self.cursor = found.end() as u64;
                match found {
                    Found::Record { header, body, .. } if header.sequence >= self.next_read => {
                        (header, Bytes::copy_from_slice(body))
                    }
                    Found::Record { .. } | Found::BadBody { .. } | Found::Gap { .. } => {
                        return Ok(Read::Skipped);
                    }
                }
            }
        };
        Ok(Read::Record(header, body))
    }

    /// The oldest segment was read to its end: what it should have held beyond that is lost.
    fn forget_unread(&mut self) {
        if let Some(front) = self.segments.front_mut()
            && self.held.is_none()
            && front.records > 0
        {
            self.losses.add(Loss::Corrupt, front.records, front.items);
            (front.records, front.items) = (0, 0);
        }
    }
}
