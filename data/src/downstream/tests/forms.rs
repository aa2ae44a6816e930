//! Other forms of the same sets have the same items.

use super::*;

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
        for image in fs::read_dir(&class).unwrap().map(|image| image.unwrap().path()) {
            fs::rename(&image, val.join(image.file_name().unwrap())).unwrap();
        }
        fs::remove_dir(class).unwrap();
    }
    let file_name = |(path, label): (String, u32)| (path.rsplit('/').next().unwrap().to_string(), label);
    let expected: Vec<_> = names_and_labels(&folders.test).into_iter().map(file_name).collect();
    let kit = open("imagenet", home.path(), &partial()).unwrap();
    assert_eq!((&kit.labels, names_and_labels(&kit.test)), (&folders.labels, expected.clone()));

    // As many images as labels, but one of them is another image: it has no label, and no other
    // image's label shifts.
    let (first, stranger) = (val.join(&expected[0].0), val.join("ILSVRC2012_val_00099999.JPEG"));
    fs::rename(&first, &stranger).unwrap();
    let message = open("imagenet", home.path(), &partial()).unwrap_err().chain();
    assert!(message.contains("ILSVRC2012_val_00099999.JPEG") && message.contains("no number of 1 to 50"), "{message}");
    fs::rename(&stranger, &first).unwrap();

    let truth = home.path().join("imagenet/ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt");
    replace(&truth, "\n", " ");
    let message = open("imagenet", home.path(), &partial()).unwrap_err().chain();
    assert!(message.contains("it has 50 images") && message.contains("has 49 labels"), "{message}");

    fs::remove_dir_all(home.path().join("imagenet/ILSVRC2012_devkit_t12")).unwrap();
    let message = open("imagenet", home.path(), &partial()).unwrap_err().chain();
    assert!(message.contains("neither labels.csv in it nor") && message.contains("devkit"), "{message}");
    fs::rename(&val, home.path().join("imagenet/validation")).unwrap();
    let published = names::labels("imagenet");
    let number = |label: u32| published.iter().position(|wnid| *wnid == folders.labels[label as usize]).unwrap();
    let lines: String = expected.iter().rev().map(|(path, label)| format!("{path},{}\n", number(*label))).collect();
    for header in ["image,label", "path,label"] {
        fs::write(home.path().join("imagenet/validation/labels.csv"), format!("{header}\n{lines}")).unwrap();
        let table = open("imagenet", &home.path().join("imagenet"), &partial()).unwrap();
        assert_eq!((&table.labels, names_and_labels(&table.test)), (&folders.labels, expected.clone()), "{header}");
    }
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
        // Images by class, as in the copy in circulation.
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

/// Python 2's pickles, saved again by Python 3 in each of its forms: see `pickles` in the fixtures'
/// `make.py`.
#[test]
fn pickles_of_protocols_2_to_5_have_the_same_items() {
    let before = open_fixture("cifar10");
    for protocol in 2..=5 {
        let home = copy("cifar-10-batches-py");
        let batch = home.path().join("cifar-10-batches-py/data_batch_1");
        fs::copy(fixtures().join(format!("pickles/protocol-{protocol}")), batch).unwrap();
        let after = open("cifar10", home.path(), &partial()).unwrap();
        assert_eq!(names_and_labels(&after.fit), names_and_labels(&before.fit), "protocol {protocol}");
        for item in 0..4 {
            assert_eq!(after.fit.canvas(item, 32), before.fit.canvas(item, 32), "protocol {protocol}");
        }
    }
}

/// The same images as in `cars_annos.mat`: one list, with a flag for the test split.
#[test]
fn the_first_release_of_cars_has_the_same_items() {
    use super::writers::{Value, mat};
    let set = open_fixture("cars");
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("stanford_cars");
    fs::create_dir_all(folder.join("car_ims")).unwrap();
    let mut items = Vec::new();
    for (part, from, flag) in [(&set.fit, "cars_train", 0.0), (&set.test, "cars_test", 1.0)] {
        for (name, label) in names_and_labels(part) {
            let path = format!("car_ims/{:06}.jpg", items.len() + 1);
            fs::copy(fixtures().join("stanford_cars").join(from).join(name), folder.join(&path)).unwrap();
            items.push(vec![
                ("relative_im_path", Value::Text(path)),
                ("class", Value::Numbers(vec![f64::from(label) + 1.0])),
                ("test", Value::Numbers(vec![flag])),
            ]);
        }
    }
    let classes = Value::Cells(set.labels.iter().cloned().map(Value::Text).collect());
    let write = |items: Vec<Vec<(&'static str, Value)>>| {
        let list = mat(&[("annotations", Value::Structs(items)), ("class_names", classes.clone())]);
        fs::write(folder.join("cars_annos.mat"), list).unwrap();
    };
    write(items.clone());
    let first = open("cars", home.path(), &partial()).unwrap();
    assert_eq!(
        (&first.labels, first.fit.labels(), first.test.labels()),
        (&set.labels, set.fit.labels(), set.test.labels())
    );
    assert_eq!(first.test.canvas(9, 16), set.test.canvas(9, 16));

    items[6][2].1 = Value::Numbers(vec![2.0]);
    write(items);
    let message = open("cars", home.path(), &partial()).unwrap_err().chain();
    assert!(
        message.contains("element 7 of `annotations`, field `test`: 2 is not a whole number from 0 to 1"),
        "{message}"
    );
    fs::rename(folder.join("car_ims"), folder.join("other")).unwrap();
    let message = open("cars", home.path(), &partial()).unwrap_err().chain();
    assert!(message.contains("cars_annos.mat") && message.contains("the folder car_ims"), "{message}");
}

/// As left by programs that unpack archives, and as distributed by Kaggle.
#[test]
fn folders_within_folders_of_their_name_are_found() {
    /// Name of a set, its folder, that of the fixtures, and the moves: from, to.
    type Move = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);
    let moves: &[Move] = &[
        ("cifar10", "", "cifar-10-batches-py", &[("cifar-10-batches-py", "cifar-10-batches-py/cifar-10-batches-py")]),
        ("food101", "food-101", "food-101", &[("food-101", "food-101/food-101")]),
        (
            "caltech101",
            "caltech-101",
            "caltech101",
            &[("caltech101/101_ObjectCategories", "caltech-101/101_ObjectCategories")],
        ),
        (
            "pets",
            "",
            "oxford-iiit-pet",
            &[
                ("oxford-iiit-pet/images", "oxford-iiit-pet/images/images"),
                ("oxford-iiit-pet/annotations", "oxford-iiit-pet/annotations/annotations"),
            ],
        ),
        (
            "cars",
            "stanford_cars",
            "stanford_cars",
            &[
                ("stanford_cars/cars_train", "stanford_cars/cars_train/cars_train"),
                ("stanford_cars/cars_test", "stanford_cars/cars_test/cars_test"),
                ("stanford_cars/devkit", "stanford_cars/car_devkit/devkit"),
            ],
        ),
        ("flowers102", "flowers-102", "flowers-102", &[("flowers-102/jpg", "flowers-102/jpg/jpg")]),
    ];
    for (name, root, folder, moves) in moves {
        let home = copy(folder);
        for (from, to) in *moves {
            let (from, between, to) = (home.path().join(from), home.path().join("between"), home.path().join(to));
            fs::rename(&from, &between).unwrap();
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::rename(&between, &to).unwrap();
        }
        // Two of the folders that the set could be in: the one of the layout, and the one above it.
        for root in [home.path().to_path_buf(), home.path().join(root)] {
            let Ok(moved) = open(name, &root, &partial()) else {
                panic!("{name} in {}: {}", root.display(), open(name, &root, &partial()).unwrap_err().chain())
            };
            let before = open_fixture(name);
            assert_eq!(names_and_labels(&moved.fit), names_and_labels(&before.fit), "{name}");
            assert_eq!(names_and_labels(&moved.test), names_and_labels(&before.test), "{name}");
        }
    }
    let caltech = fixtures().join("caltech101/101_ObjectCategories");
    let itself = open("caltech101", &caltech, &partial()).unwrap();
    assert_eq!(names_and_labels(&itself.test), names_and_labels(&open_fixture("caltech101").test));
}

#[test]
fn kaggles_imagenet_is_read_by_its_solution_and_val_may_be_named_itself() {
    let folders = open_fixture("imagenet");
    let home = copy("imagenet");
    let (old, new) = (home.path().join("imagenet"), home.path().join("ILSVRC/Data/CLS-LOC"));
    fs::create_dir_all(new.join("val")).unwrap();
    fs::rename(old.join("train"), new.join("train")).unwrap();
    let mut lines = vec!["ImageId,PredictionString".to_string()];
    for (path, label) in names_and_labels(&folders.test) {
        let name = path.rsplit('/').next().unwrap();
        fs::rename(old.join("val").join(&path), new.join("val").join(name)).unwrap();
        let (id, class) = (name.strip_suffix(".JPEG").unwrap(), &folders.labels[label as usize]);
        // Some images have several boxes.
        let boxes = format!("{class} 85 1 499 272 ").repeat(1 + lines.len() % 2);
        lines.push(format!("{id},{boxes}"));
    }
    fs::remove_dir_all(&old).unwrap();
    let write = |lines: &[String]| {
        fs::write(home.path().join("LOC_val_solution.csv"), lines.join("\r\n") + "\r\n").unwrap();
    };
    write(&lines);
    let flat = |(path, label): (String, u32)| (path.rsplit('/').next().unwrap().to_string(), label);
    let expected: Vec<_> = names_and_labels(&folders.test).into_iter().map(flat).collect();
    for root in [home.path(), &home.path().join("ILSVRC/Data/CLS-LOC")] {
        let kaggle = open("imagenet", root, &partial()).unwrap();
        assert_eq!((&kaggle.labels, names_and_labels(&kaggle.test)), (&folders.labels, expected.clone()));
        assert_eq!(names_and_labels(&kaggle.fit), names_and_labels(&folders.fit));
    }
    let mapping = home.path().join("LOC_synset_mapping.txt");
    fs::write(&mapping, folders.labels.iter().map(|id| format!("{id} word, other word\n")).collect::<String>())
        .unwrap();
    assert_eq!(names_and_labels(&open("imagenet", home.path(), &partial()).unwrap().test), expected);

    let refused = |line: usize, text: String, part: &str| {
        let mut lines = lines.clone();
        lines[line] = text;
        write(&lines);
        let message = open("imagenet", home.path(), &partial()).unwrap_err().chain();
        assert!(
            message.contains(&format!("LOC_val_solution.csv, line {}", line + 1)) && message.contains(part),
            "{message}"
        );
    };
    refused(3, lines[3].replace(&lines[3][lines[3].find(',').unwrap() + 1..][..2], "n9"), "is not a WordNet id");
    refused(4, "ILSVRC2012_val_00000009,".into(), "is not one class before boxes");
    refused(5, lines[7].clone(), "is listed twice");
    // The line before it is the first; the error names the second.
    write(&lines);
    fs::rename(new.join("val/ILSVRC2012_val_00000007.JPEG"), new.join("gone")).unwrap();
    let message = open("imagenet", home.path(), &partial()).unwrap_err().chain();
    assert!(
        message.contains("ILSVRC2012_val_00000007.JPEG (") && message.contains("LOC_val_solution.csv, line"),
        "{message}"
    );

    let val = open("imagenet", &fixtures().join("imagenet/val"), &partial()).unwrap();
    assert_eq!((names_and_labels(&val.test), val.fit.len()), (names_and_labels(&folders.test), 0));
}
