//! How far the records are settled, on disk.
//!
//! One file of two slots that are written in turn: whichever write is torn, the other slot still tells the position
//! before. Both are there from the start, so that a full disk does not keep a position from being written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

const NAME: &str = "position";
const MAGIC: [u8; 8] = *b"nspos\x00\x00\x01";
const SLOT_BYTES: usize = 40;

/// Everything before it is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The first sequence number that is not settled.
    pub sequence: u64,
    /// Items in all records before it.
    pub before: u64,
}

/// The file.
#[derive(Debug)]
pub struct PositionFile {
    file: File,
    /// Of the last write; the slot is its parity.
    generation: u64,
}

impl PositionFile {
    /// Opens or makes it. The position is `None` if no slot is good.
    pub fn open(directory: &Path) -> io::Result<(Self, Option<Position>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(directory.join(NAME))?;
        let mut bytes = [0; 2 * SLOT_BYTES];
        let length = read_up_to(&file, &mut bytes)?;
        let slots = bytes[..length].chunks_exact(SLOT_BYTES).filter_map(decode);
        let newest = slots.max_by_key(|(generation, _)| *generation);
        if length < bytes.len() {
            // Where there was nothing yet, the disk is asked for its room now.
            file.write_all_at(&bytes[length..], length as u64)?;
        }
        let position = Self { file, generation: newest.map_or(0, |(generation, _)| generation) };
        Ok((position, newest.map(|(_, position)| position)))
    }

    /// Writes a position; it survives a kill at once, a power cut after [`Self::sync`].
    pub fn write(&mut self, position: Position) -> io::Result<()> {
        let generation = self.generation.wrapping_add(1);
        let slot = generation % 2 * SLOT_BYTES as u64;
        self.file.write_all_at(&encode(generation, position), slot)?;
        self.generation = generation;
        Ok(())
    }

    /// Waits until the disk has it.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn read_up_to(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    loop {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => return Ok(length),
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn encode(generation: u64, position: Position) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&generation.to_le_bytes());
    bytes[16..24].copy_from_slice(&position.sequence.to_le_bytes());
    bytes[24..32].copy_from_slice(&position.before.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..36]);
    bytes[36..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(u64, Position)> {
    let number = |at: usize| bytes.get(at..)?.first_chunk().map(|eight| u64::from_le_bytes(*eight));
    let checksum = bytes.get(36..)?.first_chunk().map(|four| u32::from_le_bytes(*four))?;
    let right = bytes[..8] == MAGIC && checksum == crc32fast::hash(&bytes[..36]);
    let position = Position { sequence: number(16)?, before: number(24)? };
    right.then_some((number(8)?, position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_write_leaves_the_position_before() {
        let directory = tempfile::tempdir().unwrap();
        let at = |sequence| Position { sequence, before: sequence * 3 };
        let (mut file, found) = PositionFile::open(directory.path()).unwrap();
        assert_eq!(found, None);
        file.write(at(1)).unwrap();
        file.write(at(2)).unwrap();
        let path = directory.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(PositionFile::open(directory.path()).unwrap().1, Some(at(2)));
        let (mut first, mut second) = (whole.clone(), whole);
        first[3] ^= 1;
        std::fs::write(&path, &first).unwrap();
        assert_eq!(PositionFile::open(directory.path()).unwrap().1, Some(at(1)));
        second[45] ^= 1;
        std::fs::write(&path, &second).unwrap();
        let (mut file, found) = PositionFile::open(directory.path()).unwrap();
        assert_eq!(found, Some(at(2)));
        file.write(at(3)).unwrap();
        assert_eq!(PositionFile::open(directory.path()).unwrap().1, Some(at(3)));
        std::fs::write(&path, [0; 11]).unwrap();
        assert_eq!(PositionFile::open(directory.path()).unwrap().1, None);
    }
}
