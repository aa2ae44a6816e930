//! Every reader, on small copies of the sets (`tests/fixtures/downstream`), against what torchvision reads there
//! (`tests/golden/downstream.py`); other forms of the same sets; and what damaged files are answered with.

#![allow(clippy::unwrap_used)]

use super::*;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// What torchvision reads of a part of a set.
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

/// The set's own folder among the fixtures, and the options that a golden set was made with.
fn open_fixture(golden: &str) -> Set {
    let (name, variant) = golden.split_once(' ').unwrap_or((golden, ""));
    let mut options = partial();
    match (name, variant) {
        ("dtd", partition) => options.partition = partition.parse().unwrap(),
        ("aircraft", "family") => options.level = Level::Family,
        ("aircraft", "manufacturer") => options.level = Level::Manufacturer,
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

/// Compares items one by one: path, label, and the mean colour of the picture within two levels.
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
fn order_label_and_picture_of_every_item_are_torchvisions() {
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
            // torchvision knows no parts: together ours are its list, and they share nothing.
            let mut all = [fit, test].concat();
            all.sort_by_key(|(items, item)| (items.label(*item), items.name(*item)));
            assert_torchvisions(name, &all, &items(&["all"]));
        } else {
            assert_torchvisions(name, &fit, &items(&["fit", "train", "val"]));
            assert_torchvisions(name, &test, &items(&["test"]));
        }
        if !["pets", "flowers102"].contains(&set.name) {
            assert!(parts.iter().all(|part| part.classes == set.labels), "{name}: {:?}", set.labels);
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
        ("cifar10", "20 pictures to fit on, not 50000 and 30 pictures to measure on, not 10000"),
        ("pets", "10 classes, not 37 and 30 pictures to fit on, not 3680"),
        ("dtd", "10 classes, not 47"),
        ("flowers102", "50 pictures to measure on, not 6149"),
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

#[test]
fn the_binary_version_of_cifar_has_the_same_items() {
    for (name, labels_before) in [("cifar10", vec![]), ("cifar100", vec![7])] {
        let set = open_fixture(name);
        let folder = tempfile::tempdir().unwrap();
        let rows = |items: &Items| {
            let row =
                |item| [labels_before.clone(), vec![items.label(item) as u8], items.canvas(item, 32).unwrap()].concat();
            (0..items.len()).flat_map(row).collect::<Vec<u8>>()
        };
        let (fit, test, names) = match name {
            "cifar10" => (
                ["1", "2", "3", "4", "5"].map(|batch| format!("data_batch_{batch}.bin")).to_vec(),
                "test_batch.bin",
                "batches.meta.txt",
            ),
            _ => (vec!["train.bin".to_string()], "test.bin", "fine_label_names.txt"),
        };
        let all = rows(&set.fit);
        for (batch, rows) in fit.iter().zip(all.chunks(all.len() / fit.len())) {
            fs::write(folder.path().join(batch), rows).unwrap();
        }
        fs::write(folder.path().join(test), rows(&set.test)).unwrap();
        fs::write(folder.path().join(names), set.labels.join("\n") + "\n\n").unwrap();
        let binary = open(name, folder.path(), &partial()).unwrap();
        assert_eq!(
            (binary.labels, binary.fit.labels(), binary.test.labels()),
            (set.labels, set.fit.labels(), set.test.labels())
        );
        for item in 0..binary.fit.len() {
            assert_eq!(binary.fit.canvas(item, 32), set.fit.canvas(item, 32), "CIFAR's own pixels, at their own size");
        }
        assert_eq!(binary.test.name(2), format!("{test}, row 2"));
    }
}

#[test]
fn imagenets_flat_validation_part_is_read_by_kit_and_by_table_in_the_order_of_class_folders() {
    let folders = open_fixture("imagenet");
    let home = copy("imagenet");
    let val = home.path().join("imagenet/val");
    for class in fs::read_dir(&val).unwrap().map(|class| class.unwrap().path()) {
        for picture in fs::read_dir(&class).unwrap().map(|picture| picture.unwrap().path()) {
            fs::rename(&picture, val.join(picture.file_name().unwrap())).unwrap();
        }
        fs::remove_dir(class).unwrap();
    }
    let file_name = |(path, label): (String, u32)| (path.rsplit('/').next().unwrap().to_string(), label);
    let expected: Vec<_> = names_and_labels(&folders.test).into_iter().map(file_name).collect();
    let kit = open("imagenet", home.path(), &partial()).unwrap();
    assert_eq!((&kit.labels, names_and_labels(&kit.test)), (&folders.labels, expected.clone()));

    fs::remove_dir_all(home.path().join("imagenet/ILSVRC2012_devkit_t12")).unwrap();
    let message = open("imagenet", home.path(), &partial()).unwrap_err().chain();
    assert!(message.contains("neither labels.csv in it nor") && message.contains("devkit"), "{message}");
    fs::rename(&val, home.path().join("imagenet/validation")).unwrap();
    let published = names::labels("imagenet");
    let number = |label: u32| published.iter().position(|wnid| *wnid == folders.labels[label as usize]).unwrap();
    let lines = expected.iter().rev().map(|(path, label)| format!("{path},{}\n", number(*label)));
    fs::write(
        home.path().join("imagenet/validation/labels.csv"),
        format!("image,label\n{}", lines.collect::<String>()),
    )
    .unwrap();
    let table = open("imagenet", &home.path().join("imagenet"), &partial()).unwrap();
    assert_eq!((&table.labels, names_and_labels(&table.test)), (&folders.labels, expected));
}

#[test]
fn the_flat_form_of_cars_has_the_same_items() {
    let set = open_fixture("cars");
    let home = copy("stanford_cars");
    let folder = home.path().join("stanford_cars");
    let box_and_class = |(name, label): (String, u32)| format!("{name},1,2,30,31,{}\n", label + 1);
    for (part, items) in [("train", &set.fit), ("test", &set.test)] {
        let lines: String = names_and_labels(items).into_iter().map(box_and_class).collect();
        fs::write(folder.join(format!("anno_{part}.csv")), lines).unwrap();
        // Pictures by class, as in the copy that goes round.
        for (name, label) in names_and_labels(items) {
            let class =
                folder.join(format!("car_data/car_data/{part}")).join(set.labels[label as usize].replace('/', "-"));
            fs::create_dir_all(&class).unwrap();
            fs::rename(folder.join(format!("cars_{part}/{name}")), class.join(name)).unwrap();
        }
        fs::remove_dir(folder.join(format!("cars_{part}"))).unwrap();
    }
    fs::remove_dir_all(folder.join("devkit")).unwrap();
    fs::write(folder.join("names.csv"), set.labels.join("\n")).unwrap();
    let flat = open("cars", &folder, &partial()).unwrap();
    assert_eq!((flat.labels, flat.fit.labels(), flat.test.labels()), (set.labels, set.fit.labels(), set.test.labels()));
    assert_eq!(flat.test.canvas(9, 16), set.test.canvas(9, 16));
}

/// A name of a set, its folder, a file in it, what is done to that, and what the answer must hold.
type Damage = (&'static str, &'static str, &'static str, fn(&Path), &'static [&'static str]);

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

const DAMAGES: &[Damage] = &[
    ("cifar10", "cifar-10-batches-py", "data_batch_3", remove, &["data_batch_3", "No such file"]),
    ("cifar10", "cifar-10-batches-py", "test_batch", halve, &["test_batch", "too early"]),
    ("cifar10", "cifar-10-batches-py", "batches.meta", remove, &["neither cifar-10-batches-py/batches.meta nor"]),
    (
        "cifar10",
        "cifar-10-batches-py",
        "data_batch_1",
        |path| fs::write(path, b"\x80\x02cos\nsystem\n(U\x04trueq\x01tR.").unwrap(),
        &["data_batch_1", "names `os.system`, which is not part of an array"],
    ),
    (
        "cifar100",
        "cifar-100-python",
        "train",
        |path| fs::write(path, b"(dp0\nS'data'\np1\n.").unwrap(),
        &["train", "opcode 0x64"],
    ),
    (
        "cifar100",
        "cifar-100-python",
        "test",
        // Lists within lists within lists, each twice: 2^64 of them to whoever copies.
        |path| {
            fs::write(path, [b"\x80\x02]q\x00".to_vec(), b"]q\x01(h\x00h\x00eq\x00".repeat(64), b".".to_vec()].concat())
                .unwrap()
        },
        &["test", "holds no dictionary"],
    ),
    (
        "food101",
        "food-101",
        "images/sushi/1003695.jpg",
        remove,
        &["1 of its 30 pictures", "sushi/1003695.jpg", "No such file"],
    ),
    ("food101", "food-101", "meta/test.json", halve, &["test.json", "EOF"]),
    (
        "food101",
        "food-101",
        "meta/train.json",
        |path| replace(path, "sushi/", "../../../sushi/"),
        &["leads out of the folder"],
    ),
    (
        "food101",
        "food-101",
        "meta/train.json",
        |path| replace(path, "\"sushi\"", "\"lime\""),
        &["class `lime`", "no name for it"],
    ),
    ("dtd", "dtd", "dtd/labels/val1.txt", remove, &["val1.txt", "No such file"]),
    ("dtd", "dtd", "dtd/images/grid", remove, &["of its 40 pictures", "grid/grid_"]),
    (
        "aircraft",
        "fgvc-aircraft-2013b",
        "data/images_variant_test.txt",
        |path| replace(path, "F-16A/B", "F-16"),
        &["variants.txt has no `F-16`"],
    ),
    ("aircraft", "fgvc-aircraft-2013b", "data/variants.txt", remove, &["variants.txt", "No such file"]),
    ("flowers102", "flowers-102", "setid.mat", garble, &["setid.mat", "compression is damaged"]),
    ("flowers102", "flowers-102", "imagelabels.mat", halve, &["imagelabels.mat", "cut short"]),
    (
        "flowers102",
        "flowers-102",
        "imagelabels.mat",
        |path| fs::write(path, [b"MATLAB 7.3 MAT-file".to_vec(), vec![0; 600]].concat()).unwrap(),
        &["HDF5"],
    ),
    ("flowers102", "flowers-102", "jpg/image_00080.jpg", remove, &["1 of its 50 pictures", "image_00080.jpg"]),
    (
        "caltech101",
        "caltech101",
        "101_ObjectCategories/snoopy/image_0002.jpg",
        remove,
        &["snoopy/image_0002.jpg", "No such file"],
    ),
    ("caltech101", "caltech101", "101_ObjectCategories", remove, &["does not hold the set", "101_ObjectCategories"]),
    (
        "pets",
        "oxford-iiit-pet",
        "annotations/test.txt",
        |path| replace(path, "beagle_193 5", "beagle_193 4"),
        &["class 4 is also called"],
    ),
    (
        "pets",
        "oxford-iiit-pet",
        "annotations/trainval.txt",
        |path| replace(path, "boxer_100 9", "boxer_100 nine"),
        &["trainval.txt", "`boxer_100 nine"],
    ),
    (
        "cars",
        "stanford_cars",
        "devkit/cars_train_annos.mat",
        garble,
        &["cars_train_annos.mat", "compression is damaged"],
    ),
    (
        "cars",
        "stanford_cars",
        "cars_test_annos_withlabels.mat",
        halve,
        &["cars_test_annos_withlabels.mat", "cut short"],
    ),
    ("cars", "stanford_cars", "devkit/cars_meta.mat", remove, &["cars_meta.mat", "names.csv"]),
    ("cars", "stanford_cars", "cars_test/00007.jpg", remove, &["1 of its 50 pictures", "00007.jpg"]),
    ("imagenet", "imagenet", "train/n02007558", remove, &["train", "its class folders are not the classes of"]),
    ("imagenet", "imagenet", "val", remove, &["no folder `val`"]),
    ("imagefolder", "imagefolder", "train", remove, &[]),
    (
        "imagefolder",
        "imagefolder",
        "test/z_9",
        |path| fs::read_dir(path).unwrap().for_each(|file| remove(&file.unwrap().path())),
        &["z_9", "holds no picture"],
    ),
];

#[test]
fn what_is_missing_or_damaged_is_named() {
    for (name, folder, file, damage, expected) in DAMAGES {
        let home = copy(folder);
        damage(&home.path().join(folder).join(file));
        match open(name, &home.path().join(folder), &partial()) {
            Ok(set) => assert!(expected.is_empty() && set.fit.is_empty(), "{name}: {file} was not missed"),
            Err(error) => {
                let message = error.chain();
                println!("{name}, {file}: {}", message.replace(&home.path().display().to_string(), "DIR"));
                assert!(
                    !expected.is_empty() && expected.iter().all(|part| message.contains(part)),
                    "{name}: {message}"
                );
            }
        }
    }
}

#[test]
fn a_picture_that_is_damaged_or_changed_shows() {
    let home = copy("oxford-iiit-pet");
    let open = || open("pets", home.path(), &partial()).unwrap();
    let before = open();
    halve(&home.path().join("oxford-iiit-pet/images/boxer_255.jpg"));
    let after = open();
    let bad: BTreeSet<String> = (0..after.test.len())
        .filter(|&item| after.test.canvas(item, 8).is_err())
        .map(|item| after.test.name(item))
        .collect();
    assert_eq!(bad.into_iter().collect::<Vec<_>>(), ["boxer_255.jpg"]);
    assert_eq!(before.fit.fingerprint(), after.fit.fingerprint());
    assert_ne!(before.test.fingerprint(), after.test.fingerprint());
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
