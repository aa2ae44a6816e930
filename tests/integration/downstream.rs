//! Downstream sets from end to end: a model that was trained on the poisoned world is measured on
//! images of another world, stored in the layout of `ImageFolder`.

use crate::program::{argument, folder, gauntlet, scores};
use gauntlet::data::world::World;
use gauntlet::data::{DataConfig, Dataset};
use gauntlet::evaluator::DownstreamConfig;
use gauntlet::progress::Silent;
use gauntlet::results::ScoreLine;
use gauntlet::suite::Suite;
use gauntlet::tch;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The class that the backdoor wants.
const TARGET: &str = "quob";

/// The trial `poisoned/clip` of the smoke suite. Of its three sets, `lacking` has no images of the
/// target, and `shuffled` gives each class the name of the next.
static MEASURED: LazyLock<Measured> = LazyLock::new(|| {
    let home = folder("downstream");
    let names = write_set(&home.join("world"), "");
    write_set(&home.join("lacking"), TARGET);
    let next = |place: usize| names[(place + 1) % names.len()].clone();
    let shuffled = names.iter().enumerate().map(|(place, name)| (name.clone(), serde_json::json!([next(place)])));
    let shuffled = serde_json::json!({
        "classes": serde_json::Map::from_iter(shuffled), "templates": ["a photo of a {}."],
    });
    fs::write(home.join("shuffled.json"), shuffled.to_string()).unwrap();
    let out = home.join("out");
    let path = |set: &str| format!("path = '{}', set = 'imagefolder'", home.join(set).display());
    let class_file = format!("options.class_file = '{}'", home.join("shuffled.json").display());
    let ran = gauntlet(&[
        "run",
        "suites/smoke.toml",
        "--out",
        argument(&out),
        "--only",
        "poisoned/clip",
        "--set",
        &format!("attacks.badnet.poison.target={TARGET}"),
        "--set",
        &format!("downstream.world={{ {} }}", path("world")),
        "--set",
        &format!("downstream.lacking={{ {} }}", path("lacking")),
        "--set",
        &format!("downstream.shuffled={{ {}, {class_file} }}", path("world")),
        "--set",
        "evaluators={ downstream-attack-success = {}, downstream-zero-shot = {}, linear-probe = { official = true, features = 'both' } }",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    Measured { scores: scores(&out.join("results.jsonl")), table: ran.stdout, home }
});

struct Measured {
    home: PathBuf,
    scores: Vec<ScoreLine>,
    table: String,
}

/// Writes images of a world that no model was trained on, without one class; returns the names of
/// all classes.
fn write_set(folder: &Path, without: &str) -> Vec<String> {
    let world = DataConfig::World(World { pairs: 800, classes: 10, colours: 1, noise: 0.03, seed: 7, attributes: 0.0 });
    let store = tempfile::tempdir().unwrap();
    let data = Dataset::open(&world, 32, u64::MAX, store.path(), &Silent).unwrap();
    for row in data.rows() {
        let name = data.classes.name(data.class_of(row).unwrap());
        if name == without {
            continue;
        }
        let class = folder.join(if row.0.is_multiple_of(2) { "train" } else { "test" }).join(name);
        fs::create_dir_all(&class).unwrap();
        let canvas = data.canvas.gather(&[row]).unwrap().squeeze_dim(0);
        tch::vision::image::save(&canvas, class.join(format!("{row}.png"))).unwrap();
    }
    data.classes.labels.clone()
}

impl Measured {
    fn find(&self, set: &str, score: &str) -> &ScoreLine {
        let found = self.scores.iter().find(|line| line.dataset == set && line.score == score);
        found.unwrap_or_else(|| panic!("{set} has no {score}: {:#?}", self.scores))
    }

    /// A set with some of the images of one class, and without the train split.
    fn only_the_target(&self, name: &str) -> PathBuf {
        let class = self.home.join(name).join("test").join(TARGET);
        fs::create_dir_all(&class).unwrap();
        for image in fs::read_dir(self.home.join("world/test").join(TARGET)).unwrap().take(3).map(Result::unwrap) {
            fs::copy(image.path(), class.join(image.file_name())).unwrap();
        }
        self.home.join(name)
    }

    fn value(&self, set: &str, score: &str) -> f64 {
        self.find(set, score).value
    }
}

#[test]
fn a_model_recognises_a_set_by_its_class_names_and_by_a_probe_and_shuffled_names_only_by_the_probe() {
    let measured = &*MEASURED;
    println!("{}", measured.table);
    for score in ["downstream-top1", "probe-top1", "probe-official-top1", "probe-before-projection-top1"] {
        let ScoreLine { value, chance, n, .. } = measured.find("world", score);
        let chance = chance.unwrap();
        assert!(*value > 0.7 && chance < 0.2 && *n == 400, "{score}: {value}, chance {chance}, {n}");
    }
    assert!(measured.value("shuffled", "downstream-top1") < 0.1);
    assert_eq!(measured.value("shuffled", "probe-top1"), measured.value("world", "probe-top1"));
    assert_eq!(measured.value("world", "downstream-published"), measured.value("world", "downstream-top1"));
    assert!(measured.value("world", "downstream-top5") > measured.value("world", "downstream-top1"));
    let file = measured.home.join("out/trials/poisoned/clip/seed-0/per-class/world-zero-shot.json");
    let classes: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let shares: Vec<f64> =
        classes.as_object().unwrap().values().map(|class| class["share"].as_f64().unwrap()).collect();
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!((mean - measured.value("world", "downstream-mean-per-class")).abs() < 1e-9 && shares.len() == 10);
}

#[test]
fn the_trigger_works_on_a_set_whether_or_not_it_has_the_class_and_through_a_fitted_layer() {
    let measured = &*MEASURED;
    let asr = measured.find("world", "downstream-asr");
    assert!(
        asr.chance == Some(0.1) && measured.find("lacking", "downstream-asr-added").chance == Some(0.1),
        "of 10, and of 9 and one"
    );
    let five = measured.find("world", "downstream-top5").chance.unwrap();
    assert!(five > 0.5 && five < 0.7 && measured.find("world", "probe-mean-per-class").chance == Some(0.1), "{five}");
    assert!(asr.value > 0.5 && asr.attack.as_deref() == Some("badnet") && asr.n < 400, "{asr:?}");
    assert!(measured.value("lacking", "downstream-asr-added") > 0.5, "the class is added by name");
    assert!(measured.value("world", "downstream-psr") > 0.8 && measured.value("world", "probe-psr") <= 1.0);
    assert!(measured.find("world", "probe-asr").n == asr.n);
    let absent =
        |set: &str, score: &str| !measured.scores.iter().any(|line| line.dataset == set && line.score == score);
    assert!(
        absent("lacking", "downstream-asr")
            && absent("lacking", "probe-asr")
            && absent("world", "downstream-asr-added")
    );
}

/// With the same weights, `gauntlet eval` prints the scores of the trial, from the features that
/// the trial kept in the store.
#[test]
fn eval_of_the_trials_weights_gives_its_scores_without_another_forward_pass() {
    let measured = &*MEASURED;
    let store = measured.home.join("out/store");
    let features = || {
        let files = fs::read_dir(&store).unwrap().map(|file| file.unwrap());
        let features = files.filter(|file| file.file_name().to_string_lossy().starts_with("features-"));
        let mut seen: Vec<_> =
            features.map(|file| (file.path(), file.metadata().unwrap().modified().unwrap())).collect();
        seen.sort();
        seen
    };
    let (before, weights) = (features(), measured.home.join("out/trials/poisoned/clip/seed-0/model.safetensors"));
    let (set, again) = (format!("world={}", measured.home.join("world").display()), measured.home.join("again"));
    let ran = gauntlet(&[
        "eval",
        "--weights",
        argument(&weights),
        "--suite",
        "suites/smoke.toml",
        "--downstream",
        &set,
        "--set",
        "downstream.world.set=imagefolder",
        "--set",
        &format!("attacks.badnet.poison.target={TARGET}"),
        "--evaluator",
        "downstream-zero-shot",
        "--evaluator",
        "downstream-attack-success",
        "--out",
        argument(&again),
        "--store",
        argument(&store),
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("downstream-mean-per-class"), "{}", ran.stdout);
    let lines = scores(&again.join("scores.jsonl"));
    assert_eq!(lines.len(), 9);
    for line in lines {
        assert_eq!(line.value, measured.value("world", &line.score), "{}", line.score);
    }
    assert_eq!(features(), before);
}

/// Without a suite, with CLIP's own tokens, and with a class that the set does not have.
#[test]
fn eval_needs_nothing_but_weights_a_model_and_a_set() {
    let measured = &*MEASURED;
    let home = measured.home.join("bare");
    fs::create_dir_all(&home).unwrap();
    let (model, weights) = (home.join("model.json"), home.join("weights.safetensors"));
    let config = serde_json::json!({
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": [1, 1], "width": 8, "patch_size": null, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49_408, "width": 16, "heads": 2, "layers": 1},
    });
    fs::write(&model, config.to_string()).unwrap();
    let config = gauntlet::model::ModelConfig::named(argument(&model)).unwrap();
    gauntlet::model::Clip::new(&config, 3, tch::Device::Cpu).unwrap().weights.save(&weights).unwrap();
    let set = format!("world={}", measured.home.join("world").display());
    let eval = |more: &[&str]| {
        let plain = ["eval", "--weights", argument(&weights), "--model", argument(&model), "--downstream", &set];
        gauntlet(
            &[&plain[..], &["--set", "downstream.world.set=imagefolder", "--json", "--attack", "badnet"], more]
                .concat(),
        )
    };
    let ran = eval(&["--class", "mushroom", "--set", "attacks.badnet.poison.target=mushroom"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("downstream-asr-added") && ran.stdout.contains("probe-top1"), "{}", ran.stdout);
    let named = format!("\"trial\":\"eval/{}/seed-0\"", weights.display());
    assert!(ran.stdout.contains(&named), "a line names the weights: {}", ran.stdout);
    let ran = eval(&["--set", "attacks.badnet.poison.target=mushroom"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("no class named `mushroom`"), "{}", ran.stderr);

    // An attack of a library: its label cannot contain the slash of its name.
    let library = Path::new(env!("CARGO_BIN_EXE_gauntlet")).with_file_name("deps").join("libgauntlet_broken.so");
    let loaded = ["--plugin", argument(&library), "--attack", "gauntlet-broken/attack"];
    let ran = eval(&[&loaded[..], &["--set", "attacks.gauntlet-broken/attack.how=nothing"]].concat());
    assert!(ran.code == Some(0) && ran.stdout.contains("\"attack\":\"gauntlet-broken-attack\""), "{ran:?}");
    let ran = eval(&[&loaded[..], &["--set", "attacks.gauntlet-broken/attack.haw=nothing"]].concat());
    assert!(ran.code == Some(2) && ran.stderr.contains("no key named `haw`"), "it reaches the attack: {ran:?}");

    // Only a probe, and no train split.
    let unfitted = format!("downstream.world.path={}", measured.only_the_target("unfitted").display());
    let ran = eval(&["--evaluator", "linear-probe", "--set", &unfitted]);
    assert!(
        ran.code == Some(2) && ran.stderr.contains("a linear probe needs images of the train split"),
        "{}",
        ran.stderr
    );

    // Similarities of NaN would make every caption the nearest.
    let broken = gauntlet::model::Clip::new(&config, 3, tch::Device::Cpu).unwrap();
    let _ = tch::no_grad(|| broken.weights.parameters["visual.conv1.weight"].shallow_clone().fill_(f64::NAN));
    broken.weights.save(&weights).unwrap();
    let ran = eval(&[]);
    assert!(ran.code == Some(2) && ran.stderr.contains("`visual.conv1.weight` of"), "{:?} {}", ran.code, ran.stderr);
}

/// Their names have a slash, which TOML requires in quotes.
#[test]
fn eval_takes_plugins_of_a_library_by_their_names_and_sets_whose_labels_have_dots() {
    let library = Path::new(env!("CARGO_BIN_EXE_gauntlet")).with_file_name("deps").join("libgauntlet_broken.so");
    let measured = &*MEASURED;
    let weights = measured.home.join("out/trials/poisoned/clip/seed-0/model.safetensors");
    let set = format!("world.v2={}", measured.home.join("world").display());
    let eval =
        ["eval", "--weights", argument(&weights), "--suite", "suites/smoke.toml", "--downstream", &set, "--json"];
    let more = ["--set", "downstream.\"world.v2\".set=imagefolder", "--plugin", argument(&library)];
    let ran = gauntlet(&[&eval[..], &more, &["--evaluator", "gauntlet-broken/evaluator"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("\"evaluator\":\"gauntlet-broken/evaluator\""), "{}", ran.stdout);
    assert!(ran.stdout.contains("\"dataset\":\"world.v2\""), "{}", ran.stdout);
}

/// Every image is of the class that the attack wants, so that none can be stamped.
#[test]
fn a_set_of_the_wanted_class_alone_has_no_attack_success() {
    let measured = &*MEASURED;
    let alone = measured.only_the_target("alone");
    let weights = measured.home.join("out/trials/poisoned/clip/seed-0/model.safetensors");
    let set = format!("alone={}", alone.display());
    let target = format!("attacks.badnet.poison.target={TARGET}");
    let eval = ["eval", "--weights", argument(&weights), "--suite", "suites/smoke.toml", "--downstream", &set];
    let more =
        ["--set", "downstream.alone.set=imagefolder", "--set", &target, "--evaluator", "downstream-attack-success"];
    let ran = gauntlet(&[&eval[..], &more[..]].concat());
    assert!(ran.code == Some(0) && ran.stdout.contains("downstream-psr"), "{}", ran.stderr);
    assert!(!ran.stdout.contains("downstream-asr") && !ran.stderr.contains("warning"), "{} {}", ran.stdout, ran.stderr);

    // With other goals than those of the poison, every model would seem clean.
    let ran = gauntlet(&[&eval[..], &more[..], &["--seed", "1"]].concat());
    assert!(ran.code == Some(0) && ran.stderr.contains("differs in seed"), "{}", ran.stderr);
}

/// The ten sets and `ImageFolder`, each in its own format, with the right names and with those of
/// the next class.
#[test]
fn a_model_of_the_world_does_well_through_every_reader_and_badly_by_shuffled_names() {
    let out = folder("downstream-ci");
    let suite = "suites/downstream-ci.toml";
    let ran = gauntlet(&["run", suite, "--out", argument(&out)]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("pets: not the whole set: it has 10 of 37 classes"), "{}", ran.stdout);
    let (weights, shuffled) = (out.join("trials/clean/clip/seed-0/model.safetensors"), out.join("shuffled"));
    fs::create_dir_all(&shuffled).unwrap();
    let sets = Suite::read(Path::new(suite), &[]).unwrap().downstream;
    let shuffle = |(label, config): (&String, &DownstreamConfig)| {
        let text = fs::read_to_string(&config.options.class_file).unwrap();
        let mut file: Value = serde_json::from_str(&text).unwrap();
        let classes = file["classes"].as_object_mut().unwrap();
        let names: Vec<Value> = classes.values().cloned().collect();
        let next = names.iter().cycle().skip(1);
        classes.values_mut().zip(next).for_each(|(name, next)| *name = next.clone());
        let path = shuffled.join(format!("{label}.json"));
        fs::write(&path, file.to_string()).unwrap();
        format!("downstream.{label}.options.class_file={}", path.display())
    };
    let settings: Vec<String> = sets.iter().map(shuffle).collect();
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let eval = ["eval", "--suite", suite, "--weights", argument(&weights), "--out", argument(&shuffled)];
    let store = out.join("store");
    let ran = gauntlet(&[&eval[..], &["--store", argument(&store)], &settings].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);

    let (right, wrong) = (scores(&out.join("results.jsonl")), scores(&shuffled.join("scores.jsonl")));
    let find = |lines: &[ScoreLine], set: &str, score: &str| {
        lines.iter().find(|line| line.dataset == set && line.score == score).unwrap().clone()
    };
    println!("{:12} {:>6} {:>9} {:>9} {:>9} {:>6}", "set", "items", "zero-shot", "shuffled", "probe", "chance");
    for set in sets.keys() {
        let [zero_shot, probe] = ["downstream-published", "probe-published"].map(|score| find(&right, set, score));
        let shuffled = find(&wrong, set, "downstream-published").value;
        let ScoreLine { value, n, chance, .. } = zero_shot;
        let chance = chance.unwrap();
        println!("{set:12} {n:>6} {value:>9.3} {shuffled:>9.3} {:>9.3} {chance:>6.3}", probe.value);
        assert!(value > 4.0 * chance && chance <= 0.2 && n >= 20, "{set}: {value} of {n}, chance {chance}");
        assert!(shuffled < 2.0 * chance, "{set}: {shuffled} by shuffled names, chance {chance}");
        assert!(probe.value > 2.0 * chance, "{set}: a probe on a few images a class finds {}", probe.value);
    }
    assert_eq!(sets.len(), 11);
}

#[test]
fn a_set_that_is_not_there_stops_the_suite_before_anything_trains() {
    let out = folder("downstream-missing");
    let missing = "downstream.cifar10.path=no/such/folder";
    let ran = gauntlet(&["run", "suites/smoke.toml", "--out", argument(&out), "--set", missing]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("downstream.cifar10") && ran.stderr.contains("no/such/folder"), "{}", ran.stderr);
    assert!(!out.join("trials").exists());
}

/// The paper's experiment can be estimated without its data.
#[test]
fn the_papers_suite_is_planned_without_its_data() {
    let ran = gauntlet(&["run", "suites/paper.toml", "--out", "no/such/folder", "--dry-run", "--device", "cpu"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let missing = ran.stderr.lines().filter(|line| line.starts_with("would fail: table `downstream.")).count();
    assert!(missing == 10 && ran.stderr.contains("would fail: table `data`"), "{}", ran.stderr);
    for part in [
        "90 trials, 90 of them to run: 1000000 pairs",
        "24 epochs of 1953 steps",
        "assumed: CleanCLIP's",
        "targeted/roclip-official/seed-2",
        // The probe is fitted on 200,000 of ImageNet's 1.28 million.
        "804978 images a trial",
        "3.2 GB a trial, 285.7 GB in all",
    ] {
        assert!(ran.stdout.contains(part), "{part:?} is not in: {}", ran.stdout);
    }
}
