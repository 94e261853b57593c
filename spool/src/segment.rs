//! The bytes of a segment: its header, its records, and how to find the next good record after bad ones.
//!
//! Pure functions over bytes. All numbers are little-endian; checksums are CRC-32 (ISO-HDLC).
//!
//! | segment header | bytes |
//! | --- | --- |
//! | `nsspool\n` | 8 |
//! | version of the format | 4 |
//! | number of the segment, as in its name | 8 |
//! | checksum of the above | 4 |
//!
//! | record header | bytes |
//! | --- | --- |
//! | `0xff` `nsr` | 4 |
//! | length of the body, which follows the header | 4 |
//! | sequence number | 8 |
//! | items in all records before this one | 8 |
//! | when it was written, Unix milliseconds | 8 |
//! | items | 4 |
//! | kind, the caller's own | 1 |
//! | zero | 3 |
//! | checksum of the body | 4 |
//! | checksum of the above | 4 |

/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 24;
/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 48;

const MAGIC: [u8; 8] = *b"nsspool\n";
const VERSION: u32 = 1;
/// Begins with a byte that UTF-8 never has: text within a damaged body cannot pass for a record.
const MARKER: [u8; 4] = [0xff, b'n', b's', b'r'];

/// What a segment's first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentHeader {
    /// Ours, of the number that it should have.
    Good,
    /// Of a version that is not ours to touch.
    OtherVersion(u32),
    /// Damaged, or no segment.
    Bad,
}

/// A segment's first bytes.
pub fn segment_header(number: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&number.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..20]);
    bytes[20..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads a segment's first bytes.
pub fn read_segment_header(bytes: &[u8], number: u64) -> SegmentHeader {
    let Some(header) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>() else { return SegmentHeader::Bad };
    let right = u32_at(header, 20) == crc32fast::hash(&header[..20]);
    if !right || header[..8] != MAGIC {
        return SegmentHeader::Bad;
    }
    match u32_at(header, 8) {
        VERSION if u64_at(header, 12) == number => SegmentHeader::Good,
        VERSION => SegmentHeader::Bad,
        version => SegmentHeader::OtherVersion(version),
    }
}

/// What is known of a record beside its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of its body.
    pub length: u32,
    /// Grows by one from record to record.
    pub sequence: u64,
    /// Items in all records before it.
    pub before: u64,
    /// When it was written, Unix milliseconds.
    pub unix_ms: u64,
    /// Items in it.
    pub items: u32,
    /// The caller's own.
    pub kind: u8,
    /// CRC-32 of the body.
    pub checksum: u32,
}

impl RecordHeader {
    /// As it stands in a segment.
    pub fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[..4].copy_from_slice(&MARKER);
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.before.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.unix_ms.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.items.to_le_bytes());
        bytes[36] = self.kind;
        bytes[40..44].copy_from_slice(&self.checksum.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` if it is damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<RECORD_HEADER_BYTES>()?;
        let right = header[..4] == MARKER && u32_at(header, 44) == crc32fast::hash(&header[..44]);
        right.then(|| Self {
            length: u32_at(header, 4),
            sequence: u64_at(header, 8),
            before: u64_at(header, 16),
            unix_ms: u64_at(header, 24),
            items: u32_at(header, 32),
            kind: header[36],
            checksum: u32_at(header, 40),
        })
    }

    /// Bytes of the whole record.
    pub fn record_bytes(&self) -> u64 {
        RECORD_HEADER_BYTES as u64 + u64::from(self.length)
    }

    /// Items in all records up to and with this one.
    pub fn after(&self) -> u64 {
        self.before.saturating_add(self.items.into())
    }
}

/// One stretch of a segment. Offsets are into the bytes that were scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// A record as it was written.
    Record {
        /// Its header.
        header: RecordHeader,
        /// Its body.
        body: &'a [u8],
        /// Where the next stretch begins.
        end: usize,
    },
    /// A record whose body is damaged or does not reach the end that its header tells.
    BadBody {
        /// Its header, which is right.
        header: RecordHeader,
        /// Where the next stretch begins.
        end: usize,
    },
    /// No record.
    Gap {
        /// Where the next stretch begins.
        end: usize,
    },
}

impl Found<'_> {
    /// Where the next stretch begins; always further than this one began.
    #[must_use]
    pub fn end(&self) -> usize {
        match self {
            Self::Record { end, .. } | Self::BadBody { end, .. } | Self::Gap { end } => *end,
        }
    }
}

/// The stretch that begins at `offset`; `None` at the end.
#[must_use]
pub fn scan(bytes: &[u8], offset: usize) -> Option<Found<'_>> {
    let rest = bytes.get(offset..).filter(|rest| !rest.is_empty())?;
    let Some(header) = RecordHeader::decode(rest) else {
        return Some(Found::Gap { end: next_header(bytes, offset + 1) });
    };
    let end = usize::try_from(header.record_bytes()).ok().filter(|length| *length <= rest.len());
    let Some(length) = end else {
        return Some(Found::BadBody { header, end: next_header(bytes, offset + 1) });
    };
    let (body, end) = (&rest[RECORD_HEADER_BYTES..length], offset + length);
    if crc32fast::hash(body) == header.checksum {
        return Some(Found::Record { header, body, end });
    }
    // Bytes may also be missing or too many, so that the next record is not where this one's length says.
    let aligned = RecordHeader::decode(&bytes[end..]).is_some();
    let end = if aligned { end } else { next_header(bytes, offset + 1) };
    Some(Found::BadBody { header, end })
}

/// Where the next good header begins, from `offset` on; else the end.
fn next_header(bytes: &[u8], mut offset: usize) -> usize {
    while let Some(rest) = bytes.get(offset..)
        && let Some(skip) = rest.iter().position(|byte| *byte == MARKER[0])
    {
        offset += skip;
        if RecordHeader::decode(&bytes[offset..]).is_some() {
            return offset;
        }
        offset += 1;
    }
    bytes.len()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(sequence: u64, body: &[u8]) -> Vec<u8> {
        let header = RecordHeader {
            length: body.len() as u32,
            sequence,
            before: sequence * 2,
            unix_ms: 7,
            items: 2,
            kind: 1,
            checksum: crc32fast::hash(body),
        };
        [&header.encode()[..], body].concat()
    }

    fn sequences(bytes: &[u8]) -> Vec<u64> {
        let (mut offset, mut all) = (0, Vec::new());
        while let Some(found) = scan(bytes, offset) {
            assert!(found.end() > offset && found.end() <= bytes.len());
            offset = found.end();
            if let Found::Record { header, .. } = found {
                all.push(header.sequence);
            }
        }
        assert_eq!(offset, bytes.len());
        all
    }

    proptest! {
        #[test]
        fn one_changed_byte_costs_one_record(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8),
            at in any::<prop::sample::Index>(),
            change in 1_u8..,
        ) {
            let records: Vec<Vec<u8>> = bodies.iter().zip(0..).map(|(body, n)| record(n, body)).collect();
            let mut bytes = records.concat();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            let mut end = 0;
            let hit = records.iter().position(|record| { end += record.len(); at < end }).unwrap() as u64;
            let expected: Vec<u64> = (0..records.len() as u64).filter(|n| *n != hit).collect();
            prop_assert_eq!(sequences(&bytes), expected);
        }

        #[test]
        fn bytes_that_vanish_cost_no_more_than_the_records_they_were_of(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 3..8),
            at in any::<prop::sample::Index>(),
            length in 1_usize..100,
        ) {
            let records: Vec<Vec<u8>> = bodies.iter().zip(0..).map(|(body, n)| record(n, body)).collect();
            let mut bytes = records.concat();
            let from = at.index(bytes.len());
            let to = (from + length).min(bytes.len());
            bytes.drain(from..to);
            let read = sequences(&bytes);
            prop_assert!(read.is_sorted_by(|a, b| a < b), "{read:?}");
            let mut start = 0;
            for (n, record) in (0..).zip(&records) {
                let range = start..start + record.len();
                start = range.end;
                if range.end <= from || range.start >= to {
                    prop_assert!(read.contains(&n), "{n} is not in {read:?}");
                } else if read.contains(&n) {
                    // What vanished may end as what is left before it does: then a record that was cut is whole again.
                    prop_assert!(bytes.windows(record.len()).any(|window| window == *record), "{n} was made up");
                }
            }
        }

        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            sequences(&bytes);
        }
    }

    /// Found by the property above: what is left of the record before ends in the byte that this one begins with.
    #[test]
    fn a_record_that_is_whole_after_a_cut_is_read() {
        let records = [record(0, &[MARKER[0], 0]), record(1, b"whole"), record(2, b"next")];
        let mut bytes = records.concat();
        let cut = records[0].len() - 1;
        bytes.drain(cut..cut + 2);
        assert_eq!(sequences(&bytes), [1, 2]);
    }

    #[test]
    fn a_segment_of_another_version_or_number_is_told() {
        let header = segment_header(5);
        assert_eq!(read_segment_header(&header, 5), SegmentHeader::Good);
        assert_eq!(read_segment_header(&header, 6), SegmentHeader::Bad);
        assert_eq!(read_segment_header(&header[..23], 5), SegmentHeader::Bad);
        let mut newer = header;
        newer[8] = 9;
        let checksum = crc32fast::hash(&newer[..20]);
        newer[20..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(read_segment_header(&newer, 5), SegmentHeader::OtherVersion(9));
    }
}
