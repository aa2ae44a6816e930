//! Stanford Cars (Krause et al. 2013), from the MATLAB files of its development kit, or from the
//! CSV files of the copies that are available since the original address is gone.

use super::list::{cut, number, place, text};
use super::mat::Mat;
use super::{About, Found, Items, Listed, Metric, Options, Size, Strays, copies, home, inner, names, stands};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// 196 cars.
pub(super) const CARS: About = About {
    name: "cars",
    title: "Stanford Cars: cars by make, model and year",
    size: SIZE,
    metric: Metric::Accuracy,
    licence: "for non-commercial research",
    home: "https://ai.stanford.edu/~jkrause/cars/car_dataset.html (gone)",
    layout: "
DIR/stanford_cars/
  cars_train/00001.jpg
  cars_test/00001.jpg
  devkit/cars_meta.mat
  devkit/cars_train_annos.mat
  cars_test_annos_withlabels.mat        or in devkit/
DIR/stanford_cars/                      or the first release
  car_ims/000001.jpg
  cars_annos.mat                        one list with a flag `test`
DIR/                                    or the CSV form
  names.csv                             a class a line
  anno_train.csv, anno_test.csv         00001.jpg,39,116,569,375,14: image, box, class from 1 on
  car_data/car_data/train/CLASS/00001.jpg       a `/` in a class is `-` in its folder; or cars_train/ and cars_test/ as above",
    archives: &[],
    by_hand: "Its address is gone. Take the images and the development kit from someone who has them: the files named below, of which
cars_train.tgz, cars_test.tgz, car_devkit.tgz and cars_test_annos_withlabels.mat were handed out; or a copy in the CSV form.",
    copies: copies(SIZE),
    read,
};

const SIZE: Size = Size { classes: 196, fit: 8144, test: 8041 };

/// Possible places of the set's own folder.
const HOMES: [&str; 2] = ["stanford_cars", ""];

/// Possible places of the development kit in it.
const KITS: [&str; 3] = ["devkit", "car_devkit/devkit", "car_devkit"];

/// The file of the classes, and the classes.
type Classes = (PathBuf, Vec<String>);

/// Images with their labels, as in a list.
type List = Vec<Listed>;

fn read(root: &Path, _: &Options) -> Result<Found> {
    let kit = KITS.iter().find_map(|kit| Some((home(root, &HOMES, &format!("{kit}/cars_meta.mat")).ok()?, kit)));
    if let Some((folder, kit)) = kit {
        return from_devkit(&folder, &folder.join(kit));
    }
    if let Ok(folder) = home(root, &HOMES, "cars_annos.mat") {
        return from_one_list(&folder);
    }
    match home(root, &HOMES, "names.csv") {
        Ok(folder) => from_csv(&folder),
        Err(_) => {
            let error = home(root, &HOMES, "devkit/cars_meta.mat").expect_err("it was looked for above");
            Err(error.during("there is neither a cars_annos.mat nor a names.csv"))
        }
    }
}

fn from_devkit(folder: &Path, kit: &Path) -> Result<Found> {
    let meta = kit.join("cars_meta.mat");
    let labels = classes(&Mat::read(&meta)?)?;
    let test = [folder, kit].map(|place| place.join("cars_test_annos_withlabels.mat"));
    let test = test.iter().find(|path| stands(path)).unwrap_or(&test[0]);
    let fit = annotated(&kit.join("cars_train_annos.mat"), labels.len())?;
    let test = annotated(test, labels.len())?;
    of_two_folders(folder, fit, test, (meta, labels))
}

/// The images of an annotation file.
fn annotated(path: &Path, classes: usize) -> Result<List> {
    let mat = Mat::read(path)?;
    let mut list = List::new();
    for item in mat.structs("annotations")? {
        let (class, name) = (item.number("class", 1..=classes)?, item.text("fname")?);
        // In some copies the folder is part of the name.
        let path = name.rsplit('/').next().unwrap_or(name).to_string();
        list.push(Listed { path, label: class as u32 - 1, place: item.place() });
    }
    Ok(list)
}

/// The names of the classes, in the order of their numbers.
fn classes(mat: &Mat) -> Result<Vec<String>> {
    let labels = mat.texts("class_names")?;
    if let Some(at) = (1..labels.len()).find(|at| labels[..*at].contains(&labels[*at])) {
        return Err(Error::invalid(mat.place("class_names", at), format!("class `{}` appears twice", labels[at])));
    }
    names::in_order(CARS.name, &labels, &mat.place("class_names", 0))?;
    Ok(labels)
}

/// The first release: one list of all images, each with a flag for the test split.
fn from_one_list(folder: &Path) -> Result<Found> {
    let path = folder.join("cars_annos.mat");
    let mat = Mat::read(&path)?;
    let labels = classes(&mat)?;
    if !folder.join("car_ims").is_dir() {
        let why = "its images are in the folder car_ims, which is not beside it; cars_train and cars_test need a development kit";
        return Err(Error::invalid(path.display(), why));
    }
    let (mut fit, mut test) = (List::new(), List::new());
    for item in mat.structs("annotations")? {
        let class = item.number("class", 1..=labels.len())?;
        let path = item.text("relative_im_path")?.to_string();
        let part = if item.number("test", 0..=1)? == 1 { &mut test } else { &mut fit };
        part.push(Listed { path, label: class as u32 - 1, place: item.place() });
    }
    let (fit, test) = (Items::files(folder, fit)?, Items::files(folder, test)?);
    let mut strays = Strays::find(folder, &[&fit, &test])?;
    strays.names.retain(|name| name.starts_with("car_ims/"));
    found(fit, test, (path, labels), &[strays])
}

fn from_csv(folder: &Path) -> Result<Found> {
    let names = folder.join("names.csv");
    let mut labels: Vec<String> = Vec::new();
    for (line, fields) in records(&names)?.0 {
        let class = fields.join(",");
        if labels.contains(&class) {
            return Err(Error::invalid(place(&names, line), format!("class `{class}` appears twice")));
        }
        labels.push(class);
    }
    names::in_order(CARS.name, &labels, &names.display().to_string())?;
    let fit = of_csv(&folder.join("anno_train.csv"), labels.len())?;
    let test = of_csv(&folder.join("anno_test.csv"), labels.len())?;
    of_two_folders(folder, fit, test, (names.clone(), labels))
}

/// The images of a table.
fn of_csv(path: &Path, classes: usize) -> Result<List> {
    let (records, ended) = records(path)?;
    if let Some((line, _)) = records.last().filter(|_| !ended && ![SIZE.fit, SIZE.test].contains(&records.len())) {
        return Err(cut(path, *line));
    }
    let header = usize::from(records.first().is_some_and(|(_, first)| is_header(first)));
    let mut list = List::new();
    for (line, fields) in &records[header..] {
        let wrong = |why: String| Error::invalid(place(path, *line), why);
        let [image, _, .., class] = &fields[..] else {
            return Err(wrong(format!("`{}` is not an image, its box and its class", fields.join(","))));
        };
        let class = number(class, 1, classes).map_err(wrong)?;
        list.push(Listed { path: image.clone(), label: class as u32 - 1, place: place(path, *line) });
    }
    Ok(list)
}

/// Some copies have a line of column names.
fn is_header(fields: &[String]) -> bool {
    fields.len() > 1 && fields.iter().all(|field| field.parse::<f64>().is_err())
}

/// Images of the two parts in separate folders.
fn of_two_folders(folder: &Path, fit: List, test: List, labels: Classes) -> Result<Found> {
    let (fit, fit_strays) = part(folder, "train", fit, &labels.1)?;
    let (test, test_strays) = part(folder, "test", test, &labels.1)?;
    found(fit, test, labels, &[fit_strays, test_strays])
}

fn found(fit: Items, test: Items, (labels_in, labels): Classes, strays: &[Strays]) -> Result<Found> {
    let differs = strays.iter().filter_map(Strays::notes).collect();
    Ok(Found { labels, labels_in, fit, test, published: SIZE, named: true, differs, notes: Vec::new() })
}

fn part(folder: &Path, part: &str, mut list: List, labels: &[String]) -> Result<(Items, Strays)> {
    let flat = inner(folder, &format!("cars_{part}"));
    let by_class = [format!("car_data/car_data/{part}"), format!("car_data/{part}")].map(|path| folder.join(path));
    let by_class: Option<PathBuf> = by_class.into_iter().find(|path| !flat.is_dir() && path.is_dir());
    if by_class.is_some() {
        for item in &mut list {
            item.path = format!("{}/{}", labels[item.label as usize].replace('/', "-"), item.path);
        }
    }
    let folder = by_class.as_ref().unwrap_or(&flat);
    let items = Items::files(folder, list)?;
    let strays = Strays::find(folder, &[&items])?;
    Ok((items, strays))
}

/// A line's number and its fields.
type CsvLine = (usize, Vec<String>);

/// Fields by line, and whether the last line ends with a line feed.
fn records(path: &Path) -> Result<(Vec<CsvLine>, bool)> {
    let text = text(path)?;
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut records = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| Error::invalid(path.display(), error))?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        records.push((line, record.iter().map(str::to_string).collect()));
    }
    Ok((records, text.ends_with(['\n', '\r'])))
}
