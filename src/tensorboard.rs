//! `gauntlet tensorboard`: converts the metrics and scores of trials for TensorBoard. It reads
//! files that every trial writes, so the trainer does not depend on it, and it also works on merged
//! or older results. `tensorboard/events.rs` implements the format.

mod events;

use crate::say;
use clap::Args;
use events::Events;
use gauntlet::data::files::write_atomic;
use gauntlet::results::{Line, read_lines};
use gauntlet::train::{metrics, trajectory};
use gauntlet::{Defense, Error, Result, Trial};
use gauntlet_report::folder::Folder;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// File name of a run. It is constant, so that converting again replaces the file.
const FILE: &str = "events.out.tfevents.0.gauntlet";

/// Converts a suite's results.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gauntlet tensorboard out/demo --out out/demo/tensorboard
  tensorboard --logdir out/demo/tensorboard

Each trial becomes a run, ARENA/DEFENSE/seed-N, with these scalars:
  train/loss, train/logit_scale                                   every 10 steps
  similarity/ATTACK, rank/ATTACK, above_clean/ATTACK (and clean)  if the suite sets evaluators.trajectory.every
  scores/NAME, scores/ATTACK/NAME, scores/SET/NAME                at the last step; shares are 0 to 1, as in results.jsonl

Steps include idle epochs, so that all defenses of an arena share one axis. Trials record no times, so the wall clock is the
modification time of the file. The command also works while the suite runs: call it again for newer values, and reload TensorBoard.")]
pub struct Tensorboard {
    /// The folder given to `run` or `merge` as --out
    folder: PathBuf,
    /// The folder for TensorBoard's --logdir
    #[arg(long)]
    out: PathBuf,
}

impl Tensorboard {
    /// Writes a file for each trial that has started.
    pub fn run(self) -> Result<()> {
        let folder = Folder::read(&self.folder)?;
        let mut runs = 0;
        for (arena, defense, seed) in folder.grid() {
            let Some(trial) = folder.trial(arena, defense, seed)? else { continue };
            let events = convert(&folder.trial_folder(arena, defense, seed), u64::from(epochs_of(&trial)))?;
            let run = self.out.join(trial.name());
            std::fs::create_dir_all(&run).map_err(Error::io(&run))?;
            write_atomic(&run.join(FILE), &events)?;
            runs += 1;
        }
        if runs == 0 {
            let why = "has no trial that has started; continue with `gauntlet run`";
            return Err(Error::invalid(self.folder.display().to_string(), why));
        }
        say(&format!("{runs} runs; view them with: tensorboard --logdir {}\n", self.out.display()));
        Ok(())
    }
}

/// The number of epochs of a trial; a defense that trains after training has its own. A defense of
/// a library that is not loaded is assumed to have the suite's.
fn epochs_of(trial: &Trial) -> u32 {
    let own = trial.defense.build::<dyn Defense>().and_then(|defense| defense.recipe(&trial.recipe, 0));
    own.map_or(trial.recipe.epochs, |recipe| recipe.epochs)
}

/// The events of a trial with this many epochs.
fn convert(trial: &Path, epochs: u64) -> Result<Vec<u8>> {
    let metrics = metrics(trial)?;
    let written = trial.join(if metrics.is_empty() { "trial.json" } else { "metrics.jsonl" });
    let written = std::fs::metadata(&written).and_then(|about| about.modified()).map_err(Error::io(&written))?;
    let mut events = Events::new(written.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()));
    // The last step of an epoch has a line, so the greatest step is the number of steps per epoch.
    // A trial in its first epoch needs no such number.
    let steps = u64::from(metrics.iter().map(|metric| metric.step).max().unwrap_or(1));
    for metric in &metrics {
        let step = u64::from(metric.epoch - 1) * steps + u64::from(metric.step);
        events.add(step, &[("train/loss".into(), metric.loss), ("train/logit_scale".into(), metric.logit_scale)]);
    }
    for moment in trajectory::read(&trial.join("trajectory.jsonl"))? {
        let pairs = moment.attack.as_deref().unwrap_or("clean");
        let values = [("similarity", moment.similarity), ("rank", moment.rank), ("above_clean", moment.above_clean)];
        let values = values.map(|(name, value)| (format!("{name}/{pairs}"), value));
        events.add(u64::from(moment.epoch) * steps, &values);
    }
    let scores = trial.join("scores.jsonl");
    let lines = if scores.exists() { read_lines(&scores)? } else { Vec::new() };
    for line in &lines {
        let Line::Score(score) = line else { continue };
        let set = score.downstream.then_some(score.dataset.as_str());
        let parts = ["scores"].into_iter().chain(score.attack.as_deref()).chain(set).chain([score.score.as_str()]);
        events.add(epochs * steps, &[(parts.collect::<Vec<_>>().join("/"), score.value)]);
    }
    Ok(events.bytes)
}

#[cfg(test)]
mod tests {
    use super::{convert, events};

    #[test]
    fn losses_and_moments_have_one_axis_on_which_idle_epochs_count_and_scores_come_last() {
        let home = tempfile::tempdir().unwrap();
        let write = |file: &str, lines: &[&str]| std::fs::write(home.path().join(file), lines.join("\n")).unwrap();
        write(
            "metrics.jsonl",
            &[
                r#"{"epoch":1,"step":10,"loss":4.0,"logit_scale":14.0}"#,
                r#"{"epoch":1,"step":13,"loss":3.5,"logit_scale":14.0}"#,
                r#"{"epoch":3,"step":10,"loss":3.0,"logit_scale":15.0}"#,
                r#"{"epoch":3,"st"#,
            ],
        );
        write(
            "trajectory.jsonl",
            &[r#"{"epoch":2,"attack":"badnet","n":3,"similarity":0.25,"rank":2.0,"captions":9,"above_clean":0.5}"#, ""],
        );
        let seen = events::read(&convert(home.path(), 4).unwrap());
        let of = |tag: &str| {
            seen.iter().filter(|(_, name, _)| name == tag).map(|(step, _, value)| (*step, *value)).collect::<Vec<_>>()
        };
        assert_eq!(of("train/loss"), [(10, 4.0), (13, 3.5), (36, 3.0)]);
        assert_eq!(of("similarity/badnet"), [(26, 0.25)]);
        write(
            "scores.jsonl",
            &[
                r#"{"line":"score","suite":"s","trial":"a/clip/seed-0","arena":"a","attack":"badnet","defense":"clip","seed":0,"evaluator":"e","score":"asr","dataset":"world","value":0.75,"n":4,"low":0.5,"high":1.0,"higher_is_better":false,"chance":0.1,"poison_digest":"d","precision":"fp32","device":"cpu"}"#,
            ],
        );
        let seen = events::read(&convert(home.path(), 4).unwrap());
        assert_eq!(seen.last().unwrap(), &(52, "scores/badnet/asr".to_string(), 0.75));
    }
}
