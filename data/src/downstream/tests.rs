//! Every reader, on small copies of the sets (`tests/fixtures/downstream`), compared with
//! torchvision (`tests/golden/downstream.py`). `tests/forms.rs` has other forms of the same sets,
//! `tests/damage.rs` the errors of damaged files.

#![allow(clippy::unwrap_used)]

mod agree;
mod campaign;
mod damage;
mod forms;
mod writers;

use super::*;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;

/// torchvision's result for a part of a set.
#[derive(Deserialize)]
struct Part {
    set: String,
    part: String,
    classes: Vec<String>,
    items: Vec<Item>,
}

/// Path, label, mean red, green and blue.
type Item = (String, u32, f64, f64, f64);

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/downstream")
}

fn partial() -> Options {
    Options { allow_partial: true, ..Options::default() }
}

/// Opens a set's folder in the fixtures, with the options of its golden file.
fn open_fixture(golden: &str) -> Set {
    let (name, variant) = golden.split_once(' ').unwrap_or((golden, ""));
    let mut options = partial();
    match (name, variant) {
        ("dtd", partition) => options.partition = partition.parse().unwrap(),
        ("aircraft", "family") => options.level = Level::Family,
        ("aircraft", "manufacturer") => options.level = Level::Manufacturer,
        // It has the folders `A` and `a`, whose prompt names are equal unless a class file differs.
        ("imagefolder", _) => options.class_file = fixtures().join("classes/imagefolder.json"),
        _ => {}
    }
    let folder = if ["imagenet", "imagefolder"].contains(&name) { fixtures().join(name) } else { fixtures() };
    open(name, &folder, &options).unwrap()
}

fn names_and_labels(items: &Items) -> Vec<(String, u32)> {
    (0..items.len()).map(|item| (items.name(item), items.label(item))).collect()
}

fn mean_colour(canvas: &[u8]) -> [f64; 3] {
    let mean = |plane: &[u8]| plane.iter().map(|&value| f64::from(value)).sum::<f64>() / plane.len() as f64;
    [0, 1, 2].map(|channel| mean(&canvas[channel * canvas.len() / 3..][..canvas.len() / 3]))
}

/// Compares items one by one: path, label, and the mean colour of the image within two levels.
fn assert_torchvisions(what: &str, ours: &[(&Items, usize)], theirs: &[Item]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for ((items, item), (path, label, red, green, blue)) in ours.iter().zip(theirs) {
        let name = items.name(*item);
        assert!(
            (name == *path || path.is_empty()) && items.label(*item) == *label,
            "{what}: {name} is not {path}, class {label}"
        );
        let colour = mean_colour(&items.canvas(*item, 32).unwrap());
        let near = colour.iter().zip([red, green, blue]).all(|(ours, theirs)| (ours - theirs).abs() < 2.0);
        assert!(near, "{what}: {name} has the mean colour {colour:?}, not {:?}", [red, green, blue]);
    }
}

#[test]
fn order_label_and_image_of_every_item_are_torchvisions() {
    let golden = fs::read_to_string(fixtures().join("../../golden/downstream.json")).unwrap();
    let golden: Vec<Part> = serde_json::from_str(&golden).unwrap();
    let mut sets: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
    golden.iter().for_each(|part| sets.entry(&part.set).or_default().push(part));
    assert_eq!(sets.len(), 9 + 10 + 3);
    for (name, parts) in sets {
        let set = open_fixture(name);
        let fit: Vec<_> = (0..set.fit.len()).map(|item| (&set.fit, item)).collect();
        let test: Vec<_> = (0..set.test.len()).map(|item| (&set.test, item)).collect();
        let items = |parts: &[&str]| -> Vec<Item> {
            golden
                .iter()
                .filter(|part| part.set == name && parts.contains(&&*part.part))
                .flat_map(|part| part.items.clone())
                .collect()
        };
        if set.name == "caltech101" {
            // torchvision has no parts for it: together ours are its list, and they share nothing.
            let mut all = [fit, test].concat();
            all.sort_by_key(|(items, item)| (items.label(*item), items.name(*item)));
            assert_torchvisions(name, &all, &items(&["all"]));
        } else {
            assert_torchvisions(name, &fit, &items(&["fit", "train", "val"]));
            assert_torchvisions(name, &test, &items(&["test"]));
        }
        let theirs = &parts[0].classes;
        match set.name {
            // Flowers have no names in their files, so torchvision has its own list; three of its
            // names differ.
            "flowers102" => {
                let (ours, _) = names::names(set.name, &names::labels(set.name), true, &PathBuf::new()).unwrap();
                let differ: Vec<_> =
                    theirs.iter().zip(&ours).filter(|(a, b)| a != b).map(|(a, b)| format!("{a}: {b}")).collect();
                let known = [
                    "globe-flower: globe flower",
                    "pink-yellow dahlia?: pink and yellow dahlia",
                    "ball moss: air plant",
                ];
                assert_eq!((theirs.len(), differ), (102, known.map(String::from).to_vec()));
            }
            "pets" => {
                let same = |(label, title): (&String, &String)| label.replace('_', " ").eq_ignore_ascii_case(title);
                assert!(set.labels.iter().zip(theirs).all(same), "{theirs:?}");
            }
            _ => assert!(parts.iter().all(|part| part.classes == set.labels), "{name}: {:?}", set.labels),
        }
        println!("{name}: {} + {} items, {} classes", set.fit.len(), set.test.len(), set.labels.len());
    }
}

#[test]
fn clips_names_are_found_by_label_in_torchvisions_order() {
    let pets = open_fixture("pets");
    assert_eq!(
        pets.classes[..3],
        ["Abyssinian", "american bulldog", "american pit bull terrier"],
        "CLIP lists cats first"
    );
    assert_eq!(open_fixture("flowers102").classes[9], "globe thistle");
    assert_eq!(open_fixture("caltech101").classes[..2], ["off-center face", "centered face"]);
    assert_eq!(open_fixture("cars").classes[7], "Ram C/V Cargo Van Minivan 2012");
    assert_eq!(open_fixture("imagenet").classes[..2], ["tench", "goldfish"]);
    assert_eq!(open_fixture("aircraft manufacturer").classes[0], "Boeing");
    assert_eq!(open_fixture("aircraft manufacturer").templates.len(), 2);
    for about in all().iter().filter(|about| about.name != "imagefolder") {
        let with_background = usize::from(about.name == "caltech101");
        let labels = names::labels(about.name);
        assert_eq!(labels.len(), about.size.classes + with_background, "{}", about.name);
        let (classes, templates) = names::names(about.name, &labels, true, &PathBuf::new()).unwrap();
        assert!(
            classes.iter().all(|name| !name.is_empty()) && templates.iter().all(|template| template.contains("{}"))
        );
    }
}

#[test]
fn a_class_file_renames_classes_by_their_labels() {
    let class_file = fixtures().join("classes/pets.json");
    let set = open("pets", &fixtures(), &Options { class_file, ..partial() }).unwrap();
    assert_eq!((set.classes[0].as_str(), set.classes[1].as_str(), set.templates.len()), ("tegg", "blorn", 7));
    let class_file = fixtures().join("classes/cars.json");
    let message = open("pets", &fixtures(), &Options { class_file, ..partial() }).unwrap_err().chain();
    assert!(message.contains("cars.json") && message.contains("class `Abyssinian`"), "{message}");
}

#[test]
fn a_set_that_is_not_whole_is_refused_with_both_numbers_unless_that_is_asked_for() {
    let message = |name: &str| open(name, &fixtures(), &Options::default()).unwrap_err().chain();
    let expected = [
        ("cifar10", "20 of 50000 images of the train split, 30 of 10000 images of the test split"),
        ("pets", "10 of 37 classes, 30 of 3680 images of the train split"),
        ("dtd", "10 of 47 classes"),
        ("flowers102", "50 of 6149 images of the test split"),
    ];
    for (name, numbers) in expected {
        let message = message(name);
        assert!(message.contains(numbers) && message.contains("allow_partial"), "{message}");
    }
}

#[test]
fn caltech_fits_on_a_seeded_choice_and_leaves_the_background_out() {
    let open = |seed, background| open("caltech101", &fixtures(), &Options { seed, background, ..partial() }).unwrap();
    let [first, again, other, all] = [open(0, false), open(0, false), open(1, false), open(0, true)];
    assert_eq!(names_and_labels(&first.fit), names_and_labels(&again.fit));
    assert_ne!(names_and_labels(&first.fit), names_and_labels(&other.fit));
    assert_eq!((first.labels.len(), all.labels.len(), all.labels[0].as_str()), (10, 11, "BACKGROUND_Google"));
    assert!(first.notes.iter().any(|note| note.contains("without the class of background")), "{:?}", first.notes);
    let class = |items: &Items, label| items.labels().iter().filter(|found| **found == label).count();
    assert_eq!((class(&first.fit, 3), class(&first.test, 3)), (4, 4), "a class of 8 is halved");
}

/// A copy of a folder of the fixtures that may be changed.
fn copy(folder: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_into(&fixtures().join(folder), &to.path().join(folder));
    to
}

fn copy_into(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_into(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn remove(path: &Path) {
    if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

fn halve(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn garble(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40].fill(0xEE);
    fs::write(path, bytes).unwrap();
}

fn replace(path: &Path, from: &str, to: &str) {
    fs::write(path, fs::read_to_string(path).unwrap().replacen(from, to, 1)).unwrap();
}

#[test]
fn the_page_of_data_sets_tells_of_every_folder_and_file() {
    let page = fs::read_to_string(fixtures().join("../../../docs/datasets.md")).unwrap();
    for about in all() {
        assert!(page.contains(&format!("## {}\n", about.name)) && page.contains(about.layout), "{}", about.name);
        assert!(
            about.archives.iter().all(|archive| page.contains(archive.url) && page.contains(archive.md5)),
            "{}",
            about.name
        );
        assert!(about.archives.is_empty() != about.by_hand.is_empty(), "{}: it is fetched or got by hand", about.name);
    }
}
