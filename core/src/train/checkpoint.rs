//! Checkpoints: one safetensors file that holds everything a trial needs to go on as if it had never stopped.

use super::TrainPhase;
use crate::data::files::{read_safetensors, write_safetensors};
use crate::defense::State;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::Path;

/// Where a training stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Epoch, counted from 1; one past the last when training is done.
    pub epoch: u32,
    /// Steps of this epoch that are done.
    pub step: usize,
    /// What the defense planned for this epoch, once it has; which rows, is a part of the checkpoint.
    pub phases: Option<Vec<TrainPhase>>,
    /// Steps of an epoch, as the first one's plan has them; 0 before it.
    pub steps_per_epoch: usize,
    /// Lines of `metrics.jsonl` that belong to what was done so far.
    pub metrics_lines: usize,
    /// Bytes of this epoch's matches that belong to what was done so far.
    pub match_bytes: u64,
    /// Wall seconds spent on training so far.
    pub seconds: f64,
    /// Rows that went through the model in training so far.
    pub rows: u64,
    /// The same with each view of a row counted.
    pub samples: u64,
    /// Rows that a defense had embedded to look at them, without training.
    #[serde(rename = "looked_at")]
    pub inference_samples: u64,
    /// The builds of gauntlet that did all this, each once: a hash of what `build.rs` says of it.
    #[serde(default)]
    pub builds: Vec<String>,
}

/// The parts of a training that have a state, each a set of named tensors: `model`, `optimizer`, `defense`,
/// and `rows`, the [`TrainRow`](crate::TrainRow)s of each phase that does not take all.
pub type Parts = BTreeMap<&'static str, State>;

/// The file, in the folder of a training.
pub const FILE: &str = "checkpoint.safetensors";

/// Removes the checkpoint of a training that is over, if there is one: it is three times as large as the weights.
pub fn remove(folder: &Path) -> Result<()> {
    let path = folder.join(FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(&path)(error)),
        _ => Ok(()),
    }
}

/// Writes a checkpoint; a reader sees the last one or this one, never a part.
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
/// If it belongs to another trial (`trial` is the hash of the resolved one).
pub fn read(path: &Path, trial: &str) -> Result<Option<(Position, HashMap<String, State>)>> {
    if !path.exists() {
        return Ok(None);
    }
    let (tensors, metadata) = read_safetensors(path)?;
    let wrong = |why: &str| Error::invalid(path.display().to_string(), why);
    if metadata.get("trial").map(String::as_str) != Some(trial) {
        return Err(wrong("was written by another trial; choose another --out, or delete it to start over"));
    }
    let position = metadata.get("position").map(String::as_str).unwrap_or_default();
    let position = serde_json::from_str(position)
        .map_err(|error| wrong(&format!("does not say its position ({error}); delete it to start over")))?;
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

    /// As it was written when rows were bare numbers: rows lie beside it, as i64.
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
