//! The errors of damaged, missing and changed files.

use super::*;
use std::collections::BTreeSet;

/// A name of a set, its folder, a file in it, the damage to it, and texts that the error must
/// contain.
type Damage = (&'static str, &'static str, &'static str, fn(&Path), &'static [&'static str]);

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
        // Lists within lists within lists, each twice: 2^64 of them if they were copied.
        |path| {
            fs::write(path, [b"\x80\x02]q\x00".to_vec(), b"]q\x01(h\x00h\x00eq\x00".repeat(64), b".".to_vec()].concat())
                .unwrap()
        },
        &["test", "has no dictionary"],
    ),
    (
        "food101",
        "food-101",
        "images/sushi/1003695.jpg",
        remove,
        &["1 of its 30 images", "sushi/1003695.jpg", "No such file"],
    ),
    (
        "food101",
        "food-101",
        "meta/test.json",
        |path| fs::write(path, r#"{"sushi": {"0": "sushi/1003695"}}"#).unwrap(),
        &["test.json", "class `sushi`", "not a list of names"],
    ),
    ("food101", "food-101", "meta/test.json", halve, &["test.json", "EOF"]),
    (
        "food101",
        "food-101",
        "meta/train.json",
        |path| replace(path, "sushi/", "sushi/../../../"),
        &["leads out of the folder"],
    ),
    (
        "food101",
        "food-101",
        "meta/train.json",
        |path| replace(path, "\"sushi\"", "\"lime\""),
        &["train.json", "class `lime`", "`sushi/1003695` is not in the folder of its class"],
    ),
    ("dtd", "dtd", "dtd/labels/val1.txt", remove, &["val1.txt", "No such file"]),
    ("dtd", "dtd", "dtd/images/grid", remove, &["of its 40 images", "grid/grid_"]),
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
    ("flowers102", "flowers-102", "jpg/image_00080.jpg", remove, &["1 of its 50 images", "image_00080.jpg"]),
    (
        "caltech101",
        "caltech101",
        "101_ObjectCategories/snoopy/image_0002.jpg",
        remove,
        &["snoopy/image_0002.jpg", "No such file"],
    ),
    ("caltech101", "caltech101", "101_ObjectCategories", remove, &["does not contain the set", "101_ObjectCategories"]),
    (
        "pets",
        "oxford-iiit-pet",
        "annotations/test.txt",
        |path| replace(path, "beagle_193 5", "beagle_100 5"),
        &["beagle_100.jpg", "in the train split and in the test split"],
    ),
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
    ("cars", "stanford_cars", "cars_test/00007.jpg", remove, &["1 of its 50 images", "00007.jpg"]),
    ("imagenet", "imagenet", "train/n02007558", remove, &["train", "its class folders are not the classes of"]),
    ("imagenet", "imagenet", "val", remove, &["no folder `val`"]),
    ("imagefolder", "imagefolder", "train", remove, &[]),
    (
        "imagefolder",
        "imagefolder",
        "test/z_9",
        |path| fs::read_dir(path).unwrap().for_each(|file| remove(&file.unwrap().path())),
        &["z_9", "has no image"],
    ),
];

#[test]
fn what_is_missing_or_damaged_is_named() {
    for (name, folder, file, damage, expected) in DAMAGES {
        let home = copy(folder);
        damage(&home.path().join(folder).join(file));
        let mut options = partial();
        if *name == "imagefolder" {
            options.class_file = fixtures().join("classes/imagefolder.json"); // without it, its folders `A` and `a` share a name
        }
        match open(name, &home.path().join(folder), &options) {
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
fn lists_with_any_byte_changed_or_cut_anywhere_are_read_or_refused_and_nothing_panics() {
    let files = [
        "cifar-10-batches-py/batches.meta",
        "cifar-100-python/meta",
        "flowers-102/imagelabels.mat",
        "flowers-102/setid.mat",
    ];
    for name in files {
        let bytes = fs::read(fixtures().join(name)).unwrap();
        for at in 0..bytes.len() {
            let changed = [0x00, 0x7F, 0xFF].map(|value| [&bytes[..at], &[value], &bytes[at + 1..]].concat());
            for bytes in changed.iter().map(Vec::as_slice).chain([&bytes[..at]]) {
                if name.ends_with(".mat") {
                    let _ = mat::variables(bytes);
                } else {
                    let _ = pickle::Pickle::read(bytes).and_then(|pickle| pickle.strings("label_names"));
                }
            }
        }
    }
}

#[test]
fn a_image_that_is_damaged_or_changed_shows() {
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

/// Two parts whose files have the same names, sizes and times: the features of one must not be used
/// for the other.
#[test]
fn images_of_another_folder_are_others_though_their_files_look_alike() {
    let home = tempfile::tempdir().unwrap();
    let part = |name: &str| {
        let path = home.path().join(name).join("0.png");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, b"as long").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        Items::files(path.parent().unwrap(), vec![Listed { path: "0.png".into(), label: 0, place: String::new() }])
            .unwrap()
    };
    assert_ne!(part("train").fingerprint(), part("test").fingerprint());
}

/// Stored data of pairs made from a set is invalid once its classes have other names.
#[test]
fn pairs_of_a_set_whose_class_file_was_edited_are_others() {
    use crate::labelled::Labelled;
    let fingerprint = |class_file: PathBuf| {
        let options = Options { class_file, ..partial() };
        let pairs = Labelled { set: "pets".into(), path: fixtures(), options, classes: Vec::new() };
        crate::Source::fingerprint(&pairs.open().unwrap())
    };
    let folder = tempfile::tempdir().unwrap();
    let class_file = folder.path().join("pets.json");
    fs::copy(fixtures().join("classes/pets.json"), &class_file).unwrap();
    let before = fingerprint(class_file.clone());
    assert_eq!(before, fingerprint(class_file.clone()));
    replace(&class_file, "tegg", "tagg");
    assert_ne!(before, fingerprint(class_file));
}
