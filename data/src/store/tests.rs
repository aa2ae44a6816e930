use super::*;
use crate::files::{Held, Part};
use std::fs;
use std::time::Duration;

fn key(value: &str) -> Key {
    Key::new("index", 1, "this build").with("path", value).of("pairs of a test")
}

#[test]
fn a_key_is_a_hash_of_all_its_parts_and_of_none_of_its_words() {
    assert_eq!(key("a").hex(), key("a").of("other words").hex());
    let others = [
        key("b"),
        Key::new("canvas", 1, "this build").with("path", "a"),
        Key::new("index", 2, "this build").with("path", "a"),
        Key::new("index", 1, "that build").with("path", "a"),
        Key::new("index", 1, "this build").with("pat", "ha"),
        key("a").with("more", ""),
    ];
    let hexes: std::collections::BTreeSet<String> = others.iter().chain([&key("a")]).map(Key::hex).collect();
    assert_eq!(hexes.len(), others.len() + 1);
}

#[test]
fn a_store_says_what_lies_in_it_and_gives_up_nothing_that_is_held() {
    let home = tempfile::tempdir().unwrap();
    let store = home.path();
    let (folder, file) = (key("a").folder(store), Key::new("features", 1, "that build").file(store, "safetensors"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("rows.bin"), [0; 100]).unwrap();
    fs::write(&file, [0; 10]).unwrap();
    key("a").note_use(&folder).unwrap();
    Key::new("features", 1, "that build").of("images").note_use(&file).unwrap();
    fs::write(store.join("README.txt"), "not ours").unwrap();
    fs::create_dir_all(store.join("undefended").join("0".repeat(32))).unwrap();
    fs::create_dir(store.join("part-killed")).unwrap();
    let part = Part::new(&store.join("canvas")).unwrap();

    let listed = || list(store, |made_by| made_by == "this build").unwrap();
    let found = listed();
    let seen: Vec<(&str, State, &str)> = found.iter().map(|entry| (&*entry.kind, entry.state, &*entry.of)).collect();
    let expected = [
        ("features", State::Foreign, "images"),
        ("index", State::Usable, "pairs of a test"),
        ("part", State::Part, ""),
        ("part", State::Part, ""),
        ("undefended", State::Foreign, ""),
    ];
    assert_eq!(seen, expected);
    assert!(found[1].bytes > 100 && found[1].unused_for() < Duration::from_secs(3600));

    let held = Held::new(&folder).unwrap();
    let removed: Vec<bool> = found.iter().map(|entry| entry.remove().unwrap()).collect();
    let begun = found.iter().position(|entry| entry.path == part.folder()).unwrap();
    for (number, removed) in removed.into_iter().enumerate() {
        assert_eq!(removed, number != 1 && number != begun, "{:?}", found[number]);
    }
    assert_eq!(listed().len(), 2, "the entry being read and the one being written");
    drop((held, part));
    assert!(found[1].remove().unwrap() && store.join("README.txt").exists());
    assert_eq!(listed(), []);
}

#[test]
fn a_use_is_noted_without_a_change_of_what_is_noted() {
    let home = tempfile::tempdir().unwrap();
    let folder = key("a").folder(home.path());
    fs::create_dir(&folder).unwrap();
    key("a").note_use(&folder).unwrap();
    let note = folder.join(NOTE);
    let (text, long_ago) = (fs::read(&note).unwrap(), SystemTime::now() - Duration::from_secs(864_000));
    File::options().write(true).open(&note).unwrap().set_modified(long_ago).unwrap();
    let age = || list(home.path(), |_| true).unwrap()[0].unused_for().as_secs() / 86_400;
    assert_eq!(age(), 10);
    key("a").note_use(&folder).unwrap();
    assert_eq!((age(), fs::read(&note).unwrap()), (0, text));
}

#[test]
fn what_killed_processes_left_is_swept_unless_a_process_uses_the_store() {
    let home = tempfile::tempdir().unwrap();
    let store = home.path();
    fs::create_dir(key("a").folder(store)).unwrap();
    for litter in [".part-killed", "part-of-an-earlier-version"] {
        fs::create_dir(store.join(litter)).unwrap();
        fs::write(store.join(litter).join("pixels.u8"), [0; 70]).unwrap();
    }
    fs::write(store.join(".tmpAbCdEf"), [0; 30]).unwrap();
    let using = Using::new(store).unwrap();
    assert!(sweep(store).unwrap().is_empty(), "a build may go on in it");
    drop(using);
    // A process of this machine that builds without a lease holds its folder.
    let part = Part::new(&store.join("index-0123456789abcdef")).unwrap();
    assert_eq!(sweep(store).unwrap().iter().map(|entry| entry.bytes).sum::<u64>(), 170);
    assert!(part.folder().is_dir() && key("a").folder(store).is_dir());
}
