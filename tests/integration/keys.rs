//! Stored files are found by the inputs that they were made from, and results state the build that
//! made them.

// The build script's own: whether it was run for the sources as they are now is what these tests
// ask.
#[allow(dead_code, reason = "a script has a `main`")]
#[path = "../../build.rs"]
mod script;

use crate::program::{argument, folder, gauntlet, trial, world_suite};
use gauntlet::attack::PrepareContext;
use gauntlet::poison::{Poison, PreparedAttack};
use gauntlet::progress::Silent;
use gauntlet::registry::Configured;
use gauntlet::results::{self, Line};
use gauntlet::tch::Device;
use gauntlet::{Attack, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn results_name_the_sources_and_the_commit_that_are_there_now() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output: Value = serde_json::from_str(&gauntlet(&["doctor", "--json"]).stdout).unwrap();
    assert_eq!(output["sources"], script::hash(root), "the build script was not run again");
    let git = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root).output();
    if root.join(".git").exists() {
        assert_eq!(output["commit"], String::from_utf8(git.unwrap().stdout).unwrap().trim());
    }
    let home = folder("keys");
    let (suite, out) = (world_suite(&home, 1, "[0]", "clip = {}"), home.join("out"));
    let ran = gauntlet(&["run", argument(&suite), "--out", argument(&out), "--only", "clean"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let costs = results::read_lines(&out.join("results.jsonl")).unwrap();
    let costs: Vec<_> =
        costs.iter().filter_map(|line| if let Line::Cost(cost) = line { Some(cost) } else { None }).collect();
    assert_eq!(costs.len(), 1);
    assert_eq!(
        (output["sources"].as_str(), output["commit"].as_str()),
        (Some(&*costs[0].sources), Some(&*costs[0].commit))
    );
    assert_eq!(output["dirty"], costs[0].dirty);
}

/// Part of one hash: a changed byte, a new file, a file with another name. Not part of it: editors'
/// files, times.
#[test]
fn the_hash_of_sources_is_one_of_names_and_contents() {
    use script::sources::hash;
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let now = || hash(home.path(), &["Cargo.toml", "src"]);
    write("Cargo.toml", "a");
    write("src/lib.rs", "mod b;");
    write("src/b/c.rs", "");
    let first = now();
    assert_eq!(first, hash(home.path(), &["src", "Cargo.toml"]), "whatever the order");
    write("src/.lib.rs.swp", "an editor's");
    write("src/lib.rs", "mod b;");
    write("other", "not of it");
    assert_eq!(now(), first);
    write("src/lib.rs", "mod c;");
    assert_ne!(now(), first);
    write("src/lib.rs", "mod b;");
    assert_eq!(now(), first);
    write("src/empty.rs", "");
    assert_ne!(now(), first);
    fs::remove_file(home.path().join("src/empty.rs")).unwrap();
    fs::rename(home.path().join("src/b/c.rs"), home.path().join("src/b/d.rs")).unwrap();
    assert_ne!(now(), first);
}

/// Regression: two splits of one size shared their poison, which was keyed by the number of
/// held-out rows.
#[test]
fn two_splits_of_one_size_do_not_share_their_poison() {
    gauntlet_attacks::link();
    let home = tempfile::tempdir().unwrap();
    let arena = trial(&world_suite(home.path(), 1, "[0]", "clip = {}"), &[], "poisoned/clip/seed-0").arena;
    let context = PrepareContext { store: home.path(), device: Device::Cpu, progress: &Silent };
    let data = arena.prepare(&context).unwrap().data;
    let [one, other] = [0, 1].map(|seed| data.split(arena.heldout, seed).unwrap());
    assert!(one.heldout.len() == other.heldout.len() && one.heldout != other.heldout);
    let attacks = || arena.attacks.iter().map(Configured::build::<dyn Attack>).collect::<Result<Vec<_>>>().unwrap();
    let poison = |store: &Path, split| {
        fs::create_dir_all(store).unwrap();
        let prepared_attacks = PreparedAttack::all(&arena.attacks, attacks(), &data, split, 0, &context).unwrap();
        Poison::open(&PrepareContext { store, ..context }, &data, split, 0, &arena.poisons(), &prepared_attacks)
            .unwrap()
            .digest
    };
    let shared = home.path().join("shared");
    let (first, second) = (poison(&shared, &one), poison(&shared, &other));
    assert_eq!(second, poison(&home.path().join("alone"), &other), "it is not that of the other split");
    assert_ne!(first, second);
}
