//! `gauntlet plan`: estimates the cost of a suite and the differences that it can detect, before it
//! runs.

use crate::bars::BarAlone;
use crate::grid::{align, grid};
use crate::output::tell;
use crate::say;
use crate::trial::stop_on_signals;
use clap::Args;
use gauntlet::data::DataConfig;
use gauntlet::data::world::World;
use gauntlet::poison::Arena;
use gauntlet::recipe::Recipe;
use gauntlet::registry::Configured;
use gauntlet::results::Line;
use gauntlet::run::RunContext;
use gauntlet::suite::Suite;
use gauntlet::suite::plan::Size;
use gauntlet::{Error, Result, Trial};
use gauntlet_report::statistics::seeds::{FOR_VERDICT, LEVEL, decidable, seeds_say};
use std::path::PathBuf;

/// Plans a suite.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gauntlet plan suites/demo.toml
  gauntlet plan suites/paper.toml --device cuda

Trains each defense for all of its epochs, each shortened to a few steps, and evaluates a few images, on a small part of the embedded
world with the suite's own model, canvas and recipe. The estimate does not include reading the suite's own images, captions longer
than the world's, or costs that grow with the data, such as a pool. The detectable difference follows from the suite's seeds and
images: a difference between two rows that is found with a chance of 80%.")]
pub struct Plan {
    /// The suite, a TOML file
    suite: PathBuf,
    /// Override a key of the suite; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run the suite at one of its sizes: a table [tiers.NAME] of the suite
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// Estimate for this device: auto, cpu, cuda or cuda:N (the same as --set device=...)
    #[arg(long)]
    device: Option<String>,
    /// Steps of each epoch to time [default: 4; 1 if a step takes seconds]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Do not time anything: print only the parts that need no timing
    #[arg(long)]
    no_probe: bool,
}

type Timed = Result<(f64, f64), String>;

/// The results of the probe.
struct Rates {
    /// Label of the defense, with the pairs per second of its training and the seconds per step
    /// averaged over epochs, or the reason why it could not be timed.
    train: Vec<(String, Timed)>,
    /// Images per second in evaluation.
    evaluate: f64,
    /// Batch size of the probe, which may be smaller than the suite's.
    batch: usize,
}

impl Plan {
    /// Prints the plan.
    pub fn run(mut self) -> Result<()> {
        self.set.extend(self.device.iter().map(|device| format!("device={device}")));
        let suite = Suite::read_tier(&self.suite, self.tier.as_deref(), &self.set)?;
        let trials = suite.trials()?;
        for warning in suite.warnings()? {
            tell(&format!("warning: {warning}"));
        }
        let size = suite.size()?;
        let mut text = format!(
            "{}: {} arenas x {} defenses x {} seeds = {} trials\n",
            suite.name,
            suite.arenas.len() + 1,
            suite.defenses.len(),
            suite.seeds.len(),
            trials.len()
        );
        match &size {
            None => text += "cost unknown: set `plan.rows` to the number of pairs\n",
            Some(size) => {
                text += &format!(
                    "{} pairs to train on, {} held out; {} epochs of {} steps of {}: {} steps per trial, {} in all\n",
                    size.train,
                    size.heldout,
                    suite.recipe.epochs,
                    size.steps,
                    suite.recipe.batch,
                    size.all_steps(),
                    size.all_steps() * trials.len() as u64
                );
                if !self.no_probe {
                    text += &costs(&suite, size, &self.probe(&suite, &trials)?, trials.len());
                }
            }
        }
        text += &tells(&suite, size.as_ref());
        say(&text);
        Ok(())
    }

    /// Trains each defense for a few steps of every epoch: the cost of a defense depends on the
    /// epoch.
    fn probe(&self, suite: &Suite, trials: &[Trial]) -> Result<Rates> {
        let (home, stop, bar) = (scratch()?, stop_on_signals(), BarAlone::new());
        let (mut train, mut rates) = (Vec::new(), Vec::new());
        let first = &trials[0];
        // A step of RN50 on a CPU takes a second per row, for small and large batches alike.
        let small = first.device == "cpu" && first.model.vision_cfg.image_size >= 64;
        let batch = if small { first.recipe.batch.min(8) } else { first.recipe.batch };
        let steps = self.steps.map_or(if small { 1 } else { 4 }, |steps| steps as usize);
        let (rows, heldout) = (batch * steps, if small { 16 } else { 500 });
        let share = heldout as f64 / (rows + heldout) as f64;
        let world = World { pairs: ((rows as f64 / (1.0 - share)) * 1.1).ceil() as u32 + 100, ..World::default() };
        let plain =
            Configured { label: "zero-shot".into(), plugin: "zero-shot".into(), config: serde_json::Map::new() };
        for trial in
            trials.iter().filter(|trial| (&trial.arena.name, trial.arena.seed) == (&first.arena.name, first.arena.seed))
        {
            let label = &trial.defense.label;
            tell(&format!("timing {label}: {} epochs of {steps} steps of {batch}", first.recipe.epochs));
            let probe = Trial {
                arena: Arena {
                    data: DataConfig::World(world.clone()),
                    classes: String::new(),
                    heldout: share,
                    attacks: Vec::new(),
                    poisoning: Vec::new(),
                    libraries: Vec::new(),
                    ..trial.arena.clone()
                },
                recipe: Recipe { batch, warmup_steps: 0, init: String::new(), ..trial.recipe.clone() },
                evaluators: vec![plain.clone()],
                downstream: Default::default(),
                bundle: PathBuf::new(),
                weights: PathBuf::new(),
                ..trial.clone()
            };
            let machine = RunContext::new(&bar, &stop);
            let lines = match probe.run(&home.path().join(label), &home.path().join("store"), &machine) {
                Ok(lines) => lines,
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                // For example, a pool may need more captions than these few pairs have.
                Err(error) => {
                    train.push((label.clone(), Err(error.chain())));
                    continue;
                }
            };
            let images = lines.iter().find_map(|line| if let Line::Score(score) = line { Some(score.n) } else { None });
            let cost = lines.iter().find_map(|line| if let Line::Cost(cost) = line { Some(cost) } else { None });
            let cost = cost.ok_or_else(|| Error::invalid("plan", "the probe recorded no cost"))?;
            // The world has slightly more pairs than requested.
            let size = Suite { data: probe.arena.data.clone(), heldout: share, ..suite.clone() }.size()?;
            let all = f64::from(first.recipe.epochs) * size.map_or(0, |size| size.train / batch as u64) as f64;
            train.push((label.clone(), Ok((cost.samples_per_second, cost.train_seconds / all))));
            rates.extend(images.map(|images| images as f64 / cost.evaluate_seconds));
        }
        // Take the best rate: others were slowed down.
        Ok(Rates { train, evaluate: rates.into_iter().fold(0.0, f64::max), batch })
    }
}

fn scratch() -> Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))
}

/// Hours, one row per defense.
fn costs(suite: &Suite, size: &Size, probe: &Rates, trials: usize) -> String {
    let each = trials / suite.defenses.len();
    // A step of a small batch accounts only for its own rows.
    let steps = size.all_steps() as f64 * suite.recipe.batch as f64 / probe.batch as f64;
    let evaluate = if probe.evaluate > 0.0 { size.images / probe.evaluate / 3600.0 } else { 0.0 };
    let mut table =
        grid(&["defense", "pairs/s", "training, h per trial", "evaluation, h per trial", "trials", "h in all"]);
    let (mut sum, mut untimed) = (0.0, String::new());
    for (label, found) in &probe.train {
        let (rate, step) = match found {
            Ok(found) => found,
            Err(why) => {
                untimed += &format!("{label} could not be timed: {why}\n");
                continue;
            }
        };
        let train = step * steps / 3600.0;
        let all = (train + evaluate) * each as f64;
        sum += all;
        table.add_row([
            label.clone(),
            format!("{rate:.0}"),
            hours(train),
            hours(evaluate),
            each.to_string(),
            hours(all),
        ]);
    }
    let mut text = format!("\n{table}\n{untimed}{sum:.2} hours, one trial at a time. Evaluation: ");
    text += &format!("{:.0} images per trial at {:.0} per second.\n", size.images, probe.evaluate);
    if probe.batch != suite.recipe.batch {
        text += &format!("Timed with batches of {}, not {}.\n", probe.batch, suite.recipe.batch);
    }
    if !matches!(suite.data, DataConfig::World(_)) {
        text +=
            "Timed on the embedded world: reading the suite's own images, and longer captions, take additional time.\n";
    }
    text
}

fn hours(value: f64) -> String {
    if value < 0.095 { format!("{value:.3}") } else { format!("{value:.1}") }
}

/// The difference that a suite finds with a chance of 80%, for its own number of seeds and some
/// others.
fn tells(suite: &Suite, size: Option<&Size>) -> String {
    let rows = suite.defenses.keys().filter(|label| !suite.is_oracle(label)).count().saturating_sub(1)
        + suite.defenses.values().filter(|row| row.get("of").is_some()).count();
    let columns: usize = 1 + suite.arenas.values().map(|attacks| 1 + attacks.len()).sum::<usize>();
    let verdicts = (rows * columns).max(1);
    let level = LEVEL / verdicts as f64;
    let mut counts = vec![FOR_VERDICT, 8, 12, 20];
    if suite.seeds.len() >= FOR_VERDICT && !counts.contains(&suite.seeds.len()) {
        counts.push(suite.seeds.len());
    }
    counts.sort_unstable();
    let header = counts.iter().map(|count| format!("{count} seeds"));
    let mut table =
        grid(&[&["spread of a difference over seeds".to_string()][..], &header.collect::<Vec<_>>()].concat());
    let mut add = |what: String, deviation: f64| {
        let cell = |count: &usize| {
            let points = 100.0 * deviation * decidable(*count, level);
            if points > 100.0 { "none".to_string() } else { format!("{points:.1}") }
        };
        table.add_row([vec![what], counts.iter().map(cell).collect()].concat());
    };
    let mut images: Vec<(String, f64)> = suite
        .attacks
        .iter()
        .filter_map(|(label, table)| {
            Some((format!("{label}: {} images", table.get("targets")?.as_u64()?), table["targets"].as_f64()?))
        })
        .collect();
    images.extend(size.map(|size| (format!("held out: {} images", size.heldout), size.heldout as f64)));
    for (what, n) in images {
        // Two independent models that are each right on half of the images.
        let deviation = (0.5 / n).sqrt();
        add(format!("{what} alone: {:.1} points", 100.0 * deviation), deviation);
    }
    for points in [5.0, 10.0, 20.0] {
        add(format!("{points} points"), points / 100.0);
    }
    align(&mut table, 1, counts.len());
    let verdict = seeds_say(suite.seeds.len());
    format!(
        "\ndetectable difference: points of 100 between two rows that are found with a chance of 80%, for about {verdicts} verdicts corrected together\n\
         {table}\n{verdict}. The spread from the images alone is a lower bound; the spread of seeds is known after the run (`gauntlet compare`).\n"
    )
}
