//! Single files of a spool: their names, and reading and writing in them.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::RECORD_OVERHEAD;
use crate::segment::RecordHeader;

/// As much of a segment as is read: the longest record on top of the largest segment that we write, and more.
const MAX_SEGMENT_BYTES: u64 = 64 << 20;
pub const EXTENSION: &str = "seg";

/// The file name of a segment.
pub fn segment_name(number: u64) -> String {
    format!("{number:016x}.{EXTENSION}")
}

/// The number of the segment of that file name.
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    // Other spellings of the same number are not ours.
    (segment_name(number) == name).then_some(number)
}

/// Writes a record at an offset.
pub fn append(file: &File, offset: u64, header: &RecordHeader, body: &[u8]) -> io::Result<()> {
    file.write_all_at(&header.encode(), offset)?;
    file.write_all_at(body, offset + RECORD_OVERHEAD)
}

/// All of a segment.
pub fn read_segment(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SEGMENT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file that somebody has removed holds nothing.
pub fn missing_is_empty(error: io::Error) -> io::Result<Vec<u8>> {
    if error.kind() == io::ErrorKind::NotFound { Ok(Vec::new()) } else { Err(error) }
}

/// Removes a file, if somebody has not done so before.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(|error| missing_is_empty(error).map(|_| ()))
}

/// Answers whether the file was long enough.
pub fn read_exactly(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
