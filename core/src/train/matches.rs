//! Matches that a defense recorded, one file per epoch, appended step by step: for each step the
//! batch's own keys, then the matched keys, i64 little-endian.

use crate::corpus::RowKey;
use crate::data::regular;
use crate::{Error, Result};
use std::fs::OpenOptions;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// The matches of one epoch.
pub struct Matches {
    path: PathBuf,
    batch: usize,
}

/// The matches of one step.
pub struct LookUps {
    /// The rows of the batch.
    pub own: Vec<RowKey>,
    /// The row that each was matched to, if any.
    pub matched: Vec<Option<RowKey>>,
}

impl LookUps {
    /// Parses a step: its own keys, then the matched keys.
    fn of_bytes(step: &[u8]) -> LookUps {
        let (own, matched) = step.split_at(step.len() / 2);
        LookUps { own: keys(own).flatten().collect(), matched: keys(matched).collect() }
    }
}

fn keys(bytes: &[u8]) -> impl Iterator<Item = Option<RowKey>> {
    bytes.chunks_exact(8).map(|key| RowKey::of_bytes(key.try_into().expect("8 bytes")))
}

impl Matches {
    /// The file of an epoch in a trial's folder, which need not exist.
    pub(super) fn of_epoch(folder: &Path, epoch: u32, batch: usize) -> Self {
        Matches { path: folder.join(format!("matches-{epoch:03}.i64")), batch }
    }

    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Appends steps, each i64 `[2, batch]`; returns the bytes written.
    pub(super) fn append(&self, steps: &[Tensor]) -> Result<u64> {
        let numbers =
            Vec::<i64>::try_from(Tensor::cat(steps, 0).to_device(Device::Cpu).to_kind(Kind::Int64).flatten(0, -1))?;
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(&bytes)).map_err(Error::io(&self.path))?;
        Ok(bytes.len() as u64)
    }

    /// Removes entries written after a checkpoint: their steps will be repeated.
    pub(super) fn cut(&self, bytes: u64) -> Result<()> {
        if bytes == 0 || !self.exists() {
            return self.remove();
        }
        let file = OpenOptions::new().write(true).open(&self.path);
        file.and_then(|file| file.set_len(bytes)).map_err(Error::io(&self.path))
    }

    /// Removes the whole epoch.
    pub(super) fn remove(&self) -> Result<()> {
        if self.exists() { std::fs::remove_file(&self.path).map_err(Error::io(&self.path)) } else { Ok(()) }
    }

    /// All steps, in chunks of about `look_ups` rows.
    pub fn chunks(&self, look_ups: usize) -> Result<impl Iterator<Item = Result<Vec<LookUps>>> + '_> {
        let mut file = BufReader::new(regular::open(&self.path).map_err(Error::io(&self.path))?);
        let step = 2 * self.batch * size_of::<i64>();
        let steps = (look_ups / self.batch).max(1);
        let read = move || {
            let mut bytes = Vec::new();
            let read = file.by_ref().take((steps * step) as u64).read_to_end(&mut bytes).map_err(Error::io(&self.path));
            match read {
                Ok(0) => None,
                read => Some(read.map(|_| bytes.chunks_exact(step).map(LookUps::of_bytes).collect())),
            }
        };
        Ok(std::iter::from_fn(read))
    }
}
