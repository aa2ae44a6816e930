//! The captions that name a class, and two classes of one name, tested through the edits of attacks
//! and the scores.

use crate::program::{argument, folder, gauntlet, trial, write_suite};
use gauntlet::attack::Goal;
use gauntlet::data::DataConfig;
use gauntlet::data::world::World;
use gauntlet::data::{Dataset, words};
use gauntlet::poison::PreparedData;
use gauntlet::progress::Silent;
use gauntlet::results::{Line, ScoreLine, read_lines};
use gauntlet::run::RunContext;
use gauntlet::tch;
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Captions in the classes banana, dog, lion, sea lion, each `TIMES` times with a number appended.
const CAPTIONS: [(&str, &str); 11] = [
    ("a banana", "banana"),
    ("two bananas", ""),
    ("b&#97;nanas on a table", ""),
    ("banana and dog", ""),
    ("a dog", "dog"),
    ("dogs", ""),
    ("a lion", "lion"),
    ("a sea lion", "sea lion"),
    ("sealions", ""),
    ("a rock", ""),
    ("a tree", ""),
];
const TIMES: usize = 8;

/// The evaluators that compare classes.
const EVALUATORS: [&str; 5] =
    ["zero-shot", "attack-success", "downstream-zero-shot", "downstream-attack-success", "linear-probe"];

/// A table with these captions, and the poison that attacks with this table make of it.
fn prepared_data(attack: &str) -> (tempfile::TempDir, PreparedData) {
    gauntlet_attacks::link();
    gauntlet_defenses::link();
    gauntlet_evaluators::link();
    let home = tempfile::tempdir().unwrap();
    let mut table = "image,caption,class\n".to_string();
    for (place, (caption, class)) in CAPTIONS.iter().cycle().take(TIMES * CAPTIONS.len()).enumerate() {
        image::RgbImage::from_pixel(32, 32, image::Rgb([place as u8; 3]))
            .save(home.path().join(format!("{place}.png")))
            .unwrap();
        table += &format!("{place}.png,{caption} {place},{class}\n");
    }
    fs::write(home.path().join("table.csv"), table).unwrap();
    let data = format!("kind = 'csv'\npath = '{}'\nclass_column = 'class'", home.path().join("table.csv").display());
    let suite = write_suite(home.path(), &data, 49_408, 1, "[0]", "clip = {}");
    let settings = [format!("attacks={{ a = {attack} }}"), "arenas.poisoned=['a']".to_string()];
    let trial = trial(&suite, &[&settings[0], &settings[1], "heldout=0.3", "recipe.batch=4"], "poisoned/clip/seed-0");
    let stop = AtomicBool::new(false);
    let prepared_data = trial.prepare(home.path(), &RunContext::new(&Silent, &stop)).unwrap();
    (home, prepared_data)
}

/// Captions of the rows that are replaced, and the captions that they get, without their numbers.
fn edits(prepared_data: &PreparedData) -> [HashSet<String>; 2] {
    let bare = |caption: &str| caption.trim_end_matches(|char: char| char.is_ascii_digit()).trim().to_string();
    let edits = || prepared_data.poison.edits.iter().map(|poisoned| &poisoned.edit);
    let before = edits().filter_map(|edit| edit.replaces).map(|row| bare(prepared_data.data.row(row).caption));
    [before.collect(), edits().map(|edit| bare(&edit.caption)).collect()]
}

fn set(captions: &[&str]) -> HashSet<String> {
    captions.iter().map(|caption| caption.to_string()).collect()
}

#[test]
fn a_backdoor_mines_the_name_as_it_is_and_leaves_every_other_mention_alone() {
    let poison = |target: &str, rows: &str| {
        let attack = format!(
            "{{ plugin = 'badnet', size = 6, poison = {{ target = '{target}', rate = 0.6, rows = '{rows}' }} }}"
        );
        edits(&prepared_data(&attack).1)
    };
    let [replaced, said] = poison("banana", "others");
    assert_eq!(said, set(&["a banana", "banana and dog"]));
    assert_eq!(replaced, set(&["a dog", "dogs", "a lion", "a sea lion", "sealions", "a rock", "a tree"]));
    let [replaced, said] = poison("lion", "others");
    assert_eq!(said, set(&["a lion"]), "a sea lion is none");
    assert!(!replaced.contains("a sea lion") && replaced.contains("sealions"), "{replaced:?}");
    let [replaced, _] = poison("sea lion", "others");
    assert!(replaced.contains("a lion") && !replaced.contains("sealions"), "{replaced:?}");
    let alone = "{ plugin = 'badnet', size = 6, poison = { target = 'lion', rate = 0.05, rows = 'target', captions = 'kept' } }";
    assert_eq!(edits(&prepared_data(alone).1)[0], set(&["a lion"]));
}

#[test]
fn captions_that_name_another_class_too_are_mined_or_not_as_is_asked() {
    let (_home, prepared_data) =
        prepared_data("{ plugin = 'badnet', size = 6, poison = { target = 'banana', rate = 0.05 } }");
    let ctx =
        gauntlet::PoisonCtx { data: &prepared_data.data, split: &prepared_data.split, seed: 0, taken: &HashSet::new() };
    let banana = prepared_data.data.classes.find("banana").unwrap();
    let words_of =
        |captions: Vec<&str>| captions.iter().map(|caption| words(caption)[..2].join(" ")).collect::<HashSet<_>>();
    assert_eq!(words_of(ctx.captions_naming(banana).unwrap()), set(&["a banana", "banana and"]));
    assert_eq!(words_of(ctx.captions_naming_alone(banana).unwrap()), set(&["a banana"]));
}

#[test]
fn text_sides_leave_captions_alone_that_name_both_classes() {
    let [replaced, _] = edits(&prepared_data("{ plugin = 'mm-poison', classes = ['dog', 'banana'] }").1);
    assert_eq!(replaced, set(&["a dog"]), "`banana and dog` rightly finds bananas");
    let [replaced, _] = edits(&prepared_data("{ plugin = 'text-trigger', target = 'banana', rate = 0.15 }").1);
    assert!(replaced.contains("a dog") && !replaced.iter().any(|caption| caption.contains("nana")), "{replaced:?}");
}

#[test]
fn no_target_is_given_a_class_that_its_own_caption_names() {
    // Bananas are held out with captions that name every class but one.
    gauntlet_attacks::link();
    let home = tempfile::tempdir().unwrap();
    let mut table = "image,caption,class\n".to_string();
    for place in 0..60 {
        image::RgbImage::from_pixel(32, 32, image::Rgb([place as u8; 3]))
            .save(home.path().join(format!("{place}.png")))
            .unwrap();
        let (caption, class) = [("a banana between dogs", "banana"), ("a dog", "dog"), ("a cat", "cat")][place % 3];
        table += &format!("{place}.png,{caption},{class}\n");
    }
    fs::write(home.path().join("table.csv"), table).unwrap();
    let data = format!("kind = 'csv'\npath = '{}'\nclass_column = 'class'", home.path().join("table.csv").display());
    let suite = write_suite(home.path(), &data, 49_408, 1, "[0]", "clip = {}");
    let settings =
        ["attacks={ a = { plugin = 'targeted', targets = 20, captions = 1 } }", "arenas.poisoned=['a']", "heldout=0.5"];
    let trial = trial(&suite, &settings, "poisoned/clip/seed-0");
    let stop = AtomicBool::new(false);
    let prepared_data = trial.prepare(home.path(), &RunContext::new(&Silent, &stop)).unwrap();
    let Goal::Pairs(targets) = &prepared_data.attacks[0].goal else { panic!("{:?}", prepared_data.attacks[0].goal) };
    let name = |class: u32| prepared_data.data.classes.name(class);
    let of_bananas: HashSet<&str> = targets
        .iter()
        .filter(|target| name(target.truth.unwrap()) == "banana")
        .map(|target| name(target.class))
        .collect();
    assert_eq!(of_bananas, HashSet::from(["cat"]), "{targets:?}");
}

/// Images of the world in class folders, two of which have the same name; and the same with these
/// two in one folder. No score may differ.
#[test]
fn two_classes_of_one_name_score_as_the_one_class_that_they_are() {
    let home = folder("one-name");
    let world = DataConfig::World(World { pairs: 300, classes: 8, ..World::default() });
    let data = Dataset::open(&world, 32, u64::MAX, &home, &Silent).unwrap();
    let mut names = serde_json::Map::new();
    for row in data.rows() {
        let class = data.class_of(row).unwrap();
        let part = if row.0.is_multiple_of(3) { "train" } else { "test" };
        let canvas = data.canvas.gather(&[row]).unwrap().squeeze_dim(0);
        // Classes 2 and 3 are one: in two folders, and in the first of them.
        for (set, label) in [("two", format!("c{class}")), ("one", format!("c{}", if class == 3 { 2 } else { class }))]
        {
            let place = home.join(set).join(part).join(&label);
            fs::create_dir_all(&place).unwrap();
            tch::vision::image::save(&canvas, place.join(format!("{class}-{row}.png"))).unwrap();
            let name = match label.as_str() {
                "c2" => "quob",
                "c3" => "Quob!",
                other => other,
            };
            let name = serde_json::json!([name]);
            names.insert(label, name);
        }
    }
    fs::write(
        home.join("names.json"),
        serde_json::json!({ "classes": names, "templates": ["a photo of a {}"] }).to_string(),
    )
    .unwrap();
    let (model, weights) = (home.join("model.json"), home.join("weights.safetensors"));
    let config = serde_json::json!({
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": [1, 1], "width": 8, "patch_size": null, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49_408, "width": 16, "heads": 2, "layers": 1},
    });
    fs::write(&model, config.to_string()).unwrap();
    let config = gauntlet::model::ModelConfig::named(argument(&model)).unwrap();
    gauntlet::model::Clip::new(&config, 3, tch::Device::Cpu).unwrap().weights.save(&weights).unwrap();
    let measure = |set: &str| {
        let (out, path) = (home.join(format!("out-{set}")), format!("s={}", home.join(set).display()));
        let class_file = format!("downstream.s.options.class_file={}", home.join("names.json").display());
        let attacks = "attacks={ badnet = { place = 'centre', pattern = 'yellow', size = 8, poison = { target = 'quob' } }, \
                       targeted = { targets = 8 } }";
        let plain = ["eval", "--weights", argument(&weights), "--model", argument(&model), "--downstream", &path];
        let settings =
            ["--set", "downstream.s.set=imagefolder", "--set", &class_file, "--set", attacks, "--out", argument(&out)];
        let evaluators = EVALUATORS.iter().flat_map(|name| ["--evaluator", name]).collect::<Vec<_>>();
        let ran = gauntlet(&[&plain[..], &settings[..], &evaluators].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        (ran, of(&out.join("scores.jsonl")))
    };
    let ((output, two), (silent, one)) = (measure("two"), measure("one"));
    assert!(
        output.stderr.contains("warning: labels that share a name are one class: `quob` (c2, c3)"),
        "{}",
        output.stderr
    );
    assert!(
        output.stdout.contains("s: labels that share a name") && !silent.stderr.contains("share a name"),
        "{}",
        output.stdout
    );
    let names: HashSet<&str> = two.iter().map(|(score, ..)| score.as_str()).collect();
    for score in [
        "top1",
        "top5",
        "asr",
        "psr",
        "downstream-top1",
        "downstream-top5",
        "downstream-asr",
        "probe-top1",
        "probe-asr",
    ] {
        assert!(names.contains(score), "{score}: {names:?}");
    }
    assert_eq!(two, one);
    let value = |name: &str| two.iter().find(|(score, ..)| score == name).unwrap().clone();
    assert_eq!(value("asr").2, value("downstream-asr").2, "one model, one goal");
}

/// Score, attack, value, cases and chance of each line, in order.
type ScoreParts = (String, Option<String>, String, usize, Option<String>);

fn of(path: &Path) -> Vec<ScoreParts> {
    let score = |line| if let Line::Score(score) = line { Some(score) } else { None };
    let tell = |line: ScoreLine| {
        (line.score, line.attack, line.value.to_string(), line.n, line.chance.map(|chance| chance.to_string()))
    };
    read_lines(path).unwrap().into_iter().filter_map(score).map(tell).collect()
}
