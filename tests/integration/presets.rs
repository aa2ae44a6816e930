//! Presets, from the suite to the last step: their resolved values, and the quirks of RoCLIP's
//! released code that show only in a training.
//!
//! The trainings use the suite of `program.rs`: 8 steps of 32 rows per epoch. To stop after every
//! step, a training is asked to stop before it begins.

use crate::program::{argument, folder, gauntlet, trial, world_suite};
use gauntlet::corpus::Corpus;
use gauntlet::corpus::Shape;
use gauntlet::data::files::read_safetensors;
use gauntlet::data::tokenize::Tokenizer;
use gauntlet::defense::{CaptionEdits, Phase, TextTower};
use gauntlet::progress::Silent;
use gauntlet::run::RunContext;
use gauntlet::suite::Suite;
use gauntlet::tch::Device;
use gauntlet::train::checkpoint::Position;
use gauntlet::train::load;
use gauntlet::{Error, TrainRow, Trial};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// A suite with `--set` applied.
fn read(suite: &Path, settings: &[&str]) -> Result<Suite, String> {
    let settings: Vec<String> = settings.iter().map(|setting| setting.to_string()).collect();
    Suite::read(suite, &settings).and_then(|suite| suite.trials().map(|_| suite)).map_err(|error| error.chain())
}

#[test]
fn a_trial_holds_a_presets_values_and_not_its_name() {
    let home = tempfile::tempdir().unwrap();
    let suite = world_suite(
        home.path(),
        2,
        "[0]",
        "clip = {}\nro = { plugin = 'roclip', preset = 'official', every = 3, augmentation = { flip = 0.25 } }",
    );
    let settings = ["recipe={ preset = 'roclip-official', epochs = 3, batch = 40, warmup_steps = 2 }"];
    let ours = trial(&suite, &settings, "poisoned/ro/seed-0");
    let config = &ours.defense.config;
    let wanted = [
        ("every", json!(3)),
        ("pool", json!(21845.0)),
        ("pool_start", json!("raw-noise")),
        ("captions", json!("static")),
    ];
    wanted.iter().for_each(|(key, value)| assert_eq!(config[*key], *value, "{key}"));
    assert_eq!((&config["augmentation"]["flip"], &config["augmentation"]["jitter"]), (&json!(0.25), &json!(0.8)));
    let recipe = serde_json::to_value(&ours.recipe).unwrap();
    let wanted = [
        ("epochs", json!(3)),
        ("batch", json!(40)),
        ("learning_rate", json!(5e-5)),
        ("schedule", json!("cosine-from-epoch-1")),
    ];
    wanted.iter().for_each(|(key, value)| assert_eq!(recipe[*key], *value, "{key}"));
    assert_eq!((&recipe["decay"], &recipe["half_logits"]), (&json!("by-name"), &json!(true)));
    assert!(!serde_json::to_string(&ours).unwrap().contains("preset"));
    let replayed: Trial = serde_json::from_str(&serde_json::to_string(&ours).unwrap()).unwrap();
    assert_eq!(replayed, ours);
}

#[test]
fn an_unknown_preset_is_answered_with_those_there_are_and_a_guess() {
    let home = tempfile::tempdir().unwrap();
    let suite = world_suite(home.path(), 2, "[0]", "clip = {}\nroclip = {}");
    let refused = |setting: &str, parts: &[&str]| {
        let message = read(&suite, &[setting]).err().unwrap_or_else(|| panic!("{setting} is taken"));
        parts.iter().for_each(|part| assert!(message.contains(part), "{part:?} is not in: {message}"));
    };
    refused(
        "defenses.roclip.preset=oficial",
        &["defense `roclip`", "no preset named `oficial`", "did you mean `official`?", "paper"],
    );
    refused("defenses.clip.preset=official", &["defense `clip`", "there are no presets here"]);
    refused(
        "recipe.preset=roclip",
        &["suite.toml: table `recipe`", "no preset named `roclip`", "roclip-paper, roclip-official"],
    );
    refused("defenses.roclip={ preset = 'paper', evry = 2 }", &["no key named `evry`", "did you mean `every`?"]);
}

#[test]
fn describe_shows_presets_side_by_side_with_their_sources() {
    let text = |name: &str| gauntlet(&["describe", name]).stdout;
    let row = |name: &str, key: &str| {
        let text = text(name);
        let table = text.split("Presets:").nth(1).unwrap_or_else(|| panic!("no presets in {text}"));
        let row = table.lines().find(|line| line.split_whitespace().next() == Some(key));
        row.unwrap_or_else(|| panic!("no row {key} in {table}")).to_string()
    };
    let cells = |name: &str, key: &str| row(name, key).split_whitespace().map(str::to_string).collect::<Vec<_>>();
    assert_eq!(cells("roclip", "key"), ["key", "default", "paper", "official"]);
    let pool = cells("roclip", "pool");
    assert_eq!([&pool[1], &pool[2], &pool[4]], ["0.02", "0.02", "21845"]);
    assert!(row("roclip", &pool[3]).contains("unverified; released code: 2.18%"), "{pool:?}");
    assert!(row("roclip", &pool[5]).contains("released code, parser default (--memory_bank_size)"), "{pool:?}");
    assert_eq!(cells("recipe", "schedule")[4], "cosine-from-epoch-1");
    let holds = |text: &str, parts: &[&str]| {
        parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in: {text}"));
    };
    let deviations =
        ["deviates: a process has one pool", "deviates: a caption without letters", "WARNING: with `false`"];
    holds(&text("roclip"), &deviations);
    assert!(!text("precomputed").contains("Presets:"));

    let json: Value = serde_json::from_str(&gauntlet(&["describe", "roclip", "--json"]).stdout).unwrap();
    let pool = json["presets"][1]["fields"].as_array().unwrap().iter().find(|field| field["key"] == "pool").unwrap();
    assert!(json["presets"][1]["name"] == "official" && pool["value"] == 21845, "{pool}");
    assert!(pool["source"].as_str().unwrap().contains("parser default"));
}

#[test]
fn a_control_takes_over_what_it_shares_with_the_defense_it_names() {
    let home = tempfile::tempdir().unwrap();
    let suite = world_suite(
        home.path(),
        9,
        "[0]",
        "clip = {}
        augmentation-control = { of = 'ro' }
        idle = { plugin = 'exposure-control', of = 'ro' }
        ro = { plugin = 'roclip', preset = 'official', every = 3, first = 5, augmentation = { flip = 0.25 } }",
    );
    let config = |label: &str| trial(&suite, &[], &format!("poisoned/{label}/seed-0")).defense.config;
    let (ro, idle, augmentation) = (config("ro"), config("idle"), config("augmentation-control"));
    for (control, keys) in [
        (&idle, &["every", "first", "augment", "augmentation", "captions"][..]),
        (&augmentation, &["augment", "augmentation", "captions"]),
    ] {
        keys.iter().for_each(|key| assert_eq!(control[*key], ro[*key], "{key}"));
        assert_eq!(control.len(), keys.len(), "and nothing else");
    }
    assert_eq!(read(&suite, &[]).unwrap().warnings().unwrap(), [] as [String; 0]);

    let refused = |setting: &str, parts: &[&str]| {
        let message = read(&suite, &[setting]).err().unwrap_or_else(|| panic!("{setting} is taken"));
        parts.iter().for_each(|part| assert!(message.contains(part), "{part:?} is not in: {message}"));
    };
    refused(
        "defenses.idle.every=2",
        &["defense `idle`, key `of`", "key `every`", "is taken over from `ro`; leave it out here"],
    );
    refused("defenses.idle.of=roo", &["no defense named `roo`", "did you mean `ro`?"]);
    refused("defenses.idle.of=augmentation-control", &["has `of` itself"]);
    refused("defenses.idle.of=clip", &["has no key that `exposure-control` has"]);
}

#[test]
fn an_ablation_changes_what_it_sets_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let rows = "clip = {}
        sharp = { plugin = 'roclip', of = 'ro', augmentation = { blur = [0.0, 0.0] } }
        ro = { plugin = 'roclip', preset = 'official', pool = 50, augmentation = { flip = 0.25 } }";
    let suite = world_suite(home.path(), 9, "[0]", rows);
    let config = |label: &str| trial(&suite, &[], &format!("poisoned/{label}/seed-0")).defense.config;
    let (mut ro, sharp) = (config("ro"), config("sharp"));
    assert_eq!(ro["augmentation"]["flip"], 0.25);
    ro["augmentation"]["blur"] = serde_json::json!([0.0, 0.0]);
    assert_eq!(ro, sharp, "a table within the table, too");
    let refused = |setting: &str| read(&suite, &[setting]).err().unwrap_or_else(|| panic!("{setting} is taken"));
    assert!(refused("defenses.same={ plugin = 'roclip', of = 'ro' }").contains("this table changes no key"));
    assert!(refused("defenses.sharp.preset=paper").contains("key `preset`"));
    assert!(refused("defenses.sharp.oracle=true").contains("is for plain CLIP"));
    for last in [0, 9] {
        assert!(refused(&format!("clean_after={last}")).contains("less than `recipe.epochs`"));
    }
}

#[test]
fn a_control_that_agrees_with_no_defense_of_its_suite_is_warned_of() {
    let home = tempfile::tempdir().unwrap();
    let suite =
        world_suite(home.path(), 4, "[0]", "clip = {}\nexposure-control = { first = 3 }\nroclip = { pool = 20 }");
    let ran = gauntlet(&["run", argument(&suite), "--out", argument(&home.path().join("out")), "--dry-run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for part in ["warning: defense `exposure-control`", "differs from `roclip` in `first`", "`of = \"roclip\"`"] {
        assert!(ran.stderr.contains(part), "{part:?} is not in: {}", ran.stderr);
    }
    let warnings = |settings: &[&str]| read(&suite, settings).unwrap().warnings().unwrap().len();
    assert_eq!(warnings(&["defenses.roclip.first=3"]), 0, "it agrees by hand");
    assert_eq!(warnings(&["defenses.k3={ plugin = 'roclip', first = 3 }"]), 0, "with one of two");
    assert_eq!(warnings(&["defenses.roclip={ plugin = 'clip' }"]), 0, "there is nothing to agree with");
    for shipped in ["demo", "smoke", "clipart", "world-100k", "world-100k-gpu", "paper"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("suites/{shipped}.toml"));
        assert_eq!(Suite::read(&path, &[]).unwrap().warnings().unwrap(), [] as [String; 0], "{shipped}");
    }
}

/// One trial of a suite, trained in this process.
struct Training {
    trial: Trial,
    home: PathBuf,
}

impl Training {
    fn new(home: &Path, defense: &str, settings: &[&str]) -> Self {
        let suite = world_suite(home, 2, "[0]", &format!("clip = {{}}\ndefense = {defense}"));
        Training { trial: trial(&suite, settings, "poisoned/defense/seed-0"), home: home.to_path_buf() }
    }

    /// Continues to the end, or for one step, as if it were interrupted then. Returns whether it
    /// reached the end.
    fn go(&self, out: &str, one_step: bool) -> bool {
        let stop = AtomicBool::new(one_step);
        let machine = RunContext::new(&Silent, &stop);
        match self.trial.run(&self.home.join(out), &self.home.join("store"), &machine) {
            Ok(_) => true,
            Err(Error::Interrupted) => false,
            Err(error) => panic!("{}", error.chain()),
        }
    }

    fn weights(&self, out: &str) -> Vec<u8> {
        fs::read(self.home.join(out).join("model.safetensors")).unwrap()
    }

    /// The weights of an uninterrupted training.
    fn whole(&self) -> Vec<u8> {
        assert!(self.go("whole", false));
        self.weights("whole")
    }

    fn position(&self, out: &str) -> Position {
        let (_, metadata) = read_safetensors(&self.home.join(out).join("checkpoint.safetensors")).unwrap();
        serde_json::from_str(&metadata["position"]).unwrap()
    }
}

#[test]
fn quirk_an_interrupted_trial_goes_on_with_another_pool() {
    let home = folder("presets");
    for (checkpointed, equal) in [(false, false), (true, true)] {
        let defense =
            format!("{{ plugin = 'roclip', preset = 'official', pool = 100, checkpoint_pool = {checkpointed} }}");
        let home = home.join(format!("{checkpointed}"));
        fs::create_dir_all(&home).unwrap();
        let training = Training::new(&home, &defense, &[]);
        let whole = training.whole();
        let mut times = 1;
        while !training.go("stopped", true) {
            times += 1;
        }
        assert_eq!(times, 17, "it stopped after each of 16 steps, some of them in the middle of the matching epoch");
        assert_eq!(training.weights("stopped") == whole, equal, "checkpoint_pool = {checkpointed}");
    }
}

#[test]
fn quirk_the_optimizer_moves_a_text_tower_that_has_no_gradient() {
    for (text_tower, moves) in [("zero-gradient", true), ("frozen", false)] {
        let home = tempfile::tempdir().unwrap();
        let defense = format!("{{ plugin = 'roclip', preset = 'official', pool = 100, text_tower = '{text_tower}' }}");
        let training = Training::new(home.path(), &defense, &[]);
        while !training.home.join("out/checkpoint.safetensors").exists() || training.position("out").step < 8 {
            assert!(!training.go("out", true));
        }
        let (before, _) = read_safetensors(&training.home.join("out/checkpoint.safetensors")).unwrap();
        assert!(training.go("out", false));
        let (after, _) = read_safetensors(&training.home.join("out/model.safetensors")).unwrap();
        let moved = |name: &str| before[&format!("model/{name}")] != after[name];
        for name in ["token_embedding.weight", "text_projection", "transformer.resblocks.0.ln_1.weight"] {
            assert_eq!(moved(name), moves, "{text_tower}: {name} in the matching epoch");
        }
        assert!(moved("visual.conv1.weight") && moved("logit_scale"));
    }
}

/// Each key of the recipe that a preset sets changes the training; none is ignored.
#[test]
fn every_quirk_of_the_recipe_reaches_the_training() {
    let home = tempfile::tempdir().unwrap();
    let weights = |name: &str, settings: &[&str]| {
        fs::create_dir_all(home.path().join(name)).unwrap();
        Training::new(&home.path().join(name), "{ plugin = 'clip' }", settings).whole()
    };
    let plain = weights("plain", &[]);
    assert!(
        plain == weights("again", &["recipe.schedule=cosine", "recipe.decay=open-clip", "recipe.half_logits=false"])
    );
    for setting in ["recipe.schedule=cosine-from-epoch-1", "recipe.decay=by-name", "recipe.half_logits=true"] {
        assert!(plain != weights(setting, &[setting]), "{setting} changes nothing");
    }
}

#[test]
fn quirk_plain_clip_is_trained_without_augmentation() {
    let home = tempfile::tempdir().unwrap();
    let phase = |name: &str, defense: &str| {
        fs::create_dir_all(home.path().join(name)).unwrap();
        let training = Training::new(&home.path().join(name), defense, &[]);
        assert!(!training.go("out", true));
        training.position("out").phases.unwrap().remove(0)
    };
    let plain = Phase::default();
    assert_eq!(phase("clip", "{ plugin = 'clip' }"), plain);
    assert!(plain.augmentation.is_none() && plain.captions == CaptionEdits::Off);
    let official = phase("official", "{ plugin = 'roclip', preset = 'official', pool = 100 }");
    assert!(official.augmentation.is_some() && official.captions == CaptionEdits::Static);
    assert_eq!(official.text_tower, TextTower::Trained, "in the first epoch");
}

#[test]
fn quirk_a_caption_is_edited_once_a_run() {
    let home = tempfile::tempdir().unwrap();
    let training = Training::new(home.path(), "{ plugin = 'clip' }", &[]);
    let (trial, stop) = (&training.trial, AtomicBool::new(false));
    let machine = RunContext::new(&Silent, &stop);
    let prepared_data = trial.prepare(&home.path().join("store"), &machine).unwrap();
    let tokenizer = Tokenizer::new(&prepared_data.data.vocabulary, trial.model.text_cfg.vocab_size).unwrap();
    let shape = Shape { batch: 100, context_length: trial.model.text_cfg.context_length };
    let corpus = Corpus::new(
        &prepared_data.data,
        &prepared_data.split,
        &prepared_data.poison,
        &tokenizer,
        shape,
        0,
        Device::Cpu,
    );
    let rows: Vec<TrainRow> = (0..100).map(TrainRow).collect();
    let tokens = |captions: CaptionEdits, epoch: u32| {
        load::load(&corpus, &rows, epoch, &Phase { captions, ..Phase::default() }).unwrap().tokens
    };
    use CaptionEdits::{Off, PerEpoch, Static};
    assert_eq!(tokens(Static, 1), tokens(Static, 2), "the same edit in every epoch");
    assert_ne!(tokens(Static, 1), tokens(Off, 1), "an edit");
    assert_ne!(tokens(PerEpoch, 1), tokens(PerEpoch, 2));
}
