//! ImageNet-1K (Russakovsky et al. 2015): class folders by WordNet id, or its validation part as one flat folder with the labels of
//! the development kit or of a `labels.csv` (CyCLIP, CleanCLIP, RoCLIP). Whatever the form, the order is that of the class folders.

use super::imagefolder::{class_folders, is_picture, list, walk};
use super::mat::Mat;
use super::{About, Found, Items, Metric, Options, Size, home, lines, names};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A thousand things and animals.
pub(super) const IMAGENET: About = About {
    name: "imagenet",
    title: "ImageNet-1K (ILSVRC 2012): things and animals",
    size: Size { classes: 1000, fit: 1_281_167, test: 50_000 },
    metric: Metric::Accuracy,
    licence: "for non-commercial research, after signing its terms",
    home: "https://image-net.org/challenges/LSVRC/2012/",
    layout: "
DIR/                            or DIR/imagenet/
  train/n01440764/n01440764_10026.JPEG                  fitted on; may be missing
  val/n01440764/ILSVRC2012_val_00000293.JPEG            or validation/; measured on
  val/ILSVRC2012_val_00000001.JPEG                      or without class folders, with
  ILSVRC2012_devkit_t12/data/meta.mat                   the development kit
  ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt
  val/labels.csv                                        or a table with the columns image (or path) and label (0 to 999, or WordNet ids)",
    archives: &[],
    by_hand: "Sign the terms at https://image-net.org/download-images, then get
  ILSVRC2012_img_train.tar        md5 1d675b47d978889d74fa0da5fadfb00e, one tar a class in it, each to be unpacked into train/ID/
  ILSVRC2012_img_val.tar          md5 29b22e2961454d5413ddabcf34fc5622, to be unpacked into val/
  ILSVRC2012_devkit_t12.tar.gz    md5 fa75699e90414af021442c21a62c3abf, to be unpacked where it is
The training part is only needed for a linear probe.",
    read,
};

/// Folders of the validation part; the first that exists is it.
const VAL: [&str; 3] = ["val", "validation", "ILSVRC2012_img_val"];

/// Path of a picture, and its class.
type Labelled = (String, String);

fn read(root: &Path, _: &Options) -> Result<Found> {
    let homes =
        VAL.iter().find_map(|val| home(root, &["imagenet", ""], val).ok().map(|folder| (folder.join(val), folder)));
    let (val, folder) = homes.ok_or_else(|| {
        Error::invalid("this folder", "there is no folder `val`, `validation` or `ILSVRC2012_img_val` in it")
    })?;
    let (labels, test) = validation(&folder, &val)?;
    let train = folder.join("train");
    let fit = match train.is_dir() {
        true => {
            if class_folders(&train)? != labels {
                let why = format!("its class folders are not the classes of {}", val.display());
                return Err(Error::invalid(train.display().to_string(), why));
            }
            Items::files(&train, walk(&train, &labels)?)?
        }
        false => Items::files(&folder, Vec::new())?,
    };
    let published = Size { fit: if train.is_dir() { IMAGENET.size.fit } else { 0 }, ..IMAGENET.size };
    Ok(Found { labels, fit, test, published, named: true, notes: Vec::new() })
}

/// Classes and pictures of the validation part.
fn validation(folder: &Path, val: &Path) -> Result<(Vec<String>, Items)> {
    let (files, folders) = list(val)?;
    let kits = ["ILSVRC2012_devkit_t12/data", "devkit/data"].map(|kit| folder.join(kit));
    let labelled = if files.iter().any(|file| file == "labels.csv") {
        of_table(&val.join("labels.csv"))?
    } else if !folders.is_empty() && !files.iter().any(|file| is_picture(file)) {
        let labels = class_folders(val)?;
        let items = Items::files(val, walk(val, &labels)?)?;
        return Ok((labels, items));
    } else if let Some(kit) = kits.iter().find(|kit| kit.is_dir()) {
        of_kit(kit, val, files)?
    } else {
        let why = format!("it has no class folders, and there is neither labels.csv in it nor {}", kits[0].display());
        return Err(Error::invalid(val.display().to_string(), why));
    };
    let labels: BTreeSet<&String> = labelled.iter().map(|(_, class)| class).collect();
    let labels: Vec<String> = labels.into_iter().cloned().collect();
    let mut items: Vec<(u32, String)> = Vec::new();
    for (picture, class) in labelled {
        let label = labels.binary_search(&class).expect("every class is among the labels") as u32;
        items.push((label, picture));
    }
    items.sort();
    let items = Items::files(val, items.into_iter().map(|(label, picture)| (picture, label)).collect())?;
    Ok((labels, items))
}

/// The development kit numbers classes in an order of its own, and pictures by their names.
fn of_kit(kit: &Path, val: &Path, files: Vec<String>) -> Result<Vec<Labelled>> {
    let truth: PathBuf = kit.join("ILSVRC2012_validation_ground_truth.txt");
    let synsets = Mat::read(&kit.join("meta.mat"))?.numbers_and_texts("synsets", "ILSVRC2012_ID", "WNID")?;
    let synsets: BTreeMap<usize, String> = synsets.into_iter().collect();
    let numbers = lines(&truth)?;
    let pictures: Vec<String> = files.into_iter().filter(|file| is_picture(file)).collect();
    if numbers.len() != pictures.len() {
        let why = format!("it has {} pictures, and {} has {} labels", pictures.len(), truth.display(), numbers.len());
        return Err(Error::invalid(val.display().to_string(), why));
    }
    let class = |number: &String| number.parse().ok().and_then(|number| synsets.get(&number)).cloned();
    let unknown =
        |number: &String| Error::invalid(truth.display().to_string(), format!("meta.mat has no class `{number}`"));
    let labelled = |picture: String| {
        // By the number in the name, not by the place in the folder: one file too few and another too many would shift all labels.
        let digits = Path::new(&picture).file_stem().and_then(|stem| stem.to_str()?.rsplit('_').next()?.parse().ok());
        let number = digits.and_then(|place: usize| numbers.get(place.checked_sub(1)?)).ok_or_else(|| {
            let why =
                format!("has no number of 1 to {} in its name, as ILSVRC2012_val_00000001.JPEG has", numbers.len());
            Error::invalid(val.join(&picture).display().to_string(), why)
        })?;
        Ok((picture, class(number).ok_or_else(|| unknown(number))?))
    };
    pictures.into_iter().map(labelled).collect()
}

fn of_table(path: &Path) -> Result<Vec<Labelled>> {
    let wrong = |why: String| Error::invalid(path.display().to_string(), why);
    let mut reader = csv::Reader::from_path(path).map_err(|error| wrong(error.to_string()))?;
    let columns: Vec<String> =
        reader.headers().map_err(|error| wrong(error.to_string()))?.iter().map(str::to_string).collect();
    let column = |name: &str| columns.iter().position(|column| column == name);
    let (Some(image), Some(label)) = (column("image").or(column("path")), column("label")) else {
        return Err(wrong(format!("it has no columns `image` (or `path`) and `label`, but {}", columns.join(", "))));
    };
    let known = names::labels(IMAGENET.name);
    let mut labelled = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| wrong(error.to_string()))?;
        let (picture, label) = (record[image].to_string(), &record[label]);
        let class = match label.parse::<usize>() {
            Ok(number) => known.get(number).cloned(),
            Err(_) => Some(label.to_string()),
        };
        labelled.push((picture, class.ok_or_else(|| wrong(format!("label {label} of {} classes", known.len())))?));
    }
    Ok(labelled)
}
