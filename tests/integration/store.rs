//! `gauntlet store`: its list of a run's store, and the entries that it removes.

use crate::program::{Ran, argument, folder, gauntlet, world_suite};
use gauntlet::data::files::Held;
use gauntlet::data::store::Using;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn store(out: &Path, more: &[&str]) -> Ran {
    gauntlet(&[&["store", argument(out)], more].concat())
}

fn names(out: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(out.join("store")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_store_is_listed_and_what_nobody_can_use_is_removed() {
    let home = folder("store");
    let (suite, out) = (world_suite(&home, 1, "[0]", "clip = {}"), home.join("run"));
    let ran = gauntlet(&["run", argument(&suite), "--out", argument(&out)]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let made = names(&out);
    let listed = store(&out, &[]).stdout;
    for part in ["index-", "canvas-", "poison-", "undefended-", "the world of ", "seed 0", " used ", "removes 0 B"] {
        assert!(listed.contains(part), "{part:?} is not in: {listed}");
    }
    assert!(!listed.contains("another build"), "{listed}");

    let inner = |name: &str| out.join("store").join(name);
    for litter in ["part-killed", "index-0123456789abcdef", "canvas-fedcba9876543210", "notes"] {
        fs::create_dir(inner(litter)).unwrap();
        fs::write(inner(litter).join("file"), [0; 5000]).unwrap();
    }
    let all = names(&out);
    let held = Held::new(&inner("canvas-fedcba9876543210")).unwrap();
    let looked = store(&out, &["--prune", "--dry-run"]).stdout;
    assert!(looked.contains("would be removed: 2 of") && looked.contains("in use"), "{looked}");
    assert_eq!(names(&out), all);

    let using = Using::new(&out.join("store")).unwrap();
    let refused = store(&out, &["--prune"]);
    assert!(refused.code == Some(2) && refused.stderr.contains(" uses it; "), "{refused:?}");
    assert_eq!(names(&out), all);
    drop(using);

    let pruned = store(&out, &["--prune"]).stdout;
    assert!(pruned.contains("removed: 2 of") && pruned.contains("10.0 kB"), "{pruned}");
    let kept: BTreeSet<String> = ["canvas-fedcba9876543210", "notes"].map(String::from).into();
    assert_eq!(names(&out), &made | &kept, "what is held, and what is no entry, stays");
    drop(held);
    assert_eq!(store(&out, &["--prune", "--unused-days", "0"]).code, Some(0));
    let left = names(&out);
    assert!(left.iter().all(|name| ["agreed", "keys", "leases", "notes"].contains(&name.as_str())), "{left:?}");
    assert_eq!(store(&out, &["--unused-days", "0"]).code, Some(2), "without --prune it means nothing");
}
