//! A defense's report on the training rows: how suspicious each is, and which it trains on.
//! Evaluators compare it with the ground truth.

use crate::corpus::{Corpus, RowKey, RowNumber};
use crate::data::files::{read_safetensors, write_safetensors};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tch::{Device, Kind, Tensor};

const FILE: &str = "suspicion.safetensors";

/// A defense's report, one entry per row of the corpus.
pub struct Suspicion {
    /// Keys of the rows.
    pub keys: Vec<RowKey>,
    /// Higher is more suspicious.
    pub scores: Vec<f32>,
    /// Whether the row is trained on.
    pub kept: Vec<bool>,
}

impl Suspicion {
    /// Writes a report; `scores` and `kept` use the defense's row numbers.
    pub(crate) fn write(corpus: &Corpus, folder: &Path, scores: &Tensor, kept: &[RowNumber]) -> Result<()> {
        if scores.size() != [corpus.len() as i64] {
            return Err(wrong(format!("is about {:?} rows, but there are {}", scores.size(), corpus.len())));
        }
        if kept.iter().any(|row| row.place() >= corpus.len()) {
            return Err(wrong("keeps a row that does not exist"));
        }
        let keys: Vec<RowKey> = corpus.numbered().iter().map(|row| corpus.key(*row)).collect();
        let kept = RowNumber::tensor(kept);
        let is_kept = Tensor::zeros([corpus.len() as i64], (Kind::Uint8, Device::Cpu)).index_fill(0, &kept, 1);
        let scores = scores.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
        let named = [("keys", RowKey::tensor(&keys)), ("scores", scores), ("kept", is_kept)];
        let tensors: BTreeMap<String, Tensor> =
            named.into_iter().map(|(name, tensor)| (name.to_string(), tensor)).collect();
        write_safetensors(&folder.join(FILE), &tensors, &HashMap::new())
    }

    /// Removes a report that an earlier training may have left in a folder.
    pub(crate) fn forget(folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        if path.exists() { std::fs::remove_file(&path).map_err(Error::io(&path)) } else { Ok(()) }
    }

    /// The report in a trial's folder, if its defense made one.
    pub fn read(folder: &Path) -> Result<Option<Suspicion>> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let (mut tensors, _) = read_safetensors(&path)?;
        let mut take = |name: &str| {
            let missing = || Error::invalid(path.display().to_string(), format!("lacks `{name}`"));
            tensors.remove(name).ok_or_else(missing)
        };
        let (keys, scores, kept) = (take("keys")?, take("scores")?, take("kept")?);
        let kept = Vec::<u8>::try_from(kept)?.into_iter().map(|kept| kept == 1).collect();
        Ok(Some(Suspicion { keys: RowKey::of_tensor(&keys)?, scores: Vec::try_from(scores)?, kept }))
    }
}

fn wrong(why: impl std::fmt::Display) -> Error {
    Error::invalid("the defense's report", why)
}
