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
        for picture in fs::read_dir(&class).unwrap().map(|picture| picture.unwrap().path()) {
            fs::rename(&picture, val.join(picture.file_name().unwrap())).unwrap();
        }
        fs::remove_dir(class).unwrap();
    }
    let file_name = |(path, label): (String, u32)| (path.rsplit('/').next().unwrap().to_string(), label);
    let expected: Vec<_> = names_and_labels(&folders.test).into_iter().map(file_name).collect();
    let kit = open("imagenet", home.path(), &partial()).unwrap();
    assert_eq!((&kit.labels, names_and_labels(&kit.test)), (&folders.labels, expected.clone()));

    // As many pictures as labels, but another one is there: it has no label, and no other picture's shifts.
    let (first, stranger) = (val.join(&expected[0].0), val.join("ILSVRC2012_val_00099999.JPEG"));
    fs::rename(&first, &stranger).unwrap();
    let message = open("imagenet", home.path(), &partial()).unwrap_err().chain();
    assert!(message.contains("ILSVRC2012_val_00099999.JPEG") && message.contains("no number of 1 to 50"), "{message}");
    fs::rename(&stranger, &first).unwrap();

    let truth = home.path().join("imagenet/ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt");
    replace(&truth, "\n", " ");
    let message = open("imagenet", home.path(), &partial()).unwrap_err().chain();
    assert!(message.contains("it has 50 pictures") && message.contains("has 49 labels"), "{message}");

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
