//! Checkpoints: one safetensors file with everything a trial needs to resume as if it had never
//! stopped.

use super::TrainPhase;
use crate::data::files::{read_safetensors, write_safetensors};
use crate::defense::State;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::Path;

/// Progress of a training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Epoch, counted from 1; one past the last when training is done.
    pub epoch: u32,
    /// Completed steps of this epoch.
    pub step: usize,
    /// The defense's plan for this epoch, if it has been made; the rows are stored in another part
    /// of the checkpoint.
    pub phases: Option<Vec<TrainPhase>>,
    /// Steps per epoch, from the plan of the first epoch; 0 before it.
    pub steps_per_epoch: usize,
    /// Lines of `metrics.jsonl` up to this position.
    pub metrics_lines: usize,
    /// Bytes of this epoch's matches up to this position.
    pub match_bytes: u64,
    /// Wall seconds spent on training so far.
    pub seconds: f64,
    /// Rows passed through the model in training so far.
    pub rows: u64,
    /// Like `rows`, but each view of a row counts.
    pub samples: u64,
    /// Rows that a defense embedded without training on them.
    #[serde(rename = "looked_at")]
    pub inference_samples: u64,
    /// The builds of gauntlet that took part, each once: a hash of the identity in `build.rs`.
    #[serde(default)]
    pub builds: Vec<String>,
}

/// The stateful parts of a training, each a set of named tensors: `model`, `optimizer`, `defense`,
/// and `rows`, the [`TrainRow`](crate::TrainRow)s of each phase that does not use all rows.
pub type Parts = BTreeMap<&'static str, State>;

/// Name of the file in the folder of a training.
pub const FILE: &str = "checkpoint.safetensors";

/// Removes the checkpoint of a finished training, if there is one: it is three times as large as
/// the weights.
pub fn remove(folder: &Path) -> Result<()> {
    let path = folder.join(FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(&path)(error)),
        _ => Ok(()),
    }
}

/// Writes a checkpoint atomically: a reader sees the previous one or this one.
pub fn write(path: &Path, trial: &str, position: &Position, parts: &Parts) -> Result<()> {
    let named = |(part, tensors): (&&str, &State)| {
        tensors.iter().map(|(name, tensor)| (format!("{part}/{name}"), tensor.shallow_clone())).collect::<Vec<_>>()
    };
    let tensors = parts.iter().flat_map(named).collect();
    let position = serde_json::to_string(position).expect("plain data");
    let metadata = HashMap::from([("trial".to_string(), trial.to_string()), ("position".to_string(), position)]);
    write_safetensors(path, &tensors, &metadata)
}

/// Reads a checkpoint, if there is one.
///
/// # Errors
/// If it belongs to another trial (`trial` is the hash of the resolved one and its inputs).
pub fn read(path: &Path, trial: &str) -> Result<Option<(Position, HashMap<String, State>)>> {
    if !path.exists() {
        return Ok(None);
    }
    let (tensors, metadata) = read_safetensors(path)?;
    let wrong = |why: &str| Error::invalid(path.display().to_string(), why);
    if metadata.get("trial").map(String::as_str) != Some(trial) {
        return Err(wrong(
            "was written by another trial, or by this one on other images; choose another --out, or delete it to start over",
        ));
    }
    let position = metadata.get("position").map(String::as_str).unwrap_or_default();
    let position = serde_json::from_str(position)
        .map_err(|error| wrong(&format!("holds no valid position ({error}); delete it to start over")))?;
    let mut parts: HashMap<String, State> = HashMap::new();
    for (name, tensor) in tensors {
        let (part, name) =
            name.split_once('/').ok_or_else(|| wrong("holds a tensor without a part; delete it to start over"))?;
        parts.entry(part.to_string()).or_default().insert(name.to_string(), tensor);
    }
    Ok(Some((position, parts)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TrainRow;
    use std::sync::Arc;

    /// The stored form from before rows had types: rows are stored beside it, as i64.
    const STORED: &str = r#"{"epoch":3,"step":4,"phases":[{"steps":null,"augmentation":null,"captions":"off","second":null,"text_tower":"trained","rate":1.0}],"steps_per_epoch":10,"metrics_lines":1,"match_bytes":0,"seconds":0.5,"rows":7,"samples":8,"looked_at":9,"builds":[]}"#;

    #[test]
    fn a_position_is_stored_as_it_was_before_rows_had_types() {
        let position: Position = serde_json::from_str(STORED).unwrap();
        assert_eq!(position.phases, Some(vec![TrainPhase::default()]));
        let rows = Some(Arc::new(vec![TrainRow(5)]));
        let phases = Some(vec![TrainPhase { rows, ..TrainPhase::default() }]);
        assert_eq!(serde_json::to_string(&Position { phases, ..position }).unwrap(), STORED, "rows are no part of it");
    }
}
