//! A file that can be written to without being changed: what is written stays in memory. With it a store that was not
//! closed in order can be repaired and read by somebody who must not touch it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

const BLOCK: u64 = 4096;
/// A repair writes what is allocated, a few bytes a page, and a check no more than that.
const BLOCKS: usize = 16 << 10;

/// The file, and what was written over it.
#[derive(Debug)]
pub(crate) struct Overlay {
    file: File,
    file_length: u64,
    written: Mutex<Layer>,
}

#[derive(Debug)]
struct Layer {
    length: u64,
    /// How much of the file still shines through: what was cut off once does not come back.
    below: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    /// Over a file that is open for reading.
    pub fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let written = Mutex::new(Layer { length, below: length, blocks: BTreeMap::new() });
        Ok(Self { file, file_length: length, written })
    }

    fn layer(&self) -> MutexGuard<'_, Layer> {
        // A layer is whole between any two statements that change it.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file has of a block, the rest being zeros.
    fn below(&self, number: u64, visible: u64) -> io::Result<Box<[u8]>> {
        let mut block = vec![0; BLOCK as usize].into_boxed_slice();
        let start = number * BLOCK;
        let there = visible.min(self.file_length).saturating_sub(start).min(BLOCK) as usize;
        self.file.read_exact_at(&mut block[..there], start)?;
        Ok(block)
    }
}

/// The parts of blocks that a stretch covers: the block's number, where in it, and how much.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + length as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let within = at % BLOCK;
            let many = (BLOCK - within).min(end - at);
            let part = (at / BLOCK, within as usize, many as usize);
            at += many;
            part
        })
    })
}

fn within(layer: &Layer, offset: u64, length: usize) -> io::Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= layer.length => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.layer().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let layer = self.layer();
        within(&layer, offset, out.len())?;
        let mut rest = out;
        for (number, start, many) in parts(offset, rest.len()) {
            let (here, later) = rest.split_at_mut(many);
            match layer.blocks.get(&number) {
                Some(block) => here.copy_from_slice(&block[start..start + many]),
                None => here.copy_from_slice(&self.below(number, layer.below)?[start..start + many]),
            }
            rest = later;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut layer = self.layer();
        if length < layer.length {
            layer.below = layer.below.min(length);
            layer.blocks.retain(|number, _| number * BLOCK < length);
            if let Some(last) = layer.blocks.get_mut(&(length / BLOCK)) {
                last[(length % BLOCK) as usize..].fill(0);
            }
        }
        layer.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut layer = self.layer();
        within(&layer, offset, data.len())?;
        let mut rest = data;
        for (number, start, many) in parts(offset, data.len()) {
            let (here, later) = rest.split_at(many);
            if !layer.blocks.contains_key(&number) {
                if layer.blocks.len() >= BLOCKS {
                    return Err(io::Error::other("reading this store would take too much memory"));
                }
                let below = self.below(number, layer.below)?;
                layer.blocks.insert(number, below);
            }
            if let Some(block) = layer.blocks.get_mut(&number) {
                block[start..start + many].copy_from_slice(here);
            }
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        Length(u64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_000u64, proptest::collection::vec(any::<u8>(), 0..6_000))
                .prop_map(|(o, d)| Step::Write(o, d)),
            (0..24_000u64).prop_map(Step::Length),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn an_overlay_reads_as_the_changed_file_would_and_leaves_the_file(
            begin in proptest::collection::vec(any::<u8>(), 0..20_000),
            steps in proptest::collection::vec(any_step(), 0..12),
        ) {
            use std::io::{Read, Seek, Write};
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&begin).unwrap();
            let overlay = Overlay::new(file.try_clone().unwrap()).unwrap();
            let mut model = begin.clone();
            for step in steps {
                match step {
                    Step::Write(offset, data) => {
                        let fits = offset as usize + data.len() <= model.len();
                        prop_assert_eq!(overlay.write(offset, &data).is_ok(), fits);
                        if fits {
                            model[offset as usize..offset as usize + data.len()].copy_from_slice(&data);
                        }
                    }
                    Step::Length(length) => {
                        overlay.set_len(length).unwrap();
                        model.resize(length as usize, 0);
                    }
                }
            }
            let mut read = vec![0; model.len()];
            overlay.read(0, &mut read).unwrap();
            prop_assert!(read == model);
            let mut left = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut left).unwrap();
            prop_assert!(left == begin);
        }
    }
}
