//! Poison as files: training on a bundle equals training on the poison that it was made from, and
//! bundles that differ are rejected; exports read back bit for bit.

use crate::program::{argument, folder, gauntlet, scores, trial, world_suite};
use gauntlet::attack::PrepareContext;
use gauntlet::data::csv::Csv;
use gauntlet::data::webdataset::Webdataset;
use gauntlet::data::{DataConfig, Dataset};
use gauntlet::poison::PreparedData;
use gauntlet::poison::bundle::Bundle;
use gauntlet::poison::{Arena, Poison, Poisoned};
use gauntlet::progress::Silent;
use gauntlet::{DataRow, Goal, ImageSource};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tch::{Device, Tensor};

/// A suite of one arena and two seeds, and its bundle.
static MADE: LazyLock<Made> = LazyLock::new(|| {
    let home = folder("poison");
    let suite = world_suite(&home, 1, "[0, 1]", "clip = {}");
    let bundle = home.join("bundle");
    let ran = gauntlet(&["poison", "make", argument(&suite), "--out", argument(&bundle)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("seed-0: 29 edits: targeted 16, badnet 13; digest "), "{}", ran.stdout);
    Made { home, suite, bundle }
});

struct Made {
    home: PathBuf,
    suite: PathBuf,
    bundle: PathBuf,
}

impl Made {
    fn seed(&self, seed: u64) -> PathBuf {
        self.bundle.join(format!("poisoned/seed-{seed}"))
    }

    fn arena(&self, settings: &[&str], seed: u64) -> Arena {
        trial(&self.suite, settings, &format!("poisoned/clip/seed-{seed}")).arena
    }

    /// The poison of seed 0, made again and changed.
    fn write_changed(&self, name: &str, change: impl Fn(&mut Vec<Poisoned>, &Tensor)) -> PathBuf {
        let (arena, mut prepared_data) = (self.arena(&[], 0), prepare(&self.arena(&[], 0), None).unwrap());
        let Poison { mut edits, pixels, .. } = prepared_data.poison;
        change(&mut edits, &pixels);
        let (data, heldout) = (&prepared_data.data.index.digest, &prepared_data.split.heldout);
        prepared_data.poison = Poison::new(edits, pixels, &arena.poisons(), data, heldout).unwrap();
        let place = self.home.join(name).join("poisoned/seed-0");
        assert!(Bundle::write(&place, &arena, &prepared_data, &Silent).unwrap());
        place
    }
}

/// Data and poison, in a fresh store; the poison from a bundle's folder if one is given.
fn prepare(arena: &Arena, from: Option<&Path>) -> gauntlet::Result<PreparedData> {
    let store = tempfile::tempdir().unwrap();
    let context = PrepareContext { store: store.path(), device: Device::Cpu, progress: &Silent };
    from.map_or_else(|| arena.prepare(&context), |folder| arena.prepare_from(folder, &context))
}

fn one_pixel(_: &mut Vec<Poisoned>, pixels: &Tensor) {
    let pixel = pixels.get(2).get(1).get(5).narrow(0, 7, 1);
    let other = 255 - i64::try_from(&pixel).unwrap();
    drop(pixel.shallow_clone().fill_(other));
}

#[expect(clippy::ptr_arg, reason = "a change is a function of the whole list")]
fn one_caption(edits: &mut Vec<Poisoned>, _: &Tensor) {
    edits[3].edit.caption += " water";
}

#[test]
fn a_suite_trains_on_its_bundle_to_the_same_bits() {
    let run = |name: &str, more: &[&str]| {
        let out = MADE.home.join(name);
        let ran = gauntlet(&[&["run", argument(&MADE.suite), "--out", argument(&out)], more].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let weights = fs::read(out.join("trials/poisoned/clip/seed-1/model.safetensors")).unwrap();
        (scores(&out.join("results.jsonl")), weights)
    };
    let setting = format!("bundle={}", argument(&MADE.bundle));
    let (made, read) = (run("made", &[]), run("read", &["--set", &setting]));
    assert!(made == read, "{:?}\n{:?}", made.0, read.0);
    let about: Value = serde_json::from_str(&fs::read_to_string(MADE.seed(1).join("poison.json")).unwrap()).unwrap();
    let poisoned = made.0.iter().find(|line| line.trial == "poisoned/clip/seed-1").unwrap();
    assert_eq!(about["digest"], poisoned.poison_digest.as_str());
    assert_eq!(about["build"]["gauntlet"], env!("CARGO_PKG_VERSION"));
    let resolved = fs::read_to_string(MADE.home.join("read/trials/poisoned/clip/seed-1/trial.json")).unwrap();
    assert!(resolved.contains("\"bundle\""), "{resolved}");

    let again = ["poison", "make", argument(&MADE.suite), "--out", argument(&MADE.bundle)];
    let ran = gauntlet(&again);
    assert_eq!((ran.code, ran.stdout.matches("(unchanged)").count()), (Some(0), 2), "{ran:?}");
    let ran = gauntlet(&[&again[..], &["--set", "attacks.badnet.size=5"]].concat());
    assert!(ran.code == Some(2) && ran.stderr.contains("seed-0: holds other poison"), "{ran:?}");
}

#[test]
fn an_arena_or_seed_that_a_bundle_lacks_is_told_before_anything_is_trained() {
    let (out, setting) = (MADE.home.join("lacks"), format!("bundle={}", argument(&MADE.bundle)));
    for (more, expected) in [("arenas.other=['badnet']", "other/seed-0"), ("seeds=[0, 7]", "poisoned/seed-7")] {
        let arguments = ["run", argument(&MADE.suite), "--out", argument(&out), "--set", &setting, "--set", more];
        let ran = gauntlet(&arguments);
        assert!(ran.code == Some(2) && ran.stderr.contains(expected) && !out.exists(), "{ran:?}");
    }
}

/// The training images are in the bundle; the test images are stamped when they are used.
#[test]
fn a_bundle_is_refused_where_its_trigger_stamps_otherwise() {
    let home = folder("poison-trigger");
    let (suite, image, bundle) = (world_suite(&home, 1, "[0]", "clip = {}"), home.join("own.png"), home.join("bundle"));
    let paint = |shade: u8| image::GrayImage::from_pixel(32, 32, image::Luma([shade])).save(&image).unwrap();
    let attack = format!(
        "attacks={{ own = {{ plugin = 'blended', pattern = 'picture', picture = '{}', poison = {{ rate = 0.1 }} }} }}",
        argument(&image)
    );
    let settings = ["--set", &attack, "--set", "arenas.poisoned=['own']"];
    paint(250);
    let made = gauntlet(&[&["poison", "make", argument(&suite), "--out", argument(&bundle)][..], &settings].concat());
    assert_eq!(made.code, Some(0), "{made:?}");
    let (out, setting) = (home.join("out"), format!("bundle={}", argument(&bundle)));
    let run = ["run", argument(&suite), "--out", argument(&out), "--only", "poisoned", "--set", &setting];
    let run = || gauntlet(&[&run[..], &settings].concat());
    paint(20);
    let ran = run();
    assert!(ran.code != Some(0) && ran.stderr.contains("`own` stamps differently here"), "{ran:?}");
    paint(250);
    let ran = run();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// A copy of the bundle's seed 0, damaged.
fn damaged(name: &str, damage: impl Fn(&Path)) -> PathBuf {
    let place = folder(&format!("poison-damaged/{name}"));
    for file in fs::read_dir(MADE.seed(0)).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), place.join(file.file_name())).unwrap();
    }
    damage(&place);
    place
}

fn rewrite(file: PathBuf, change: impl Fn(String) -> String) {
    fs::write(&file, change(fs::read_to_string(&file).unwrap())).unwrap();
}

#[test]
fn files_that_were_changed_are_refused_by_name() {
    let arena = MADE.arena(&[], 0);
    let lines = |text: String, kept: fn(usize) -> bool| -> String {
        text.lines().enumerate().filter(|(line, _)| kept(*line)).map(|(_, line)| format!("{line}\n")).collect()
    };
    let pixel = MADE.write_changed("pixel", one_pixel);
    let caption = MADE.write_changed("caption", one_caption);
    let copy = |from: &Path, place: &Path, name: &str| fs::copy(from.join(name), place.join(name)).map(drop).unwrap();
    let cases = [
        (
            "pixel",
            damaged("pixel", |place| copy(&pixel, place, "pictures.tar")),
            "pictures.tar or poison.json was changed",
        ),
        ("caption", damaged("caption", |place| copy(&caption, place, "edits.jsonl")), "000003.txt is not the caption"),
        (
            "both captions",
            damaged("both", |place| {
                ["edits.jsonl", "pictures.tar"].iter().for_each(|name| copy(&caption, place, name))
            }),
            "edits.jsonl, heldout.json or poison.json was changed",
        ),
        (
            "missing edit",
            damaged("missing", |place| rewrite(place.join("edits.jsonl"), |text| lines(text, |line| line != 28))),
            "it holds 28 edits, but poison.json says 29",
        ),
        (
            "held-out row",
            damaged("heldout", |place| rewrite(place.join("heldout.json"), |text| text.replacen(',', ",0,", 1))),
            "heldout.json or poison.json was changed",
        ),
        (
            "name of an attack",
            damaged("label", |place| rewrite(place.join("poison.json"), |text| text.replace("badnet", "../bad"))),
            "`../bad` is not a valid name",
        ),
        (
            "cut shard",
            damaged("cut", |place| {
                let shard = fs::read(place.join("pictures.tar")).unwrap();
                fs::write(place.join("pictures.tar"), &shard[..shard.len() / 2 / 512 * 512]).unwrap();
            }),
            "pictures.tar: ",
        ),
        (
            "link",
            damaged("link", |place| {
                fs::remove_file(place.join("edits.jsonl")).unwrap();
                std::os::unix::fs::symlink(MADE.seed(0).join("edits.jsonl"), place.join("edits.jsonl")).unwrap();
            }),
            "edits.jsonl: it is a link or a folder, not a file",
        ),
    ];
    for (what, place, expected) in cases {
        let message = prepare(&arena, Some(&place)).err().unwrap_or_else(|| panic!("{what} is taken")).chain();
        let file = place.file_name().unwrap().to_str().unwrap();
        assert!(message.contains(expected) && message.contains(file), "{what}: {message}");
        assert!(message.contains("gauntlet poison make"), "{message}");
    }
}

#[test]
fn poison_of_something_else_is_refused_and_the_difference_named() {
    for (settings, seed, expected) in [
        (&[][..], 1, "poison.json: is poison of seed 0, not 1"),
        (&["data.seed=5"], 0, "poison.json: is poison of other data"),
        (&["data.pairs=310"], 0, "poison.json: is poison of other data"),
        (&["heldout=0.2"], 0, "heldout.json: other rows are held out here"),
        (&["attacks.badnet.size=7"], 0, "attack `badnet` had the key `size` = 6, but has 7 in the suite"),
        (&["arenas.poisoned=['badnet']"], 0, "poison of the attacks targeted + badnet, but the arena has badnet"),
    ] {
        let wrong = prepare(&MADE.arena(settings, seed), Some(&MADE.seed(0))).err();
        let message = wrong.unwrap_or_else(|| panic!("{settings:?} is taken")).chain();
        assert!(message.contains(expected) && message.contains("poisoned/seed-0"), "{expected} is not in {message}");
    }
}

#[test]
fn verify_tells_same_from_other_poison_from_damage() {
    let verify = |places: &[&Path]| {
        let places = places.iter().map(|place| argument(place));
        gauntlet(&["poison", "verify"].into_iter().chain(places).collect::<Vec<_>>())
    };
    let same = verify(&[&MADE.bundle]);
    assert_eq!((same.code, same.stdout.matches(": same: digest ").count()), (Some(0), 2), "{same:?}");

    let pixel = MADE.write_changed("verify-pixel", one_pixel);
    let ran = verify(&[&pixel]);
    let pixels = ran.stdout.split_once("differs: pixels differ by at most ").unwrap_or_else(|| panic!("{ran:?}")).1;
    assert!(ran.code == Some(1) && pixels.ends_with(" of 255, in 1 of 29 images\n"), "{ran:?}");
    let caption = MADE.write_changed("verify-caption", one_caption);
    let ran = verify(&[&MADE.bundle, &caption]);
    let expected = "differs: edit 3 is {\"attack\":\"targeted\"";
    assert!(ran.code == Some(1) && ran.stdout.contains(expected) && ran.stdout.contains(": same"), "{ran:?}");

    let cut = damaged("verify", |place| fs::remove_file(place.join("pictures.tar")).unwrap());
    let ran = verify(&[&pixel, &cut]);
    assert!(ran.code == Some(2) && ran.stdout.contains("unusable: ") && ran.stdout.contains("pictures.tar"), "{ran:?}");
    let nothing = folder("poison-nothing");
    let ran = verify(&[&nothing]);
    assert!(ran.code == Some(2) && ran.stderr.contains("holds no poison"), "{ran:?}");
    // An intact bundle may still differ from the poison that is made here.
    let ran = gauntlet(&["poison", "verify", argument(&pixel), "--files"]);
    assert!(ran.code == Some(0) && ran.stdout.contains(": intact: digest "), "{ran:?}");
}

#[test]
fn show_draws_a_row_for_each_edit() {
    let out = MADE.home.join("sheet.png");
    let place = MADE.seed(0);
    let arguments = ["poison", "show", argument(&place), "--out", argument(&out), "--rows", "3"];
    let size = |more: &[&str], expected: &str| {
        let ran = gauntlet(&[&arguments, more].concat());
        assert!(ran.code == Some(0) && ran.stdout.starts_with(expected), "{ran:?}");
        let header = fs::read(&out).unwrap();
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!(&header[1..4], b"PNG");
        (number(16), number(20))
    };
    // Two margins, three images of four times 32 pixels, 44 letters of 16; three lines of title,
    // then a heading and three rows per attack.
    let (both, one) = (size(&[], "6 of 29 edits"), size(&["--attack", "badnet"], "3 of 29 edits"));
    assert_eq!(both.0, 48 + 3 * (128 + 24) + 44 * 16 + 48);
    assert_eq!((one.0, one.1), (both.0, 2 * 48 + (36 + 28 + 28) + 112 + 3 * (128 + 24)));
    assert_eq!(both.1 - one.1, 112 + 3 * (128 + 24));
    let ran = gauntlet(&[&arguments[..], &["--attack", "badnat"]].concat());
    assert!(ran.code == Some(2) && ran.stderr.contains("did you mean `badnet`"), "{ran:?}");
}

/// Every pair of an export by its key, as a trainer would read it.
fn pairs(data: &DataConfig) -> BTreeMap<String, (String, Tensor)> {
    let store = tempfile::tempdir().unwrap();
    let read = Dataset::open(data, 32, u64::MAX, store.path(), &Silent).unwrap();
    let pair = |row: DataRow| {
        let key = read.row(row).key;
        let key = key.strip_prefix("images/").and_then(|name| name.strip_suffix(".png")).unwrap_or(key);
        (key.to_string(), (read.row(row).caption.to_string(), read.canvas.gather(&[row]).unwrap()))
    };
    read.rows().map(pair).collect()
}

/// Checks the pairs of an export against what a trial trains on.
fn check_pairs(found: &BTreeMap<String, (String, Tensor)>, out: &Path, prepared_data: &PreparedData) {
    let truth = fs::read_to_string(out.join("truth.jsonl")).unwrap();
    let truth: Vec<Value> = truth.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((found.len(), truth.len()), (prepared_data.split.train.len() + 16, found.len()));
    let mut edits = 0;
    for line in &truth {
        let (caption, canvas) = &found[line["key"].as_str().unwrap()];
        let (said, pixels) = match (line["row"].as_u64(), line["edit"].as_u64()) {
            (Some(row), None) => {
                let row = DataRow(row as u32);
                (prepared_data.data.row(row).caption, prepared_data.data.canvas.gather(&[row]).unwrap())
            }
            (None, Some(number)) => {
                let edit = &prepared_data.poison.edits[number as usize];
                assert_eq!(line["attack"], edit.attack.as_str());
                edits += 1;
                (edit.edit.caption.as_str(), prepared_data.poison.pixels.narrow(0, number as i64, 1))
            }
            _ => panic!("{line}"),
        };
        assert!(caption == said && canvas.equal(&pixels), "{line}");
    }
    assert_eq!(edits, 29);
    let places: Vec<usize> = (0..truth.len()).filter(|line| truth[*line]["edit"].is_number()).collect();
    assert!(places[0] < 60 && places[28] > 200, "poison is in one place: {places:?}");
}

#[test]
fn an_export_reads_back_bit_for_bit() {
    let (arena, place) = (MADE.arena(&[], 0), MADE.seed(0));
    let prepared_data = prepare(&arena, None).unwrap();
    let out = |name: &str| MADE.home.join(name);
    let export = |from: &Path, format: &str, name: &str| {
        let out = out(name);
        let ran = gauntlet(&["poison", "export", argument(from), "--format", format, "--out", argument(&out)]);
        assert!(ran.code == Some(0) && ran.stdout.starts_with("276 pairs (29 edits: "), "{ran:?}");
    };
    export(&place, "webdataset", "shards");
    export(&MADE.suite, "csv", "table");
    let shards = Webdataset { path: out("shards/train"), ..Webdataset::default() };
    check_pairs(&pairs(&DataConfig::Webdataset(shards)), &out("shards"), &prepared_data);
    let table = Csv { path: out("table/train.csv"), ..Csv::default() };
    check_pairs(&pairs(&DataConfig::Csv(table)), &out("table"), &prepared_data);
    let truths = ["shards", "table"].map(|name| fs::read(out(name).join("truth.jsonl")).unwrap());
    assert!(truths[0] == truths[1], "one order, whatever the format");

    // Nothing in a shard reveals the poison: its samples have the same files as all others.
    let mut archive = tar::Archive::new(fs::File::open(out("shards/train/00000.tar")).unwrap());
    let mut members = BTreeMap::new();
    for member in archive.entries().unwrap().map(Result::unwrap) {
        let name = member.path().unwrap().to_str().unwrap().to_string();
        assert_eq!((member.header().mtime().unwrap(), member.header().uid().unwrap()), (0, 0));
        if name.ends_with(".json") {
            let json: serde_json::Map<String, Value> = serde_json::from_reader(member).unwrap();
            assert_eq!(json.keys().collect::<Vec<_>>(), ["key", "caption"]);
        }
        *members.entry(name.split_once('.').unwrap().1.to_string()).or_insert(0) += 1;
    }
    assert_eq!(members, BTreeMap::from(["json", "png", "txt"].map(|name| (name.to_string(), 276))));

    check_tests(&out("table"), &prepared_data);
    let ran = gauntlet(&["poison", "export", argument(&place), "--format", "csv", "--out", argument(&out("table"))]);
    assert!(ran.code == Some(2) && ran.stderr.contains("already exists"), "{ran:?}");
}

/// The test images of an export are those that the evaluators use.
fn check_tests(out: &Path, prepared_data: &PreparedData) {
    let classes = &prepared_data.data.classes;
    let check = |folder: &str, rows: &[DataRow], canvases: &Tensor, lines: Vec<String>| {
        let table = fs::read_to_string(out.join(folder).join("test.csv")).unwrap();
        let found: Vec<&str> = table.lines().skip(1).collect();
        assert_eq!(found, lines, "{folder}");
        for (row, number) in rows.iter().zip(0..) {
            let image = tch::vision::image::load(out.join(folder).join(format!("{row:08}.png"))).unwrap();
            assert!(image.equal(&canvases.get(number)), "{folder}, row {row}");
        }
    };
    let [targeted, badnet] = [&prepared_data.attacks[0], &prepared_data.attacks[1]];
    let (Goal::Pairs(targets), Goal::Class(wanted)) = (&targeted.goal, &badnet.goal) else { panic!("other goals") };
    let label = |class: u32| classes.labels[class as usize].as_str();
    let rows: Vec<DataRow> = targets.iter().map(|target| target.row).collect();
    let line = |target: &gauntlet::Target| {
        format!("{:08}.png,{},{}", target.row, label(target.truth.unwrap()), label(target.class))
    };
    check(
        "targets/targeted",
        &rows,
        &prepared_data.data.canvas.gather(&rows).unwrap(),
        targets.iter().map(line).collect(),
    );
    let test: Vec<DataRow> = prepared_data.split.heldout.iter().copied().filter(|row| !rows.contains(row)).collect();
    let line = |row: &DataRow| format!("{row:08}.png,{}", label(prepared_data.data.class_of(*row).unwrap()));
    check("test", &test, &prepared_data.data.canvas.gather(&test).unwrap(), test.iter().map(line).collect());
    let victims: Vec<DataRow> =
        test.into_iter().filter(|row| prepared_data.data.class_of(*row) != Some(*wanted)).collect();
    let stamped = badnet.stamp_test(&prepared_data.data, &victims, 0).unwrap();
    check("stamped/badnet", &victims, &stamped, victims.iter().map(line).collect());
    let goals: Value = serde_json::from_str(&fs::read_to_string(out.join("goals.json")).unwrap()).unwrap();
    assert_eq!(goals["badnet"]["wanted"], label(*wanted));
    let readme = fs::read_to_string(out.join("README.txt")).unwrap();
    assert!(
        readme.contains(&prepared_data.poison.digest)
            && !readme.replace("{arena}", "").replace("{seed}", "").contains('{'),
        "{readme}"
    );
}

#[test]
fn the_shard_of_a_bundle_is_a_webdataset_with_the_poison_alone() {
    let place = MADE.seed(0).join("pictures.tar");
    let found = pairs(&DataConfig::Webdataset(Webdataset { path: place, ..Webdataset::default() }));
    let bundle = Bundle::read(&MADE.seed(0)).unwrap();
    assert_eq!(found.len(), 29);
    for (edit, number) in bundle.poison.edits.iter().zip(0..) {
        let (caption, canvas) = &found[&format!("{number:06}")];
        assert!(*caption == edit.edit.caption && canvas.equal(&bundle.poison.pixels.narrow(0, number, 1)));
        assert!(matches!(edit.edit.image, ImageSource::Row(_)));
    }
}

/// The digest does not cover them, so `verify` once passed a bundle without them.
#[test]
fn a_bundle_with_damaged_triggers_is_not_intact() {
    let home = folder("poison-triggers");
    let place = home.join("poisoned/seed-0");
    let verify = |what: &str| {
        let whole = gauntlet(&["poison", "verify", argument(&home)]);
        let files = gauntlet(&["poison", "verify", "--files", argument(&home)]);
        for ran in [&whole, &files] {
            assert!(ran.code == Some(2) && ran.stdout.contains("triggers.safetensors"), "{what}: {ran:?}");
        }
    };
    crate::report::copy(&MADE.seed(0), &place);
    let triggers = place.join("triggers.safetensors");
    fs::write(&triggers, "garbage").unwrap();
    verify("garbage");
    fs::remove_file(&triggers).unwrap();
    verify("gone");
    let of = |label: &str, tensor: Tensor| (label.to_string(), tensor);
    let shades = |value: f64| Tensor::full([2, 3, 32, 32], value, (tch::Kind::Uint8, Device::Cpu));
    let write = |tensors: [(String, Tensor); 2]| {
        gauntlet::data::files::write_safetensors(&triggers, &tensors.into(), &Default::default()).unwrap();
    };
    write([of("targeted", shades(0.0)), of("other", shades(0.0))]);
    verify("without an attack");
    write([of("targeted", shades(9.0)), of("badnet", shades(9.0))]);
    let ran = gauntlet(&["poison", "verify", argument(&home)]);
    assert!(ran.code == Some(1) && ran.stdout.contains("stamps differently"), "other triggers: {ran:?}");
}
