//! Every kind of damage on every file of every set. Each must be refused with an error that names
//! the file, or leave a set that equals the undamaged one, or one that differs and has a note about
//! it. `cargo test -p gauntlet-data --lib campaign -- --nocapture` prints the table.

use super::writers::*;
use super::*;
use std::os::unix::fs::symlink;
use std::sync::mpsc;
use std::time::Duration;

/// A file of a set and, if it is a list, how its rows are read and written.
type File = (&'static str, Option<Form>);

/// A set: its name, its folder among the fixtures, and its files: lists, and an image.
const SETS: &[(&str, &str, &[File])] = &[
    (
        "cifar10",
        "cifar-10-batches-py",
        &[("data_batch_2", Some(BATCH)), ("test_batch", Some(BATCH)), ("batches.meta", Some(NAMES))],
    ),
    ("cifar100", "cifar-100-python", &[("train", Some(PART)), ("test", Some(PART)), ("meta", Some(FINE_NAMES))]),
    (
        "food101",
        "food-101",
        &[("meta/train.json", Some(FOOD)), ("meta/test.json", Some(FOOD)), ("images/pho/1002718.jpg", None)],
    ),
    (
        "dtd",
        "dtd",
        &[
            ("dtd/labels/train1.txt", Some(PATHS)),
            ("dtd/labels/test1.txt", Some(PATHS)),
            ("dtd/images/grid/grid_0003.jpg", None),
        ],
    ),
    (
        "aircraft",
        "fgvc-aircraft-2013b",
        &[
            ("data/images_variant_trainval.txt", Some(SPACED)),
            ("data/images_variant_test.txt", Some(SPACED)),
            ("data/variants.txt", Some(LABELS)),
            ("data/images/0034309.jpg", None),
        ],
    ),
    (
        "flowers102",
        "flowers-102",
        &[("setid.mat", Some(FLOWER_PARTS)), ("imagelabels.mat", Some(FLOWER_LABELS)), ("jpg/image_00001.jpg", None)],
    ),
    ("caltech101", "caltech101", &[("101_ObjectCategories/snoopy/image_0003.jpg", None)]),
    (
        "pets",
        "oxford-iiit-pet",
        &[
            ("annotations/trainval.txt", Some(SPACED)),
            ("annotations/test.txt", Some(SPACED)),
            ("images/beagle_100.jpg", None),
        ],
    ),
    (
        "cars",
        "stanford_cars",
        &[
            ("devkit/cars_train_annos.mat", Some(CARS)),
            ("cars_test_annos_withlabels.mat", Some(CARS)),
            ("devkit/cars_meta.mat", Some(CAR_CLASSES)),
            ("cars_test/00004.jpg", None),
        ],
    ),
    (
        "imagenet",
        "imagenet",
        &[
            ("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", Some(LABELS)),
            ("ILSVRC2012_devkit_t12/data/meta.mat", Some(META)),
            ("val/ILSVRC2012_val_00000004.JPEG", None),
            ("train/n01440764/n01440764_10027.JPEG", None),
        ],
    ),
];

/// A kind of damage, and the function that applies it to a file, or to the rows of a list.
type ToFile = (&'static str, fn(&Path));
type ToRows = (&'static str, fn(&mut Vec<Row>));

/// Damage for any file.
const TO_FILES: &[ToFile] = &[
    ("missing", remove),
    ("cut in half", halve),
    ("empty", |path| fs::write(path, "").unwrap()),
    ("garbage", |path| fs::write(path, (0..4000u32).map(|at| (at * at % 251) as u8).collect::<Vec<_>>()).unwrap()),
    ("named pipe", |path| {
        remove(path);
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }),
    ("/dev/zero", |path| {
        remove(path);
        symlink("/dev/zero", path).unwrap();
    }),
    ("folder", |path| {
        remove(path);
        fs::create_dir(path).unwrap();
    }),
    ("dangling link", |path| {
        remove(path);
        symlink("nowhere", path).unwrap();
    }),
];

/// Damage for the rows of a list.
const TO_ROWS: &[ToRows] = &[
    ("row twice", |rows| rows.insert(3, rows[1].clone())),
    ("row removed", |rows| drop(rows.remove(2))),
    ("half of the rows", |rows| rows.truncate(rows.len() / 2)),
    ("label +1000", |rows| relabel(rows, |label| label + 1000.0)),
    ("label 0", |rows| relabel(rows, |_| 0.0)),
    ("label -1", |rows| relabel(rows, |_| -1.0)),
    ("label 2.5", |rows| relabel(rows, |_| 2.5)),
    ("class renamed", |rows| rename(rows, "lime")),
    ("two classes swapped", |rows| {
        let other = rows[1].1.clone();
        rows[1].1 = std::mem::replace(&mut rows[2].1, other);
    }),
];

/// Changes the label of one row, or its class if the list has no labels.
fn relabel(rows: &mut [Row], change: fn(f64) -> f64) {
    let (first, rest) = rows[2].1.split_once(' ').unwrap_or((&rows[2].1, ""));
    let label = change(first.parse().unwrap_or(0.0));
    rows[2].1 = format!("{label} {rest}").trim_end().to_string();
}

/// Renames the class of a path, or of a label that is not a number.
fn rename(rows: &mut [Row], class: &str) {
    let row = &mut rows[2];
    match String::from_utf8(row.0.clone()).ok().and_then(|path| Some(path.split_once('/')?.1.to_string())) {
        Some(name) => row.0 = format!("{class}/{name}").into(),
        None if row.1.parse::<f64>().is_err() => row.1 = class.into(),
        None => {}
    }
}

/// The result for a damaged set.
#[derive(Debug)]
enum Outcome {
    Refused(String),
    /// Its images that cannot be decoded.
    Bad(Vec<String>),
    Same,
    /// It differs, and these notes say so.
    Reported(Vec<String>),
    /// It differs without a note.
    Silent,
    Hangs,
}

/// The contents of a set: its classes and their names, its items and their classes, notes.
type Contents = (Vec<(String, String)>, Vec<(String, String)>, Vec<(String, String)>, Vec<String>);

fn contents(set: &Set) -> Contents {
    // By class name: the order of Aircraft's list of classes may differ.
    let names = |items: &Items| {
        let name = |(item, label): (String, u32)| (item, set.labels[label as usize].clone());
        names_and_labels(items).into_iter().map(name).collect()
    };
    let mut classes: Vec<(String, String)> = set.labels.iter().cloned().zip(set.classes.iter().cloned()).collect();
    classes.sort();
    (classes, names(&set.fit), names(&set.test), set.notes.clone())
}

fn outcome(name: &'static str, folder: PathBuf, before: &Contents) -> Outcome {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let opened = open(name, &folder, &partial()).map_err(|error| error.chain()).map(|set| {
            let bad = |items: &Items| -> Vec<String> {
                (0..items.len()).filter(|item| items.canvas(*item, 8).is_err()).map(|item| items.name(item)).collect()
            };
            (contents(&set), [bad(&set.fit), bad(&set.test)].concat())
        });
        // After the timeout there is no receiver.
        let _ = send.send(opened);
    });
    match receive.recv_timeout(Duration::from_secs(20)) {
        Err(_) => Outcome::Hangs,
        Ok(Err(message)) => Outcome::Refused(message),
        Ok(Ok((_, bad))) if !bad.is_empty() => Outcome::Bad(bad),
        Ok(Ok((after, _))) if after == *before => Outcome::Same,
        Ok(Ok((after, _))) => {
            let notes: Vec<String> = after.3.into_iter().filter(|note| !before.3.contains(note)).collect();
            if notes.is_empty() { Outcome::Silent } else { Outcome::Reported(notes) }
        }
    }
}

/// A set to damage, restored each time.
struct Patient {
    name: &'static str,
    folder: &'static str,
    before: Contents,
}

impl Patient {
    fn copy(name: &'static str, folder: &'static str) -> tempfile::TempDir {
        let home = copy(folder);
        if name == "imagenet" {
            // Flat, so that the development kit is read.
            let val = home.path().join("imagenet/val");
            for class in fs::read_dir(&val).unwrap().map(|class| class.unwrap().path()) {
                for image in fs::read_dir(&class).unwrap().map(|image| image.unwrap().path()) {
                    fs::rename(&image, val.join(image.file_name().unwrap())).unwrap();
                }
                fs::remove_dir(class).unwrap();
            }
        }
        home
    }

    fn new(name: &'static str, folder: &'static str) -> Self {
        let home = Patient::copy(name, folder);
        Patient { name, folder, before: contents(&open(name, &home.path().join(folder), &partial()).unwrap()) }
    }

    /// Damages the set and returns the result; an error must contain one of `blamed`.
    fn suffer(&self, kind: &str, file: &str, blamed: &[&str], damage: impl FnOnce(&Path)) -> (&'static str, bool) {
        let home = Patient::copy(self.name, self.folder);
        damage(&home.path().join(self.folder).join(file));
        let outcome = outcome(self.name, home.path().join(self.folder), &self.before);
        let (sign, right, text) = match &outcome {
            Outcome::Refused(message) => ("refused", blamed.iter().any(|part| message.contains(part)), message.clone()),
            Outcome::Bad(names) => ("bad", names.len() == 1 && file.ends_with(&names[0]), names.join(", ")),
            Outcome::Same => ("same", true, String::new()),
            Outcome::Reported(notes) => ("told", true, notes.join("; ")),
            Outcome::Silent => ("SILENT", false, String::new()),
            Outcome::Hangs => ("HANGS", false, String::new()),
        };
        let text = text.replace(&home.path().display().to_string(), "DIR");
        println!("{:10} {kind:18} {file:34} {sign:8}{} {text}", self.name, if right { "" } else { " WRONG" });
        (sign, right)
    }
}

#[test]
fn no_damage_changes_a_set_in_silence() {
    let mut wrong = Vec::new();
    let mut note = |set: &str, file: &str, kind: &str, (sign, right): (&str, bool)| {
        if !right {
            wrong.push(format!("{set}: {file}, {kind}: {sign}"));
        }
    };
    for (name, folder, files) in SETS {
        let (patient, home) = (Patient::new(name, folder), Patient::copy(name, folder));
        for (file, form) in *files {
            let blamed = [file.rsplit('/').next().unwrap()];
            for (kind, damage) in TO_FILES {
                note(name, file, kind, patient.suffer(kind, file, &blamed, *damage));
            }
            if name == &"food101" || blamed[0].ends_with(".txt") {
                let bytes = |path: &Path| fs::read_to_string(path).unwrap();
                let marked = |path: &Path| fs::write(path, format!("\u{feff}{}", bytes(path))).unwrap();
                let windows = |path: &Path| fs::write(path, bytes(path).replace('\n', "\r\n")).unwrap();
                if form.is_some() {
                    let marked = patient.suffer("byte order mark", file, &[], marked);
                    let windows = patient.suffer("CRLF", file, &[], windows);
                    assert_eq!((marked.0, windows.0), ("same", "same"), "{name}, {file}");
                }
            }
            let Some(form) = form else { continue };
            for (kind, damage) in TO_ROWS {
                let rows = (form.read)(&home.path().join(folder).join(file));
                let mut damaged = rows.clone();
                damage(&mut damaged);
                // Some lists have no labels, and some no classes.
                let (is_the_same, has_labels) = (rows == damaged, rows.iter().any(|(_, label)| !label.is_empty()));
                if is_the_same || (kind.starts_with("label") && !has_labels) {
                    continue;
                }
                // Swapped labels cannot be detected, except if a class is identified by its
                // position.
                let names_classes =
                    ["variants.txt", "cars_meta.mat", "meta.mat", "batches.meta", "meta"].contains(&blamed[0]);
                if *kind == "two classes swapped" && (!names_classes || blamed[0] == "meta.mat") {
                    continue;
                }
                // A class that is missing from its list is reported by a list of images; a renamed
                // one, by its new name.
                let also: &[&str] = if names_classes {
                    &["images_variant_", "_annos", "ground_truth", "data_batch_", "train, row"]
                } else {
                    &["/lime/", "lime/"]
                };
                let blamed = [&blamed[..], also].concat();
                note(name, file, kind, patient.suffer(kind, file, &blamed, |path| (form.write)(path, &damaged)));
            }
        }
        if let [(fit, Some(form)), (test, Some(of_test)), ..] = files
            && *name != "flowers102"
        {
            let both = |path: &Path| {
                let fit = (form.read)(&path.ancestors().find(|home| home.join(fit).exists()).unwrap().join(fit));
                let mut rows = (of_test.read)(path);
                rows.push(fit[0].clone());
                (of_test.write)(path, &rows);
            };
            let blamed = [test.rsplit('/').next().unwrap()];
            note(name, test, "in both lists", patient.suffer("in both lists", test, &blamed, both));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
