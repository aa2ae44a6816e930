//! No image twice, no class with another's name, and lists that agree with their folders: the
//! errors and the notes.

use super::*;
use std::os::unix::fs::symlink;

/// Opens a changed copy of a folder of the fixtures.
fn changed(name: &str, folder: &str, options: &Options, change: impl Fn(&Path)) -> Result<Set, String> {
    let home = copy(folder);
    change(&home.path().join(folder));
    open(name, home.path(), options).map_err(|error| error.chain())
}

#[track_caller]
fn refused(name: &str, folder: &str, parts: &[&str], change: impl Fn(&Path)) {
    let message = changed(name, folder, &partial(), change).unwrap_err();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[track_caller]
fn noted(name: &str, folder: &str, parts: &[&str], change: impl Fn(&Path)) {
    let notes = changed(name, folder, &partial(), change).unwrap().notes.join("\n");
    assert!(parts.iter().all(|part| notes.contains(part)), "{notes}");
}

#[test]
fn a_batch_of_cifar_that_is_there_twice_is_refused_by_its_pixels() {
    let over = |from: &'static str, to: &'static str| {
        move |folder: &Path| {
            fs::copy(folder.join(from), folder.join(to)).unwrap();
        }
    };
    let parts = ["4 images of the train split are copies", "at most 0", "data_batch_2, row 0 = data_batch_1, row 0"];
    refused("cifar10", "cifar-10-batches-py", &parts, over("data_batch_1", "data_batch_2"));
    let parts =
        ["of the test split are copies of images of the train split", "test_batch, row 0 = data_batch_3, row 0"];
    refused("cifar10", "cifar-10-batches-py", &parts, over("data_batch_3", "test_batch"));
    refused(
        "cifar100",
        "cifar-100-python",
        &["20 images of the test split are copies", "train, row 0"],
        over("train", "test"),
    );
}

/// The published sets contain exact copies: up to that number they are noted, one more is damage. A
/// subset may contain its share.
#[test]
fn as_many_copies_as_published_are_told_and_more_are_too_many() {
    let set = open_fixture("cifar100");
    let items = |count: usize, first: u128| (0..count as u128).map(|at| Some(first + at)).collect::<Vec<_>>();
    let among = |fit: usize, test: usize, shared: usize| {
        let test = [items(shared, 0), items(test - shared, 1 << 64)].concat();
        Repeats::among(about("cifar100").unwrap(), &items(fit, 0), &test)
    };
    let cases =
        [(50_000, 10_000, 39, false), (50_000, 10_000, 40, true), (5000, 1000, 3, false), (5000, 1000, 4, true)];
    for (fit, test, shared, too_many) in cases {
        let repeats = among(fit, test, shared);
        assert_eq!((repeats.count(), repeats.too_many()), (shared, too_many), "{shared} of {test}");
    }
    let notes = among(20, 30, 2).notes(&set.fit, &set.test);
    assert!(
        notes.len() == 1
            && notes[0].contains("2 images of the test split")
            && notes[0].contains("test, row 1 = train, row 1")
    );
    let unread = Repeats::among(about("cifar10").unwrap(), &[None, None], &[None]);
    assert_eq!(unread.count(), 0, "an image that cannot be read is not a copy");
}

#[test]
fn an_image_is_listed_once_however_its_path_is_written() {
    let (list, test) = ("dtd/labels/train1.txt", "dtd/labels/test1.txt");
    refused("dtd", "dtd", &["train1.txt, line 2", "is listed twice", "train1.txt, line 1"], |folder| {
        let text = fs::read_to_string(folder.join(list)).unwrap();
        let first = text.lines().next().unwrap().replace('/', "/./");
        fs::write(folder.join(list), text.replacen('\n', &format!("\n{first}\n"), 1)).unwrap();
    });
    refused(
        "dtd",
        "dtd",
        &["in the train split and in the test split", "train1.txt, line 1", "test1.txt, line 41"],
        |folder| {
            let first = fs::read_to_string(folder.join(list)).unwrap().lines().next().unwrap().to_string();
            let text = fs::read_to_string(folder.join(test)).unwrap();
            fs::write(folder.join(test), format!("{text}{first}\n")).unwrap();
        },
    );
    // Two names of one file.
    refused(
        "dtd",
        "dtd",
        &["of the test split are copies of images of the train split", "grid_0007.jpg", "grid_0002.jpg"],
        |folder| {
            let grid = folder.join("dtd/images/grid");
            remove(&grid.join("grid_0007.jpg"));
            symlink("grid_0002.jpg", grid.join("grid_0007.jpg")).unwrap();
        },
    );
}

#[test]
fn images_that_no_list_names_are_told_and_refused_where_the_set_must_be_whole() {
    let add = |path: &'static str| {
        move |folder: &Path| {
            fs::write(folder.join(path), "an image").unwrap();
            fs::write(folder.join(path).with_file_name("._hidden.jpg"), "none").unwrap();
        }
    };
    for (name, folder, path) in [
        ("food101", "food-101", "images/sushi/7.jpg"),
        ("dtd", "dtd", "dtd/images/grid/more.jpg"),
        ("aircraft", "fgvc-aircraft-2013b", "data/images/1.jpg"),
        ("flowers102", "flowers-102", "jpg/image_09999.jpg"),
        ("caltech101", "caltech101", "101_ObjectCategories/snoopy/copy.jpg"),
        ("pets", "oxford-iiit-pet", "images/more.jpg"),
        ("cars", "stanford_cars", "cars_test/99999.jpg"),
    ] {
        let file = path.rsplit('/').next().unwrap();
        noted(name, folder, &["1 images in", "are in no list", file], add(path));
        let message = changed(name, folder, &Options::default(), add(path)).unwrap_err();
        // Pets were published with 41 of them.
        assert!(message.contains("are in no list") != (name == "pets") && !message.contains("hidden"), "{message}");
    }
    let message = changed("pets", "oxford-iiit-pet", &Options::default(), |folder| {
        (0..42).for_each(|at| fs::write(folder.join(format!("images/{at}.jpg")), "more").unwrap());
    });
    assert!(message.unwrap_err().contains("42 images in"));
}

#[test]
fn a_class_that_is_lost_is_named() {
    let without = |list: &'static str, class: &'static str| {
        move |folder: &Path| {
            let text = fs::read_to_string(folder.join(list)).unwrap();
            let kept = text.lines().filter(|line| !line.contains(class)).map(|line| format!("{line}\n"));
            fs::write(folder.join(list), kept.collect::<String>()).unwrap();
        }
    };
    let parts = ["1 classes have no image of the test split: grid", "are in no list"];
    noted("dtd", "dtd", &parts, without("dtd/labels/test1.txt", "grid"));
    let parts = ["1 classes have no image of the train split: Spitfire"];
    noted("aircraft", "fgvc-aircraft-2013b", &parts, without("data/images_variant_trainval.txt", "Spitfire"));
    refused("pets", "oxford-iiit-pet", &["annotations", "class 6 has images, class 5 none"], |folder| {
        without("annotations/test.txt", "beagle")(folder);
        without("annotations/trainval.txt", "beagle")(folder);
    });
}

#[test]
fn food_101s_lists_classes_and_folders_agree() {
    let classes = "apple_pie baby_back_ribs beignets cheesecake creme_brulee hot_dog ice_cream pho sushi waffles";
    let write = |classes: String| {
        move |folder: &Path| fs::write(folder.join("meta/classes.txt"), classes.replace(' ', "\r\n")).unwrap()
    };
    assert!(changed("food101", "food-101", &partial(), write(classes.into())).is_ok());
    refused("food101", "food-101", &["classes.txt", "lacks class `pho`"], write(classes.replace(" pho", "")));
    refused(
        "food101",
        "food-101",
        &["classes.txt, line 11", "class `pho` is already in line 8"],
        write(format!("{classes} pho")),
    );
    noted(
        "food101",
        "food-101",
        &["1 classes of meta/classes.txt are in no list: ramen"],
        write(format!("{classes} ramen")),
    );
    refused("food101", "food-101", &["test.json", "class `sushi` appears twice"], |folder| {
        replace(&folder.join("meta/test.json"), "{", "{\"sushi\": [\"sushi/1\"], ");
    });
    refused("food101", "food-101", &["train.json, class `sushi`, image 1", "`pho/"], |folder| {
        replace(&folder.join("meta/train.json"), "\"sushi/", "\"pho/");
    });
}

#[test]
fn two_classes_of_one_name_are_refused_but_where_they_are_published_so() {
    let message = open("imagefolder", &fixtures().join("imagefolder"), &partial()).unwrap_err().chain();
    assert!(message.contains("classes `A` and `a` are both called `a`"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    let class_file = folder.path().join("classes.json");
    let rename = |set: &str, from: &str, to: &str| {
        fs::copy(fixtures().join(format!("classes/{set}.json")), &class_file).unwrap();
        replace(&class_file, from, to);
        let folder = if ["imagenet", "imagefolder"].contains(&set) { fixtures().join(set) } else { fixtures() };
        open(set, &folder, &Options { class_file: class_file.clone(), ..partial() }).map_err(|error| error.chain())
    };
    let message = rename("pets", "tegg", "BLORN").unwrap_err();
    assert!(message.contains("`Abyssinian` and `american_bulldog` are both called"), "{message}");
    assert!(rename("imagenet", "tegg", "BLORN").is_ok());
    let one = rename("imagefolder", "tegg", "BLORN").unwrap().of_distinct_names();
    assert!(one.notes.iter().any(|note| note.contains("share a name")), "{:?}", one.notes);
}

/// A class is numbered by its position in such a list: a list that was sorted, or cut at its start,
/// shifts every label.
#[test]
fn classes_in_another_order_than_published_are_refused() {
    refused("cifar10", "cifar-10-batches-py", &["batches.meta", "`bird` is before `automobile`"], |folder| {
        let bytes = fs::read(folder.join("batches.meta")).unwrap();
        let at = |name: &[u8]| bytes.windows(name.len()).position(|found| found == name).unwrap();
        // Each string has its length before it: the two swap places, together with the bytes
        // between them.
        let (first, second) = (at(b"\x0a\x00\x00\x00automobile"), at(b"\x04\x00\x00\x00bird"));
        let (first_end, second_end) = (first + 14, second + 8);
        let swapped = [
            &bytes[..first],
            &bytes[second..second_end],
            &bytes[first_end..second],
            &bytes[first..first_end],
            &bytes[second_end..],
        ];
        fs::write(folder.join("batches.meta"), swapped.concat()).unwrap();
    });
    refused(
        "cars",
        "stanford_cars",
        &["cars_meta.mat", "`Acura Integra Type R 2001` is before `AM General"],
        |folder| {
            let path = folder.join("devkit/cars_meta.mat");
            let mut rows = (super::writers::CAR_CLASSES.read)(&path);
            rows.swap(0, 1);
            (super::writers::CAR_CLASSES.write)(&path, &rows);
        },
    );
}

#[test]
fn a_label_is_counted_from_where_its_list_counts() {
    let pets = |from: &'static str, to: &'static str| {
        move |folder: &Path| replace(&folder.join("annotations/test.txt"), from, to)
    };
    let line = "test.txt, line ";
    for label in ["0", "-1", "2.5", "38", "1005"] {
        let to: &'static str = Box::leak(format!("beagle_193 {label}").into_boxed_str());
        let why = format!("label `{label}` is not a whole number from 1 to 37");
        refused("pets", "oxford-iiit-pet", &[line, &why], pets("beagle_193 5", to));
    }
    refused(
        "pets",
        "oxford-iiit-pet",
        &[line, "class `beagle` also has the number"],
        pets("beagle_193 5", "beagle_193 20"),
    );
    let val = |text: &'static str| {
        move |folder: &Path| {
            let image = |at: usize| format!("n01440764/ILSVRC2012_val_{:08}.JPEG", 10 * at + 1);
            let lines = (0..5).map(|at| format!("{},0\n", image(at)));
            fs::write(folder.join("val/labels.csv"), format!("path,label\n{}{text}", lines.collect::<String>()))
                .unwrap();
        }
    };
    for label in ["1000", "-1", "2.5", "n99999999", "tench"] {
        let text: &'static str = Box::leak(format!("x.JPEG,{label}\n").into_boxed_str());
        let why = format!("label `{label}` is neither a whole number from 0 to 999 nor the WordNet id");
        refused("imagenet", "imagenet", &["labels.csv, line 7", &why], val(text));
    }
    refused("imagenet", "imagenet", &["labels.csv, line 7", "may be cut"], val("x.JPEG,1"));
}

#[test]
fn imagenet_says_which_image_is_missing_or_in_a_wrong_place() {
    let val = |label: usize, at: usize| format!("val/{}/ILSVRC2012_val_{at:08}.JPEG", names_of_classes()[label]);
    let seventh =
        (0..10).map(|label| val(label, 7)).find(|path| fixtures().join("imagenet").join(path).exists()).unwrap();
    let class = seventh.split('/').nth(1).unwrap().to_string();
    let other = names_of_classes().into_iter().find(|other| *other != class).unwrap();
    let missing = "1 images of the test split are missing: ILSVRC2012_val_00000007.JPEG";
    noted("imagenet", "imagenet", &[missing], |folder| remove(&folder.join(&seventh)));
    refused("imagenet", "imagenet", &["are one image in two classes", "val_00000007.JPEG"], |folder| {
        fs::copy(folder.join(&seventh), folder.join(seventh.replace(&class, &other))).unwrap();
    });
    refused("imagenet", "imagenet", &["n01443537_10026.JPEG", "its folder is n01440764"], |folder| {
        let train = folder.join("train");
        fs::rename(train.join("n01443537/n01443537_10026.JPEG"), train.join("n01440764/n01443537_10026.JPEG")).unwrap();
    });
}

fn names_of_classes() -> Vec<String> {
    open_fixture("imagenet").labels
}

#[test]
fn lists_that_are_no_text_are_refused_by_file_and_line() {
    let write =
        |bytes: &'static [u8]| move |folder: &Path| fs::write(folder.join("dtd/labels/val1.txt"), bytes).unwrap();
    refused("dtd", "dtd", &["val1.txt", "UTF-16"], write(b"\xff\xfeg\0r\0i\0d\0"));
    refused("dtd", "dtd", &["val1.txt, line 2", "UTF-8"], write(b"grid/grid_0004.jpg\ngr\xe9d/1.jpg\n"));
    refused("dtd", "dtd", &["val1.txt, line 2", "zero byte"], write(b"grid/grid_0004.jpg\n\0\0\n"));
    refused("dtd", "dtd", &["val1.txt", "it is empty"], write(b" \n\n"));
    refused("dtd", "dtd", &["val1.txt, line 1", "`grid_0004.jpg` has no class"], write(b"grid_0004.jpg\n"));
    let folder = tempfile::tempdir().unwrap();
    let class_file = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&class_file).status().unwrap().success());
    let message = open("pets", &fixtures(), &Options { class_file, ..partial() }).unwrap_err().chain();
    assert!(message.contains("it is a named pipe"), "{message}");
}
