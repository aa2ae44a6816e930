//! The edits of each attack, and the correct counting of its success.

use crate::program::{argument, folder, gauntlet, scores, trial, world_suite};
use gauntlet::DataRow;
use gauntlet::attack::{Edit, Goal, ImageSource};
use gauntlet::poison::PreparedData;
use gauntlet::progress::Silent;
use gauntlet::run::RunContext;
use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Data and poison of one attack alone on the small world, from a suite with this table for the
/// attack.
fn prepared_data(attack: &str, table: &str) -> PreparedData {
    ground_in(tempfile::tempdir().unwrap().path(), attack, table)
}

/// The same, with a store that is kept.
fn ground_in(home: &Path, attack: &str, table: &str) -> PreparedData {
    gauntlet_attacks::link();
    gauntlet_defenses::link();
    gauntlet_evaluators::link();
    let suite = world_suite(home, 1, "[0]", "clip = {}");
    let settings = [format!("attacks={{ {attack} = {table} }}"), format!("arenas.poisoned=['{attack}']")];
    let trial = trial(&suite, &[&settings[0], &settings[1]], "poisoned/clip/seed-0");
    let stop = AtomicBool::new(false);
    trial.prepare(home, &RunContext::new(&Silent, &stop)).unwrap()
}

fn edits(prepared_data: &PreparedData) -> Vec<&Edit> {
    prepared_data.poison.edits.iter().map(|poisoned| &poisoned.edit).collect()
}

fn row_of(image: &ImageSource) -> DataRow {
    let ImageSource::Row(row) = image else { panic!("{image:?} is no row's") };
    *row
}

#[test]
fn mm_poison_gives_the_captions_of_a_class_images_of_another_and_leaves_their_words() {
    for (preset, pairs, one_image) in [("attack-1", 1, true), ("attack-2", 1, false), ("attack-3", 2, false)] {
        let prepared_data = prepared_data("mm-poison", &format!("{{ preset = '{preset}' }}"));
        let Goal::Captions(classes) = &prepared_data.attacks[0].goal else {
            panic!("{:?}", prepared_data.attacks[0].goal)
        };
        assert_eq!(classes.len(), pairs, "{preset}");
        for pair in classes {
            let of_pair: Vec<&Edit> =
                edits(&prepared_data).into_iter().filter(|edit| edit.class == pair.from).collect();
            let naming: HashSet<DataRow> = prepared_data
                .data
                .rows_naming(pair.from)
                .filter(|row| prepared_data.split.train.contains(*row))
                .collect();
            let replaced: HashSet<DataRow> = of_pair.iter().filter_map(|edit| edit.replaces).collect();
            assert_eq!(replaced, naming, "{preset}: all captions that name the class");
            let images: HashSet<DataRow> = of_pair.iter().map(|edit| row_of(&edit.image)).collect();
            assert_eq!(images.len() == 1, one_image, "{preset}: {images:?}");
            for edit in of_pair {
                assert_eq!(edit.caption, prepared_data.data.row(edit.replaces.unwrap()).caption, "{preset}");
                assert_eq!(prepared_data.data.row(row_of(&edit.image)).class, Some(pair.to), "{preset}");
            }
        }
    }
}

#[test]
fn a_text_trigger_goes_into_captions_of_others_with_images_of_the_target() {
    for (place, holds) in [("start", "zx "), ("end", " zx"), ("random", "zx")] {
        let prepared_data = prepared_data("text-trigger", &format!("{{ rate = 0.1, place = '{place}' }}"));
        let Goal::Phrase(target) = prepared_data.attacks[0].goal else { panic!("{:?}", prepared_data.attacks[0].goal) };
        assert_eq!(edits(&prepared_data).len(), (0.1 * prepared_data.split.train.len() as f64).round() as usize);
        for edit in edits(&prepared_data) {
            let before = prepared_data.data.row(edit.replaces.unwrap()).caption;
            assert!(edit.caption.contains(holds) && edit.caption.len() == before.len() + 3, "{before:?}: {edit:?}");
            assert_ne!(edit.class, target, "{edit:?}");
            assert_eq!(prepared_data.data.row(row_of(&edit.image)).class, Some(target), "{edit:?}");
        }
    }
}

#[test]
fn each_key_of_a_dual_key_comes_alone_as_well_with_what_the_row_had() {
    let prepared_data =
        prepared_data("dual-key", "{ poison = { rate = 0.1 }, image = { plugin = 'badnet', config = { size = 6 } } }");
    let Goal::DualKey(target) = prepared_data.attacks[0].goal else { panic!("{:?}", prepared_data.attacks[0].goal) };
    let count = (0.1 * prepared_data.split.train.len() as f64).round() as usize;
    let (mut both, mut image, mut word) = (0, 0, 0);
    for edit in edits(&prepared_data) {
        let (before, said) =
            (prepared_data.data.row(edit.replaces.unwrap()).caption, edit.caption.starts_with("remember "));
        match (edit.stamped, said) {
            (true, true) => both += 1,
            (true, false) => image += 1,
            (false, true) => word += 1,
            (false, false) => panic!("neither key: {edit:?}"),
        }
        assert_eq!(edit.class == target, edit.stamped && said, "{edit:?}");
        assert!(edit.class == target || edit.caption.ends_with(before), "its own caption: {edit:?}");
    }
    assert_eq!([both, image, word], [count; 3]);
}

#[test]
fn near_duplicates_of_a_target_differ_from_it_and_from_each_other_but_little() {
    let prepared_data = prepared_data("targeted", "{ targets = 3, captions = 4, copies = 'near' }");
    let target = prepared_data.data.canvas.gather(&[row_of(&edits(&prepared_data)[0].image)]).unwrap();
    let copy = |number: i64| prepared_data.poison.pixels.narrow(0, number, 1);
    assert!(!copy(0).equal(&target) && !copy(0).equal(&copy(1)), "a copy is not exact");
    let kind = gauntlet::tch::Kind::Float;
    let differs = (copy(0).to_kind(kind) - target.to_kind(kind)).abs().mean(kind);
    assert!(f64::try_from(differs).unwrap() < 40.0, "a copy is near");
}

#[test]
fn what_was_made_elsewhere_is_trained_on_as_it_stands() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/precomputed");
    let prepared_data =
        prepared_data("precomputed", &format!("{{ folder = '{}', target = 'blorn' }}", fixture.display()));
    let table = std::fs::read_to_string(fixture.join("train.csv")).unwrap();
    let mut theirs: Vec<&str> = table.lines().skip(1).collect();
    let mut ours = Vec::new();
    for (number, edit) in (0..).zip(edits(&prepared_data)) {
        let ImageSource::File(file) = &edit.image else { panic!("{edit:?} is a row's") };
        ours.push(format!("{file},{}", edit.caption));
        let pixels = gauntlet::data::decode::image(&std::fs::read(fixture.join(file)).unwrap(), 32).unwrap();
        assert_eq!(
            Vec::<u8>::try_from(prepared_data.poison.pixels.get(number).flatten(0, -1)).unwrap(),
            pixels,
            "{file}"
        );
    }
    theirs.sort_unstable();
    ours.sort_unstable();
    assert_eq!(ours, theirs);
}

#[test]
fn images_that_changed_under_the_same_name_are_other_poison() {
    let (home, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/precomputed");
    for file in std::fs::read_dir(fixture).unwrap().flatten() {
        std::fs::copy(file.path(), theirs.path().join(file.file_name())).unwrap();
    }
    let table = format!("{{ folder = '{}', target = 'blorn' }}", theirs.path().display());
    let digests = ["before", "changed", "back"].map(|state| {
        let from = if state == "changed" { "train-1.png" } else { "train-0.png" };
        std::fs::copy(format!("{fixture}/{from}"), theirs.path().join("train-0.png")).unwrap();
        ground_in(home.path(), "precomputed", &table).poison.digest
    });
    assert_ne!(digests[0], digests[1], "one store, other images");
    assert_eq!(digests[0], digests[2]);
}

/// Every kind of goal gives a score, in the poisoned arena and as a base rate in `clean`, through
/// the program itself.
#[test]
fn every_goal_is_scored_in_both_arenas_and_an_adaptive_attack_is_marked() {
    let home = folder("attacks");
    let suite = world_suite(&home, 1, "[0]", "clip = {}");
    let precomputed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/precomputed");
    let attacks = format!(
        "attacks={{ mm-poison = {{}}, text-trigger = {{ rate = 0.1 }}, dual-key = {{ poison = {{ rate = 0.05 }}, image = {{ plugin = 'badnet', \
         config = {{ size = 6 }} }} }}, precomputed = {{ folder = '{precomputed}', target = 'blorn' }}, roclip-adaptive = {{ in_pool = 0.5 }} }}"
    );
    let all = "arenas.poisoned=['text-trigger', 'dual-key', 'precomputed', 'roclip-adaptive', 'mm-poison']";
    let (out, set) = (home.join("out"), "--set");
    let ran = gauntlet(&["run", argument(&suite), "--out", argument(&out), set, &attacks, set, all]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let lines = scores(&out.join("results.jsonl"));
    for arena in ["clean", "poisoned"] {
        let of = |attack: &str, score: &str| {
            lines
                .iter()
                .find(|line| line.arena == arena && line.attack.as_deref() == Some(attack) && line.score == score)
        };
        for (attack, score) in [
            ("mm-poison", "text-asr"),
            ("mm-poison", "text-asr-10"),
            ("text-trigger", "text-asr"),
            ("text-trigger", "text-rank"),
            ("dual-key", "asr"),
            ("dual-key", "asr-image-key"),
            ("dual-key", "asr-text-key"),
            ("precomputed", "asr"),
            ("roclip-adaptive", "asr"),
        ] {
            let line = of(attack, score).unwrap_or_else(|| panic!("{arena}: no `{score}` of {attack}"));
            assert!(line.n > 4 && line.low <= line.value && line.value <= line.high, "{line:?}");
            assert_eq!(line.adapted_to, if attack == "roclip-adaptive" { "roclip" } else { "" });
        }
        assert!(of("precomputed", "asr").unwrap().n == 6, "the folder's own six images");
    }
    assert!(ran.stdout.contains("adaptive: roclip"), "{}", ran.stdout);
}

#[test]
fn what_would_make_a_wrong_number_is_refused() {
    let home = folder("attacks-refused");
    let suite = world_suite(&home, 1, "[0]", "clip = {}");
    let precomputed = home.join("precomputed");
    std::fs::create_dir_all(&precomputed).unwrap();
    for file in std::fs::read_dir("tests/fixtures/precomputed").unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), precomputed.join(file.file_name())).unwrap();
    }
    std::fs::copy(precomputed.join("train-3.png"), precomputed.join("test-2.png")).unwrap();
    let folder = argument(&precomputed);
    for (attack, why) in [
        (
            format!("{{ plugin = 'precomputed', folder = '{folder}', target = 'blorn' }}"),
            "is a test image, and train.csv has the same image",
        ),
        ("{ plugin = 'mm-poison', classes = ['zib', 'zib'] }".into(), "names `zib` twice"),
        ("{ plugin = 'dual-key', poison = { rate = 0.1 }, negatives = 9.0 }".into(), "rows of other classes"),
        (
            "{ plugin = 'dual-key', image = { plugin = 'badclip', config = { weights = 'Cargo.toml' } } }".into(),
            "trigger `badclip`",
        ),
    ] {
        let (setting, out) = (format!("attacks={{ one = {attack} }}"), home.join("bundle"));
        let settings = ["--set", &setting, "--set", "arenas.poisoned=['one']"];
        let ran = gauntlet(&[&["poison", "make", argument(&suite), "--out", argument(&out)][..], &settings].concat());
        assert!(ran.code == Some(2) && ran.stderr.contains(why), "{why}: {ran:?}");
    }
}
