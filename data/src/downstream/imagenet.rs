//! ImageNet-1K (Russakovsky et al. 2015): class folders by WordNet id, or its validation part as
//! one flat folder with the labels of the development kit, of a `labels.csv` (CyCLIP, CleanCLIP,
//! RoCLIP) or of Kaggle's `LOC_val_solution.csv`. In every form, the order is that of the class
//! folders.

use super::imagefolder::{class_folders, is_image, list, same_classes, walk};
use super::list::{List, cut, place, some, text};
use super::mat::Mat;
use super::{About, Found, Items, Listed, Metric, Options, Size, Strays, copies, home, names, stands};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// A thousand things and animals.
pub(super) const IMAGENET: About = About {
    name: "imagenet",
    title: "ImageNet-1K (ILSVRC 2012): things and animals",
    size: SIZE,
    metric: Metric::Accuracy,
    licence: "for non-commercial research, after signing its terms",
    home: "https://image-net.org/challenges/LSVRC/2012/",
    layout: "
DIR/                            or DIR/imagenet/
  train/n01440764/n01440764_10026.JPEG                  train split; may be missing
  val/n01440764/ILSVRC2012_val_00000293.JPEG            or validation/; test split
  val/ILSVRC2012_val_00000001.JPEG                      or without class folders, with
  ILSVRC2012_devkit_t12/data/meta.mat                   the development kit
  ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt
  val/labels.csv                                        or a table with the columns image (or path) and label (0 to 999, or WordNet ids)
DIR/                            or as Kaggle has it
  ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_10026.JPEG
  ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG
  LOC_val_solution.csv          ImageId,PredictionString: class and boxes of each image
  LOC_synset_mapping.txt        the classes, a line each; may be missing",
    archives: &[],
    by_hand: "Sign the terms at https://image-net.org/download-images, then get
  ILSVRC2012_img_train.tar        md5 1d675b47d978889d74fa0da5fadfb00e, one tar a class in it, each to be unpacked into train/ID/
  ILSVRC2012_img_val.tar          md5 29b22e2961454d5413ddabcf34fc5622, to be unpacked into val/
  ILSVRC2012_devkit_t12.tar.gz    md5 fa75699e90414af021442c21a62c3abf, to be unpacked where it is
The training part is only needed for a linear probe.",
    copies: copies(SIZE),
    read,
};

const SIZE: Size = Size { classes: 1000, fit: 1_281_167, test: 50_000 };

/// Names of the folder of the validation part; the first that exists is used.
const VAL: [&str; 3] = ["val", "validation", "ILSVRC2012_img_val"];

/// Possible places of the folder of the validation part, in torchvision's layout or in Kaggle's.
const HOMES: [&str; 6] =
    ["imagenet", "", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "imagenet/ILSVRC/Data/CLS-LOC", "imagenet/Data/CLS-LOC"];

/// Prefix of the images of the validation part, before their number.
const PREFIX: &str = "ILSVRC2012_val_";

/// An image of the validation part.
struct Labelled {
    path: String,
    /// WordNet id.
    class: String,
    place: String,
}

fn read(root: &Path, _: &Options) -> Result<Found> {
    let is_val = root.file_name().is_some_and(|name| VAL.iter().any(|val| name == *val));
    let homes = VAL.iter().find_map(|val| home(root, &HOMES, val).ok().map(|folder| (folder.join(val), folder)));
    let (val, folder, train) = match homes {
        Some((val, folder)) => (val, folder.clone(), Some(folder.join("train")).filter(|train| train.is_dir())),
        // The folder of the validation part itself; the file with its labels may be beside it.
        None if is_val => (root.to_path_buf(), root.parent().unwrap_or(root).to_path_buf(), None),
        None => {
            let why = "there is no folder `val`, `validation` or `ILSVRC2012_img_val` in it";
            return Err(Error::invalid(root.display(), why));
        }
    };
    let Validation { labels, labels_in, test } = validation(&folder, &val)?;
    let fit = match &train {
        Some(train) => {
            same_classes(train, &labels, &format!("the classes of {}", val.display()))?;
            let items = walk(train, &labels)?;
            in_their_folders(train, &items)?;
            Items::files(train, items)?
        }
        None => Items::files(&folder, Vec::new())?,
    };
    let mut differs: Vec<String> = Strays::find(&val, &[&test])?.notes().into_iter().collect();
    differs.extend(missing(&test));
    let published = Size { fit: if train.is_some() { SIZE.fit } else { 0 }, ..SIZE };
    Ok(Found { labels, labels_in, fit, test, published, named: true, differs, notes: Vec::new() })
}

/// Refuses a train image whose name and folder give different classes.
fn in_their_folders(train: &Path, items: &[Listed]) -> Result<()> {
    match items.iter().find_map(|item| Some((&item.path, moved(&item.path)?))) {
        Some((path, why)) => Err(Error::invalid(train.join(path).display(), why)),
        None => Ok(()),
    }
}

/// Describes an image whose name and folder give different classes.
fn moved(path: &str) -> Option<String> {
    let (folder, name) = (path.split('/').next()?, path.rsplit('/').next()?);
    let id = name.split('_').next().filter(|id| is_id(id) && is_id(folder) && *id != folder)?;
    Some(format!("its name has class {id} but its folder is {folder}"))
}

/// Whether a text is a WordNet id, such as n03995372.
fn is_id(id: &str) -> bool {
    id.len() == 9 && id.starts_with('n') && id[1..].bytes().all(|byte| byte.is_ascii_digit())
}

/// The number of an image of the validation part, from its name.
fn number_of(path: &str) -> Option<usize> {
    path.rsplit('/').next()?.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()
}

/// Names the missing images of the validation part, if most of them are there.
fn missing(test: &Items) -> Option<String> {
    let there: BTreeSet<usize> = test.paths().iter().filter_map(|path| number_of(path)).collect();
    let last = if 2 * there.len() > SIZE.test { SIZE.test } else { there.last().copied().unwrap_or(0) };
    let missing: Vec<String> =
        (1..=last).filter(|number| !there.contains(number)).map(|number| format!("{PREFIX}{number:08}.JPEG")).collect();
    let few = !missing.is_empty() && missing.len() <= there.len();
    few.then(|| format!("{} images of the test split are missing: {}", missing.len(), some(&missing)))
}

/// The validation part: its classes, their file or folder, and its images.
struct Validation {
    labels: Vec<String>,
    labels_in: PathBuf,
    test: Items,
}

fn validation(folder: &Path, val: &Path) -> Result<Validation> {
    let (files, folders) = list(val)?;
    let kits = ["ILSVRC2012_devkit_t12/data", "devkit/data"].map(|kit| folder.join(kit));
    // Kaggle's list is beside the folder ILSVRC, three folders above the folder of the images.
    let up = if folder.ends_with("Data/CLS-LOC") { folder.ancestors().nth(3) } else { None };
    let solutions = [Some(val), Some(folder), up].into_iter().flatten().map(|place| place.join(SOLUTION));
    let (labels_in, labelled) = if files.iter().any(|file| file == "labels.csv") {
        let table = val.join("labels.csv");
        (table.clone(), of_table(&table)?)
    } else if !folders.is_empty() && !files.iter().any(|file| is_image(file)) {
        let labels = class_folders(val)?;
        let items = walk(val, &labels)?;
        each_number_once(val, &items)?;
        return Ok(Validation { labels, labels_in: val.into(), test: Items::files(val, items)? });
    } else if let Some(kit) = kits.iter().find(|kit| kit.is_dir()) {
        (kit.join("meta.mat"), of_kit(kit, val, files)?)
    } else if let Some(solution) = solutions.into_iter().find(|path| stands(path)) {
        (solution.clone(), of_kaggle(&solution)?)
    } else {
        let why = format!(
            "it has no class folders, and there is neither labels.csv in it nor {} nor {SOLUTION}",
            kits[0].display()
        );
        return Err(Error::invalid(val.display(), why));
    };
    let labels: BTreeSet<&String> = labelled.iter().map(|item| &item.class).collect();
    let labels: Vec<String> = labels.into_iter().cloned().collect();
    let item = |Labelled { path, class, place }: Labelled| {
        let label = labels.binary_search(&class).expect("every class is among the labels") as u32;
        Listed { path, label, place }
    };
    let mut items: Vec<Listed> = labelled.into_iter().map(item).collect();
    items.sort_by(|a, b| (a.label, &a.path).cmp(&(b.label, &b.path)));
    Ok(Validation { labels, labels_in, test: Items::files(val, items)? })
}

/// Refuses an image that is in two class folders.
fn each_number_once(val: &Path, items: &[Listed]) -> Result<()> {
    let mut first = HashMap::new();
    for Listed { path, .. } in items {
        if let Some(other) = number_of(path).and_then(|number| first.insert(number, path)) {
            let why = format!("{path} and {other} are one image in two classes, by its number");
            return Err(Error::invalid(val.display(), why));
        }
    }
    Ok(())
}

/// The development kit numbers classes in its own order, and images by their names.
fn of_kit(kit: &Path, val: &Path, files: Vec<String>) -> Result<Vec<Labelled>> {
    let truth = List::read(&kit.join("ILSVRC2012_validation_ground_truth.txt"))?;
    let numbers = &truth.lines;
    let synsets = synsets(&Mat::read(&kit.join("meta.mat"))?)?;
    let images: Vec<String> = files.into_iter().filter(|file| is_image(file)).collect();
    if numbers.len() != images.len() {
        let there: BTreeSet<usize> = images.iter().filter_map(|image| number_of(image)).collect();
        let missing: Vec<String> = (1..=numbers.len())
            .filter(|number| !there.contains(number))
            .map(|number| format!("{PREFIX}{number:08}.JPEG"))
            .collect();
        let missing = if missing.is_empty() { String::new() } else { format!("; missing: {}", some(&missing)) };
        let why = format!("it has {} images, and {} has {} labels{missing}", images.len(), truth.name(), numbers.len());
        return Err(Error::invalid(val.display(), why));
    }
    let labelled = |path: String| {
        // Uses the number in the name, not the position in the folder: one missing file and one
        // extra file would shift all labels.
        let digits = Path::new(&path).file_stem().and_then(|stem| stem.to_str()?.rsplit('_').next()?.parse().ok());
        let found = digits.and_then(|place: usize| numbers.get(place.checked_sub(1)?));
        let (line, number) = found.ok_or_else(|| {
            let why =
                format!("has no number of 1 to {} in its name, as ILSVRC2012_val_00000001.JPEG has", numbers.len());
            Error::invalid(val.join(&path).display(), why)
        })?;
        let class = number.parse().ok().and_then(|number: usize| synsets.get(&number)).cloned();
        let unknown = || truth.wrong(*line, format!("`{number}` is not the number of a class in meta.mat"));
        Ok(Labelled { path, class: class.ok_or_else(unknown)?, place: truth.place(*line) })
    };
    images.into_iter().map(labelled).collect()
}

/// Numbers and WordNet ids of the classes; higher numbers are groups of classes.
fn synsets(meta: &Mat) -> Result<BTreeMap<usize, String>> {
    let mut synsets = BTreeMap::new();
    for synset in meta.structs("synsets")? {
        let number = synset.number("ILSVRC2012_ID", 1..=usize::MAX)?;
        if synset.number("num_children", 0..=usize::MAX)? > 0 {
            continue;
        }
        let class = synset.text("WNID")?.to_string();
        if let Some((other, _)) = synsets.iter().find(|(_, known)| **known == class) {
            return Err(Error::invalid(synset.place(), format!("{class} also has the number {other}")));
        }
        if let Some(other) = synsets.insert(number, class) {
            return Err(Error::invalid(synset.place(), format!("{other} also has the number {number}")));
        }
    }
    Ok(synsets)
}

/// Kaggle's list of the validation part.
const SOLUTION: &str = "LOC_val_solution.csv";

/// `ILSVRC2012_val_00048981,n03995372 85 1 499 272 `: the number of an image, then its class before
/// each box.
fn of_kaggle(path: &Path) -> Result<Vec<Labelled>> {
    let table = Table::read(path, &[&["ImageId"], &["PredictionString"]])?;
    // The classes, one per line with its names.
    let mapping = path.with_file_name("LOC_synset_mapping.txt");
    let mapping = if stands(&mapping) { Some(List::read(&mapping)?) } else { None };
    let ids = match &mapping {
        Some(list) => list.lines.iter().map(|(_, line)| line.split(' ').next().unwrap_or(line).to_string()).collect(),
        None => names::labels(IMAGENET.name),
    };
    let mut labelled = Vec::new();
    for (line, [image, boxes]) in &table.rows {
        let wrong = |why: String| Error::invalid(place(path, *line), why);
        let fields: Vec<&str> = boxes.split_whitespace().collect();
        let (class, each) = (fields.first().copied().unwrap_or_default(), fields.chunks(5));
        if fields.is_empty() || each.clone().any(|each| each.len() != 5 || each[0] != class) {
            return Err(wrong(format!("`{boxes}` is not one class before boxes of four numbers")));
        }
        if !ids.iter().any(|id| id == class) {
            return Err(wrong(format!("`{class}` is not a WordNet id of ImageNet's classes")));
        }
        labelled.push(Labelled { path: format!("{image}.JPEG"), class: class.into(), place: place(path, *line) });
    }
    Ok(labelled)
}

fn of_table(path: &Path) -> Result<Vec<Labelled>> {
    let table = Table::read(path, &[&["image", "path"], &["label"]])?;
    let known = names::labels(IMAGENET.name);
    let mut labelled = Vec::new();
    for (line, [image, label]) in &table.rows {
        let class = match label.parse::<usize>() {
            Ok(number) => known.get(number),
            Err(_) => known.iter().find(|id| *id == label),
        };
        let Some(class) = class else {
            let last = known.len() - 1;
            let why =
                format!("label `{label}` is neither a whole number from 0 to {last} nor the WordNet id of a class");
            return Err(Error::invalid(place(path, *line), why));
        };
        labelled.push(Labelled { path: image.clone(), class: class.clone(), place: place(path, *line) });
    }
    Ok(labelled)
}

/// Two columns of a table.
struct Table {
    /// Number of the line, and the text in the columns.
    rows: Vec<(usize, [String; 2])>,
}

impl Table {
    /// Reads the two columns. Each may have one of several names.
    fn read(path: &Path, wanted: &[&[&str]; 2]) -> Result<Self> {
        let wrong = |error: csv::Error| Error::invalid(path.display(), error);
        let text = text(path)?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let columns: Vec<String> = reader.headers().map_err(wrong)?.iter().map(str::to_string).collect();
        let column = |names: &[&str]| names.iter().find_map(|name| columns.iter().position(|column| column == name));
        let [Some(first), Some(second)] = wanted.map(column) else {
            let [first, second] = wanted.map(|names| names.join("` or `"));
            let why = format!("it has no columns `{first}` and `{second}`, but {}", columns.join(", "));
            return Err(Error::invalid(path.display(), why));
        };
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(wrong)?;
            let line = record.position().map_or(0, |position| position.line() as usize);
            rows.push((line, [record[first].to_string(), record[second].to_string()]));
        }
        match rows.last() {
            Some((line, _)) if !text.ends_with(['\n', '\r']) && rows.len() != SIZE.test => Err(cut(path, *line)),
            _ => Ok(Table { rows }),
        }
    }
}
