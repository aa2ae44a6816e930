//! `gauntlet eval`: measures a checkpoint without training it. Model, sets and attacks are given on
//! the command line, or come from a suite. The result is a trial like any other, without the
//! training.

use crate::bars::Bar;
use crate::exit::Exit;
use crate::output::tell;
use crate::scratch::Scratch;
use crate::trial::stop_on_signals;
use crate::{one_or_more, say};
use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use gauntlet::data::regular;
use gauntlet::data::store::Using;
use gauntlet::lease::{Lease, attempt};
use gauntlet::model::Checkpoint;
use gauntlet::poison::Arena;
use gauntlet::results::{Line, ScoreLine};
use gauntlet::run::RunContext;
use gauntlet::suite::Suite;
use gauntlet::train::checkpoint;
use gauntlet::{Error, Result, Trial};
use gauntlet_report::notes;
use std::path::{Path, PathBuf};

/// Measures a checkpoint.
///
/// The weights use open_clip's tensor names: `model.safetensors` of a trial, a safetensors file of
/// open_clip, or a table of tensors saved by PyTorch (`.pt`, `.pth`, `.bin`), alone or under
/// `state_dict`. PyTorch files are read as data; no code in them is run. An `open_clip_config.json`
/// beside the weights is checked against --model.
#[derive(Args)]
#[command(after_help = "\
Zero-shot and linear-probe accuracy of a checkpoint on two sets:
  gauntlet eval --weights model.safetensors --model RN50 --downstream cifar10=data/cifar10 --downstream pets=data/pets

The same with a backdoor's success. CIFAR-10 has no mushroom, so the class is added by name:
  gauntlet eval --weights model.safetensors --model RN50 --downstream cifar10=data/cifar10 \\
      --attack badnet --class mushroom --set attacks.badnet.poison.target=mushroom --set attacks.badnet.place=centre

With data, attacks, goals, sets and evaluators of a suite (its pairs must be on this machine):
  gauntlet eval --weights model.safetensors --suite suites/demo.toml --seed 10

A set whose label is not its name, with options:
  ... --downstream second=data/dtd --set downstream.second.set=dtd --set downstream.second.options.partition=2

`gauntlet data list` lists the sets, `gauntlet describe EVALUATOR` defines each score. The base rate of an attack's success is the
score of a model that was trained without poison: measure its weights in a separate run.")]
pub struct Eval {
    /// Weights in open_clip's names: safetensors, or a table of tensors saved by PyTorch
    #[arg(long)]
    weights: PathBuf,
    /// Model: tiny, small, an open_clip model by name (RN50, RN50-quickgelu, ViT-B-32, ..; a wrong
    /// name lists all), or a .json file in open_clip's form, such as the open_clip_config.json
    /// beside the weights. OpenAI's released weights need the names in -quickgelu
    #[arg(long, required_unless_present = "suite")]
    model: Option<String>,
    /// A downstream set and its folder; may be given several times
    #[arg(long, value_name = "LABEL=FOLDER", required_unless_present = "suite")]
    downstream: Vec<String>,
    /// An attack whose success is measured, with its defaults; --set attacks.NAME.KEY=VALUE sets a
    /// key. May be given several times. An attack of a library (--plugin) is named LIBRARY/NAME,
    /// and its label is LIBRARY-NAME
    #[arg(long, value_name = "NAME")]
    attack: Vec<String>,
    /// A class that an attack may want and that the first set lacks; may be given several times
    #[arg(long, value_name = "NAME")]
    class: Vec<String>,
    /// An evaluator; may be given several times. Default: the evaluators of downstream sets; with
    /// --suite those of the suite
    #[arg(long, value_name = "NAME")]
    evaluator: Vec<String>,
    /// A suite that provides data, attacks, sets and evaluators; the other options are applied on
    /// top
    #[arg(long, conflicts_with_all = ["attack", "class"])]
    suite: Option<PathBuf>,
    /// Seed of goals, stamps and held-out parts. To measure the success of an attack, use the seed
    /// that the model was poisoned with. Default: with --suite that of the trial.json beside the
    /// weights, or the suite's first; else 0
    #[arg(long)]
    seed: Option<u64>,
    /// Override a key, as in a suite file; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long)]
    device: Option<String>,
    /// CPU threads of tensor operations
    #[arg(long, default_value_t = 1, value_parser = one_or_more::<i32>)]
    threads: i32,
    /// Folder for scores and the other files of a trial; default: no files are kept
    #[arg(long)]
    out: Option<PathBuf>,
    /// Folder where image features are kept, so that measuring again needs no forward pass;
    /// default: `store` in --out
    #[arg(long)]
    store: Option<PathBuf>,
    /// Print lines as JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// The evaluators that run unless a suite or the command line names others.
const EVALUATORS: [&str; 3] = ["downstream-zero-shot", "linear-probe", "downstream-attack-success"];

impl Eval {
    /// Measures the checkpoint, and prints the scores.
    pub fn run(self) -> Result<Exit> {
        let scratch = Scratch::new(&std::env::temp_dir(), "gauntlet-eval-")?;
        let trial = self.trial(scratch.path())?;
        let weights = Checkpoint::read(&self.weights)?;
        for note in weights.notes.iter().cloned().chain(weights.check(&trial.model)?) {
            tell(&format!("note: {note}"));
        }
        let out = self.out.clone().unwrap_or_else(|| scratch.path().join("out"));
        let store = self.store.clone().unwrap_or_else(|| out.join("store"));
        if let Some(beside) = self.trained_by().filter(|_| !trial.arena.attacks.is_empty()) {
            warn(&trial.arena, &beside.arena);
        }
        let (stop, bar) = (stop_on_signals(), Bar::new());
        let lease = Lease::only(&out).map_err(|error| error.during("--out"))?;
        let out = attempt::open(&out, &lease, checkpoint::FILE)?;
        let _using = Using::new(&store)?;
        let machine = RunContext::new(&bar, &stop);
        let lines = trial.measure(&weights, &out, &store, &machine)?;
        drop(bar);
        if !lines.iter().any(|line| matches!(line, Line::Score(_))) {
            let named: Vec<&str> = trial.evaluators.iter().map(|evaluator| evaluator.label.as_str()).collect();
            let why = "found nothing to measure: attack success needs an --attack, a linear probe needs images of the train split";
            return Err(Error::invalid(format!("evaluators {}", named.join(", ")), why));
        }
        let scores = lines.iter().filter_map(|line| if let Line::Score(score) = line { Some(score) } else { None });
        if self.json {
            say(&lines.iter().map(|line| serde_json::to_string(line).expect("plain data") + "\n").collect::<String>());
        } else {
            say(&(table(scores) + &notes::sets(&lines) + &notes::libraries(&lines)));
        }
        Ok(Exit::Done)
    }

    /// The trial that the options describe, without its training.
    fn trial(&self, scratch: &Path) -> Result<Trial> {
        let mut settings = Vec::new();
        let mut set = |key: &str, value: String| settings.push(format!("{key}={value}"));
        for (key, value) in [("model", &self.model), ("device", &self.device)] {
            value.iter().for_each(|value| set(key, quoted(value)));
        }
        // Goals are drawn from the seed: with another seed, a working attack would seem to fail.
        let seed =
            self.seed.or_else(|| self.suite.is_some().then(|| self.trained_by().map(|trial| trial.arena.seed))?);
        seed.iter().for_each(|seed| set("seeds", format!("[{seed}]")));
        set("threads", self.threads.to_string());
        let mut sets = Vec::new();
        for given in &self.downstream {
            let wrong = || Error::invalid(format!("--downstream {given}"), "must read LABEL=FOLDER");
            let (label, folder) = given.split_once('=').ok_or_else(wrong)?;
            set(&format!("downstream.{}.path", key(label)), quoted(folder));
            sets.push((label, folder));
        }
        once("--downstream", sets.iter().map(|(label, _)| label.to_string()))?;
        once("--attack", self.attack.iter().map(|attack| label(attack)))?;
        once("--class", self.class.iter().cloned())?;
        once("--evaluator", self.evaluator.iter().cloned())?;
        for attack in &self.attack {
            set(&format!("attacks.{}", key(&label(attack))), format!("{{ plugin = {} }}", quoted(attack)));
        }
        let named: Vec<&str> = match (&self.suite, self.evaluator.is_empty()) {
            (None, true) => EVALUATORS.to_vec(),
            _ => self.evaluator.iter().map(String::as_str).collect(),
        };
        if !named.is_empty() {
            let tables = named.iter().map(|name| format!("{} = {{}}", key(name))).collect::<Vec<_>>().join(", ");
            set("evaluators", format!("{{ {tables} }}"));
        }
        settings.extend(self.set.iter().map(|setting| self.relabelled(setting)));
        let suite = match &self.suite {
            Some(suite) => Suite::read(suite, &settings)?,
            None => self.own_suite(sets[0], settings, scratch)?,
        };
        // The arena `clean`: no attack poisons, every goal is measured. The defense is unknown, but
        // the weights are given.
        let mut trial = suite.trials()?.swap_remove(0);
        trial.arena.name = "eval".into();
        trial.weights = PathBuf::new();
        trial.defense.label = self.weights.display().to_string();
        Ok(trial)
    }

    /// Whether a setting is of an attack of a library: `attacks.mine/frame.size=3` sets a key under
    /// its label.
    fn relabelled(&self, setting: &str) -> String {
        let of = |attack: &&String| {
            setting.strip_prefix(&format!("attacks.{attack}")).is_some_and(|rest| rest.starts_with('.'))
        };
        let named = self.attack.iter().filter(|attack| attack.contains('/')).find(of);
        named.map_or(setting.into(), |attack| setting.replacen(attack.as_str(), &label(attack), 1))
    }

    /// The trial that trained the weights, if they are still in its folder.
    fn trained_by(&self) -> Option<Trial> {
        let text = regular::read_to_string(&self.weights.with_file_name("trial.json"), regular::WRITTEN).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// A suite without training: goals are drawn from the first set's test images.
    fn own_suite(&self, first: (&str, &str), mut settings: Vec<String>, scratch: &Path) -> Result<Suite> {
        let (label, folder) = first;
        // The pairs are read in the same way as the set.
        let prefix = format!("downstream.{}.", key(label));
        let same: Vec<String> =
            settings.iter().filter_map(|s| s.strip_prefix(&prefix)).map(|s| format!("data.{s}")).collect();
        let classes = self.class.iter().map(|class| quoted(class)).collect::<Vec<_>>().join(", ");
        let own = [format!("data.set={}", quoted(label)), format!("data.classes=[{classes}]")];
        settings.splice(0..0, own.into_iter().chain(same));
        let file = scratch.join("eval.toml");
        let text = "name = 'eval'\nseeds = [0]\nmodel = ''\ncache_gb = 0\n[data]\nkind = 'labelled'\n[attacks]\n[arenas]\n[defenses.clip]\n";
        std::fs::write(&file, text).map_err(Error::io(&file))?;
        Suite::read(&file, &settings).map_err(|error| error.during(format!("--downstream {label}={folder}")))
    }
}

/// Warns if the trial that trained the weights differs. It determines which images are held out and
/// which goals the poison had; with other data or another seed, the scores of attacks are about
/// goals that the model was not poisoned for.
fn warn(ours: &Arena, theirs: &Arena) {
    let differs = [
        ("seed", ours.seed != theirs.seed),
        ("data", ours.data != theirs.data),
        ("held-out share", ours.heldout != theirs.heldout),
        ("attacks", ours.attacks != theirs.attacks),
    ];
    let differs: Vec<&str> = differs.iter().filter(|(_, differs)| *differs).map(|(what, _)| *what).collect();
    if !differs.is_empty() {
        tell(&format!(
            "warning: the trial.json beside these weights differs in {}: attacks are measured on goals that these weights may not have been \
             poisoned for",
            differs.join(", ")
        ));
    }
}

/// The label of an attack: its name, with a dash for the slash after its library's name, because a
/// label may name a folder.
fn label(attack: &str) -> String {
    attack.replace('/', "-")
}

/// Checks that each label is given once: a second one would replace the first.
fn once(option: &str, labels: impl Iterator<Item = String>) -> Result<()> {
    let mut known = Vec::new();
    for label in labels {
        if known.contains(&label) {
            return Err(Error::invalid(format!("{option} {label}"), "is given twice; give each label once"));
        }
        known.push(label);
    }
    Ok(())
}

/// A key in TOML's syntax.
fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !name.is_empty() && name.chars().all(is_bare) { name.into() } else { quoted(name) }
}

/// A string in TOML's syntax.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}

/// One row per score.
fn table<'a>(scores: impl Iterator<Item = &'a ScoreLine>) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["data", "score", "attack", "value", "95% interval", "n"]);
    for line in scores {
        let percent = if line.unit.is_percent() { "%" } else { "" };
        let number = |value: f64| line.unit.show(value) + percent;
        let interval = format!("{} to {}", number(line.low), number(line.high));
        let attack = line.attack.clone().unwrap_or_default();
        table.add_row([&line.dataset, &line.score, &attack, &number(line.value), &interval, &line.n.to_string()]);
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}
