//! Files that a training writes as it runs, and their truncation on a resume: `metrics.jsonl`,
//! matches, `bad_rows.jsonl`.

use super::{Matches, Trainer};
use crate::corpus::RowKey;
use crate::data::files::{json, read_whole_lines, write_atomic};
use crate::data::regular;
use crate::{Error, Progress, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Steps between lines of `metrics.jsonl`. Losses are read together at that point, so that single
/// steps need not wait for the device.
pub(super) const LOG_STEPS: usize = 10;

/// A line of `metrics.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// Completed steps of that epoch; the last step of an epoch always has a line.
    pub step: u32,
    /// Mean loss of the steps since the previous line.
    pub loss: f64,
    /// Factor on cosines.
    pub logit_scale: f64,
}

/// The metrics of a trial so far; empty if it never trained. Whole lines only: a running trial may
/// have written part of the last.
pub fn metrics(trial: &Path) -> Result<Vec<Metric>> {
    read_whole_lines(&trial.join("metrics.jsonl"))
}

impl Trainer<'_> {
    /// Reads the losses since the last call, fails if one is not finite, and appends a line to
    /// `metrics.jsonl`.
    pub(super) fn log(&mut self, progress: &dyn Progress) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let losses: Vec<&Tensor> = self.pending.iter().map(|(loss, _)| loss).collect();
        let losses: Vec<f64> = Vec::try_from(Tensor::stack(&losses, 0).to_device(Device::Cpu).to_kind(Kind::Double))?;
        if let Some(bad) = losses.iter().position(|loss| !loss.is_finite()) {
            let step = self.position.step - losses.len() + bad + 1;
            let rows = self.corpus.places(&RowKey::of_tensor(&self.pending[bad].1)?).join(", ");
            let (epoch, loss) = (self.position.epoch, losses[bad]);
            let what = format!(
                "the loss is {loss} at epoch {epoch}, step {step}; a lower learning rate may help; its rows: {rows}"
            );
            return Err(Error::NotFinite(what));
        }
        self.pending.clear();
        let matches = self.matches.take();
        if !matches.is_empty() {
            self.position.match_bytes += self.matches_of(self.position.epoch).append(&matches)?;
        }
        self.list_bad_rows()?;
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        let logit_scale = f64::try_from(self.model.logit_scale())?;
        let metric = Metric { epoch: self.position.epoch, step: self.position.step as u32, loss, logit_scale };
        let line = json(&metric);
        let path = self.folder.join("metrics.jsonl");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        writeln!(file, "{line}").map_err(Error::io(&path))?;
        self.position.metrics_lines += 1;
        let total = self.steps_per_epoch() as u64 * u64::from(self.recipe.epochs);
        progress.report("train", self.global_step(), total, &format!("loss {loss:.2}"));
        Ok(())
    }

    /// Removes lines of `metrics.jsonl` written after the checkpoint: their steps will be repeated.
    pub(super) fn keep_metrics(&self) -> Result<()> {
        let path = self.folder.join("metrics.jsonl");
        let text = if path.exists() {
            regular::read_to_string(&path, regular::LIST).map_err(Error::io(&path))?
        } else {
            String::new()
        };
        let kept: String = text.lines().take(self.position.metrics_lines).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, kept).map_err(Error::io(&path))
    }

    /// Removes matches written after the checkpoint. Those of later epochs may come from another
    /// training whose checkpoint was deleted.
    pub(super) fn keep_matches(&self) -> Result<()> {
        let epoch = self.position.epoch;
        self.matches_of(epoch).cut(self.position.match_bytes)?;
        (epoch + 1..=self.recipe.epochs).try_for_each(|epoch| self.matches_of(epoch).remove())
    }

    /// Lists rows whose images could not be decoded in `bad_rows.jsonl`.
    fn list_bad_rows(&mut self) -> Result<()> {
        let bad = self.corpus.bad_rows();
        if bad.len() == self.bad_rows {
            return Ok(());
        }
        self.bad_rows = bad.len();
        let path = self.folder.join("bad_rows.jsonl");
        // Rows found before an interruption stay listed.
        let before = if path.exists() {
            regular::read_to_string(&path, regular::LIST).map_err(Error::io(&path))?
        } else {
            String::new()
        };
        let mut lines: BTreeSet<String> = before.lines().map(str::to_string).collect();
        lines.extend(bad.iter().map(json));
        write_atomic(&path, lines.into_iter().map(|line| line + "\n").collect::<String>().as_bytes())
    }

    pub(super) fn matches_of(&self, epoch: u32) -> Matches {
        Matches::of_epoch(&self.folder, epoch, self.recipe.batch)
    }
}
