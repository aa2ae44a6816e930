//! The paper's protocol with captions only: no labels except in the downstream sets.

use crate::program::{argument, folder, gauntlet, scores};
use gauntlet::results::ScoreLine;
use std::fs;
use std::path::{Path, PathBuf};

/// Pairs of the world as shards with captions only, and a file of class names.
fn shards(home: &Path, pairs: &str, seed: &str) -> PathBuf {
    let out = home.join(format!("pairs-{seed}"));
    let world = ["--pairs", pairs, "--classes", "6", "--seed", seed, "--per-shard", "100"];
    let ran = gauntlet(&[&["data", "world", "--out", argument(&out)][..], &world].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    out
}

/// A suite on pairs without labels; `data` is its `[data]` as an inline table.
fn suite(home: &Path, name: &str, data: &str, more: &str) -> PathBuf {
    let path = home.join(format!("{name}.toml"));
    let classes = home.join("pairs-0/classes.json");
    let text = format!(
        "name = '{name}'\nseeds = [0]\ndevice = 'cpu'\nheldout = 0.3\nmodel = 'suites/models/nano.json'\nclasses = '{}'\n{more}\n\
         data = {data}\nrecipe = {{ epochs = 1, batch = 32, warmup_steps = 1 }}\n\
         attacks.targeted = {{ targets = 4, captions = 2 }}\nattacks.badnet = {{ poison = {{ count = 5 }}, size = 6 }}\n\
         arenas = {{ targeted = ['targeted'], backdoor = ['badnet'] }}\ndefenses = {{ clip = {{}}, roclip = {{ pool = 50 }} }}\n\
         evaluators = {{ attack-success = {{}}, zero-shot = {{}}, retrieval = {{}} }}\n",
        classes.display()
    );
    fs::write(&path, text).unwrap();
    path
}

/// The shards as a table of files with captions only.
fn as_csv(shards: &Path, home: &Path) -> PathBuf {
    let images = home.join("images");
    fs::create_dir_all(&images).unwrap();
    let mut table = csv::Writer::from_path(home.join("pairs.csv")).unwrap();
    table.write_record(["image", "caption"]).unwrap();
    let mut names: Vec<PathBuf> = fs::read_dir(shards).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for shard in names.iter().filter(|path| path.extension().is_some_and(|extension| extension == "tar")) {
        let mut archive = tar::Archive::new(fs::File::open(shard).unwrap());
        let mut image = String::new();
        for member in archive.entries().unwrap() {
            let mut member = member.unwrap();
            let name = member.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut member, &mut bytes).unwrap();
            if name.ends_with(".png") {
                fs::write(images.join(&name), &bytes).unwrap();
                image = format!("images/{name}");
            } else if name.ends_with(".txt") {
                table.write_record([image.as_str(), std::str::from_utf8(&bytes).unwrap()]).unwrap();
            }
        }
    }
    table.flush().unwrap();
    home.join("pairs.csv")
}

fn names(lines: &[ScoreLine]) -> Vec<&str> {
    let mut names: Vec<&str> = lines.iter().map(|line| line.score.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn three_hundred_pairs_with_captions_only_run_from_a_table_and_from_shards_alike() {
    let home = folder("protocol");
    let pairs = shards(&home, "300", "0");
    let table = as_csv(&pairs, &home);
    let run = |name: &str, data: &str| {
        let (suite, out) = (suite(&home, name, data, ""), home.join(format!("out-{name}")));
        let ran = gauntlet(&["run", argument(&suite), "--out", argument(&out), "--only", "/clip/"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        scores(&out.join("results.jsonl"))
    };
    let of_shards = run("shards", &format!("{{ kind = 'webdataset', path = '{}' }}", pairs.display()));
    let of_table = run("table", &format!("{{ kind = 'csv', path = '{}' }}", table.display()));
    let found = names(&of_shards);
    for score in ["psr", "psr-3", "psr-5", "asr-caption", "image-to-text-r1"] {
        assert!(found.contains(&score), "{score} is not among {found:?}");
    }
    assert!(!found.contains(&"top1") && !found.contains(&"asr"), "no label tells: {found:?}");
    let values = |lines: &[ScoreLine]| lines.iter().map(|line| (line.score.clone(), line.value)).collect::<Vec<_>>();
    assert_eq!(values(&of_shards), values(&of_table), "the same pairs in two forms");
}

#[test]
fn a_validation_source_is_what_is_held_out_and_what_is_also_trained_on_is_dropped() {
    let home = folder("protocol-validation");
    let (train, validation) = (shards(&home, "300", "0"), shards(&home, "120", "1"));
    // Twenty of the training pairs are also in the validation source.
    let part = home.join("both");
    fs::create_dir(&part).unwrap();
    for (from, to) in [(validation.join("00000.tar"), "00000.tar"), (train.join("00000.tar"), "00001.tar")] {
        fs::copy(from, part.join(to)).unwrap();
    }
    let data = format!(
        "{{ kind = 'webdataset', path = '{}', validation = {{ kind = 'webdataset', path = '{}' }} }}",
        train.display(),
        part.display()
    );
    let path = suite(&home, "validation", &data, "");
    let bundle = home.join("bundle");
    let ran = gauntlet(&["poison", "make", argument(&path), "--out", argument(&bundle), "--only", "targeted"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let heldout = fs::read_to_string(bundle.join("targeted/seed-0/heldout.json")).unwrap();
    let heldout: Vec<u32> = serde_json::from_str(&heldout).unwrap();
    assert_eq!(heldout, (300..400).collect::<Vec<u32>>(), "100 of the validation source; 100 more are trained on");
}

#[test]
fn the_debug_tier_of_the_paper_has_an_attack_that_works_and_roclip_lowers_it() {
    let home = folder("paper-debug");
    let pairs = home.join("pairs");
    let world = ["--pairs", "4000", "--classes", "10", "--colours", "2", "--attributes", "0.5", "--noise", "0.06"];
    let made = gauntlet(&[&["data", "world", "--out", argument(&pairs)][..], &world].concat());
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let (out, path) = (home.join("out"), format!("data.path={}", pairs.display()));
    let run = ["run", "suites/paper.toml", "--tier", "debug", "--out", argument(&out), "--set", &path];
    let only = ["targeted/clip", "targeted/roclip", "clean/clip"].map(|name| ["--only", name]).concat();
    let ran = gauntlet(&[&run[..], &only].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let lines = scores(&out.join("results.jsonl"));
    let psr = |arena: &str, defense: &str| {
        let is = |line: &&ScoreLine| line.score == "psr" && line.arena == arena && line.defense == defense;
        lines.iter().find(is).unwrap().value
    };
    assert!(psr("targeted", "clip") >= 0.8 && psr("clean", "clip") <= 0.2, "the attack works");
    assert!(psr("targeted", "roclip") <= psr("targeted", "clip") / 2.0, "RoCLIP lowers it");
    let tier = &lines[0].tier;
    assert!(
        tier.starts_with("debug ") && lines.iter().all(|line| line.tier == *tier),
        "a path changes no tier: {tier}"
    );
}

#[test]
fn weights_that_were_trained_elsewhere_are_a_row_if_they_name_the_same_poison() {
    let home = folder("protocol-elsewhere");
    let pairs = shards(&home, "300", "0");
    let path = suite(&home, "own", &format!("{{ kind = 'webdataset', path = '{}' }}", pairs.display()), "");
    let (out, run) = (home.join("out"), |more: &[&str]| {
        gauntlet(
            &[&["run", argument(&path), "--out", argument(&home.join("out")), "--only", "targeted/"], more].concat(),
        )
    });
    assert_eq!(run(&["--set", "defenses={ clip = {} }"]).code, Some(0));
    let ours = scores(&out.join("results.jsonl"));
    // Files of another program: weights, and the digest of the export that it trained on.
    let mine = home.join("mine/targeted/seed-0");
    fs::create_dir_all(&mine).unwrap();
    fs::copy(out.join("trials/targeted/clip/seed-0/model.safetensors"), mine.join("model.safetensors")).unwrap();
    let pattern = format!("{}/mine/{{arena}}/seed-{{seed}}/model.safetensors", home.display());
    let defenses = format!("defenses={{ clip = {{}}, mine = {{ weights = '{pattern}' }} }}");
    fs::write(mine.join("poison_digest.txt"), "another\n").unwrap();
    let ran = run(&["--set", &defenses]);
    assert!(ran.code == Some(1) && ran.stderr.contains("were trained on poison another"), "{}", ran.stderr);
    fs::write(mine.join("poison_digest.txt"), format!("{}\n", ours[0].poison_digest)).unwrap();
    let ran = run(&["--set", &defenses]);
    assert!(ran.code == Some(0) && ran.stdout.contains("trained elsewhere"), "{ran:?}");
    let lines = scores(&out.join("results.jsonl"));
    let of = |defense: &str| -> Vec<(String, f64)> {
        let lines = lines.iter().filter(|line| line.defense == defense);
        lines.map(|line| (line.score.clone(), line.value)).collect()
    };
    assert!(!of("mine").is_empty() && of("mine") == of("clip"), "the same weights score the same");
}

#[test]
fn rows_of_two_tiers_never_meet_and_a_changed_key_marks_the_tier() {
    let home = folder("protocol-tiers");
    let pairs = shards(&home, "300", "0");
    let path = suite(&home, "tiers", &format!("{{ kind = 'webdataset', path = '{}' }}", pairs.display()), "");
    let tiers = "[tiers.one]\nheldout = 0.3\n[tiers.two]\nheldout = 0.2\n";
    fs::write(&path, fs::read_to_string(&path).unwrap() + tiers).unwrap();
    let run = |out: &str, more: &[&str]| {
        let out = home.join(out);
        let ran =
            gauntlet(&[&["run", argument(&path), "--out", argument(&out), "--only", "clean/clip"], more].concat());
        let results = out.join("results.jsonl");
        (ran, if results.exists() { scores(&results)[0].tier.clone() } else { String::new() })
    };
    let (ran, one) = run("one", &["--tier", "one"]);
    assert!(ran.code == Some(0) && one.starts_with("one ") && ran.stdout.contains(&one), "{ran:?}");
    let (ran, _) = run("one", &["--tier", "two"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("rows of two tiers are never combined"), "{}", ran.stderr);
    let (_, changed) = run("changed", &["--tier", "one", "--set", "recipe.learning_rate=0.01"]);
    assert!(changed.starts_with("one (modified) "), "{changed}");
    // More seeds, or another path of the same pairs, keep the tier.
    let (_, again) = run("again", &["--tier", "one", "--set", "seeds=[0, 1]"]);
    assert_eq!(again, one);
    let (ran, _) = run("none", &["--tier", "onee"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("did you mean `one`"), "{}", ran.stderr);
}

#[test]
fn an_attack_whose_success_needs_labels_is_refused_where_there_are_none() {
    let home = folder("protocol-labels");
    let pairs = shards(&home, "300", "0");
    let path = suite(&home, "labels", &format!("{{ kind = 'webdataset', path = '{}' }}", pairs.display()), "");
    let attack = ["--set", "attacks={ mm-poison = {} }", "--set", "arenas={ text = ['mm-poison'] }"];
    let out = home.join("out");
    let run = ["run", argument(&path), "--out", argument(&out), "--dry-run"];
    let ran = gauntlet(&[&run[..], &attack].concat());
    assert!(ran.code == Some(2) && ran.stderr.contains("none of them has a label"), "{}", ran.stderr);
}
