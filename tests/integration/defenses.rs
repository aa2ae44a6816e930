//! Defenses that need more than a loss: rows that are left out, an existing model, a reference
//! model for the data.

use crate::program::{argument, folder, gauntlet, trial, world_suite};
use gauntlet::TrainRow;
use gauntlet::corpus::Corpus;
use gauntlet::corpus::Shape;
use gauntlet::data::tokenize::Tokenizer;
use gauntlet::defense::Suspicion;
use gauntlet::draw;
use gauntlet::progress::Silent;
use gauntlet::run::RunContext;
use gauntlet::tch::Device;
use gauntlet::train::load::EpochOrder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const ROWS: &str = "clip = {}
oracle = { plugin = 'clip', oracle = true }
clip-score = {}
few = { plugin = 'clip-score', steps = 'fewer', drop = 0.5 }
cleanclip = { clean_pairs = 0.2, epochs = 2, batch = 32, warmup_steps = 1 }
strip = {}";

struct Run {
    out: PathBuf,
    lines: Vec<Value>,
}

fn run(name: &str, defenses: &str, more: &[&str]) -> Run {
    let home = folder(name);
    let (suite, out) = (world_suite(&home, 2, "[0]", defenses), home.join("out"));
    let ran = gauntlet(&[&["run", argument(&suite), "--out", argument(&out), "--jobs", "1"], more].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let text = fs::read_to_string(out.join("results.jsonl")).unwrap();
    Run { lines: text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), out }
}

impl Run {
    fn cost(&self, trial: &str) -> &Value {
        let is_it = |line: &&Value| line["line"] == "cost" && line["trial"] == format!("{trial}/seed-0");
        self.lines.iter().find(is_it).unwrap_or_else(|| panic!("no cost of {trial}"))
    }

    /// Scores of a trial by name, of all attacks together.
    fn scores(&self, trial: &str) -> BTreeMap<&str, f64> {
        let of_trial =
            self.lines.iter().filter(|line| line["line"] == "score" && line["trial"] == format!("{trial}/seed-0"));
        of_trial.map(|line| (line["score"].as_str().unwrap(), line["value"].as_f64().unwrap())).collect()
    }
}

/// The undefended models in the store.
fn undefended(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out.join("store")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("undefended-")).collect()
}

fn weights(out: &Path, trial: &str) -> Vec<u8> {
    fs::read(out.join(format!("trials/{trial}/seed-0/model.safetensors"))).unwrap()
}

#[test]
fn every_kind_is_trained_measured_and_charged() {
    let run = run("defenses", ROWS, &[]);
    let samples = |trial: &str, key: &str| run.cost(trial)[key].as_u64().unwrap();
    let clip = samples("poisoned/clip", "samples");
    assert!(clip > 0 && samples("poisoned/clip", "undefended_samples") == 0);

    // Filters: as many steps, or fewer; they are charged for the reference model and for the
    // inference on every row.
    assert_eq!(samples("poisoned/clip-score", "samples"), clip, "equal steps by default");
    assert_eq!(samples("poisoned/few", "samples"), 2 * 32 * (samples("poisoned/few", "looked_at") / 2 / 32));
    for filter in ["poisoned/clip-score", "poisoned/few"] {
        assert_eq!(samples(filter, "undefended_samples"), clip);
        let scores = run.scores(filter);
        assert!(scores.contains_key("filter-auroc") && scores.contains_key("dropped-poisoned"), "{scores:?}");
    }
    let dropped = run.scores("clean/clip-score")["clean-dropped"];
    assert!((dropped - 0.1).abs() < 0.01, "a tenth, not {dropped}");
    assert!(!run.scores("clean/clip-score").contains_key("dropped-poisoned"), "nothing is poisoned there");

    // The reports on rows and the scores from them: the targets' pairs are edits 0 to 15.
    let said = Suspicion::read(&run.out.join("trials/poisoned/clip-score/seed-0")).unwrap().unwrap();
    assert!(said.keys.is_sorted(), "a defense's numbers are those of the keys, and tell nothing");
    let place = |number: u64| {
        said.keys.binary_search_by_key(&(draw::hash(0, "added", &[number]) >> 1), |key| u64::from(*key)).unwrap()
    };
    let recall = (0..16).filter(|number| !said.kept[place(*number)]).count() as f64 / 16.0;
    let is_it = |line: &&Value| {
        line["trial"] == "poisoned/clip-score/seed-0"
            && line["score"] == "poison-dropped"
            && line["attack"] == "targeted"
    };
    assert_eq!(run.lines.iter().find(is_it).unwrap()["value"], recall);
    let [kept, dropped] = [true, false].map(|kept| {
        let of_kind = said.scores.iter().zip(&said.kept).filter(move |(_, is_kept)| **is_kept == kept);
        of_kind.map(|(score, _)| *score).collect::<Vec<f32>>()
    });
    assert!(kept.iter().all(|kept| dropped.iter().all(|dropped| kept <= dropped)), "the most suspicious are dropped");

    // The undefended model is the row of plain CLIP, to the last bit and second: it was not trained
    // again.
    assert_eq!(run.cost("poisoned/clip-score")["undefended_seconds"], run.cost("poisoned/clip")["train_seconds"]);
    let shared: Vec<PathBuf> = undefended(&run.out);
    assert_eq!(shared.len(), 4, "one for each arena, and one without its poison");
    let shared: Vec<Vec<u8>> =
        shared.iter().map(|folder| fs::read(folder.join("model/model.safetensors")).unwrap()).collect();
    assert!(["clean/clip", "poisoned/clip"].iter().all(|trial| shared.contains(&weights(&run.out, trial))));

    // Two views of a fifth of the rows, twice over.
    let cleanclip = run.cost("poisoned/cleanclip");
    assert_eq!(cleanclip["samples"].as_u64().unwrap(), 2 * 2 * 32 * (samples("poisoned/few", "looked_at") / 5 / 32));
    assert_eq!(cleanclip["undefended_samples"], clip);

    let strip = run.scores("poisoned/strip");
    assert_eq!(weights(&run.out, "poisoned/strip"), weights(&run.out, "poisoned/clip"), "only its use differs");
    assert!(strip["asr-after-rejection"] <= strip["asr"] && strip.contains_key("rejection-auroc"), "{strip:?}");
    assert!(!run.scores("poisoned/clip").contains_key("clean-rejected"), "clip rejects nothing");

    let table = gauntlet(&["table", argument(&run.out)]).stdout;
    let oracle = table.lines().find(|line| line.trim_start().starts_with("oracle")).unwrap();
    assert!(oracle.trim_end().ends_with("oracle") || oracle.contains("oracle,"), "it is marked: {oracle}");
}

/// If no row of plain CLIP provides one, the undefended model is trained in the store; its
/// checkpoint is removed afterwards.
#[test]
fn an_undefended_model_that_is_trained_for_itself_leaves_no_checkpoint() {
    let alone = run("undefended-alone", "clip = {}\nclip-score = {}", &["--only", "poisoned/clip-score"]);
    let shared: Vec<PathBuf> = undefended(&alone.out);
    assert_eq!(shared.len(), 1);
    assert!(
        shared[0].join("model/model.safetensors").exists() && shared[0].join("metrics.jsonl").exists(),
        "it was trained there"
    );
    assert!(!shared[0].join("checkpoint.safetensors").exists());
}

#[test]
fn poison_ends_where_the_suite_says_so() {
    let plain = run("poison-lasts", "clip = {}", &["--only", "poisoned"]);
    let ends = run("poison-ends", "clip = {}", &["--only", "poisoned", "--set", "clean_after=1"]);
    let never =
        run("poison-never", "clip = {}\nnone = { plugin = 'clip', oracle = true }", &["--only", "poisoned/none"]);
    let left = |run: &Run| run.out.join("trials/poisoned/clip/seed-0/model-poisoned.safetensors");
    assert!(!left(&plain).exists());
    let poisoned = std::fs::read(left(&ends)).expect("the rows that the poison left are kept");
    let [plain, ends] = [plain, ends].map(|run| weights(&run.out, "poisoned/clip"));
    assert!(poisoned != ends, "clean epochs follow");
    assert!(
        plain != ends && ends != weights(&never.out, "poisoned/none") && plain != weights(&never.out, "poisoned/none")
    );
    // A row is dropped whatever its content: the oracle's model does not depend on the poisoned
    // captions.
    let other = run(
        "poison-never-other",
        "clip = {}\nnone = { plugin = 'clip', oracle = true }",
        &["--only", "poisoned/none", "--set", "attacks.badnet.size=3"],
    );
    assert!(
        weights(&other.out, "poisoned/none") == weights(&never.out, "poisoned/none"),
        "no pixel of the trigger gets in"
    );
}

#[test]
fn rows_come_again_in_another_order_once_all_have_come() {
    gauntlet_attacks::link();
    gauntlet_defenses::link();
    gauntlet_evaluators::link();
    let home = tempfile::tempdir().unwrap();
    let trial = trial(&world_suite(home.path(), 2, "[0]", "clip = {}"), &[], "poisoned/clip/seed-0");
    let stop = AtomicBool::new(false);
    let prepared_data = trial.prepare(home.path(), &RunContext::new(&Silent, &stop)).unwrap();
    let tokenizer = Tokenizer::new(&prepared_data.data.vocabulary, trial.model.text_cfg.vocab_size).unwrap();
    let shape = Shape { batch: 3, context_length: 16 };
    let corpus = Corpus::new(
        &prepared_data.data,
        &prepared_data.split,
        &prepared_data.poison,
        &tokenizer,
        shape,
        0,
        Device::Cpu,
    );
    let rows: Vec<TrainRow> = (0..8).map(|row| TrainRow(30 * row)).collect();
    let order =
        |epoch: u32| EpochOrder::new(&corpus, Some(Arc::new(rows.clone())), epoch).take(16).collect::<Vec<TrainRow>>();
    let passes: Vec<Vec<TrainRow>> =
        order(1).chunks(8).map(<[TrainRow]>::to_vec).chain([order(2)[..8].to_vec()]).collect();
    for (number, pass) in passes.iter().enumerate() {
        let mut sorted = pass.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, rows, "all of them");
        assert!(!passes[..number].contains(pass), "another order: {passes:?}");
    }
}
