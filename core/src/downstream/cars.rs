//! Stanford Cars (Krause et al. 2013), from the MATLAB files of its development kit, or from the CSV files in which it goes round
//! since its own address is gone.

use super::mat::Mat;
use super::{About, Found, Items, Metric, Options, Size, home};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// 196 cars.
pub(super) const CARS: About = About {
    name: "cars",
    title: "Stanford Cars: cars by make, model and year",
    size: Size { classes: 196, fit: 8144, test: 8041 },
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
DIR/                                    or the CSV form
  names.csv                             a class a line
  anno_train.csv, anno_test.csv         00001.jpg,39,116,569,375,14: picture, box, class from 1 on
  car_data/car_data/train/CLASS/00001.jpg       a `/` in a class is `-` in its folder; or cars_train/ and cars_test/ as above",
    archives: &[],
    by_hand: "Its address is gone. Take the pictures and the development kit from someone who has them: the files named below, of which
cars_train.tgz, cars_test.tgz, car_devkit.tgz and cars_test_annos_withlabels.mat were handed out; or a copy in the CSV form.",
    read,
};

/// Pictures with the numbers of their classes, from 1 on.
type List = Vec<(usize, String)>;

fn read(root: &Path, _: &Options) -> Result<Found> {
    match home(root, &["stanford_cars", ""], "devkit/cars_meta.mat") {
        Ok(folder) => from_devkit(&folder),
        Err(error) => match home(root, &["stanford_cars", ""], "names.csv") {
            Ok(folder) => from_csv(&folder),
            Err(_) => Err(error.during("nor is there a names.csv")),
        },
    }
}

fn from_devkit(folder: &Path) -> Result<Found> {
    let labels = Mat::read(&folder.join("devkit/cars_meta.mat"))?.texts("class_names")?;
    let test =
        ["cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"].map(|path| folder.join(path));
    let test = test.iter().find(|path| path.exists()).unwrap_or(&test[0]);
    let list = |path: &Path| Mat::read(path)?.numbers_and_texts("annotations", "class", "fname");
    let fit = items(folder, "train", list(&folder.join("devkit/cars_train_annos.mat"))?, &labels)?;
    found(fit, items(folder, "test", list(test)?, &labels)?, labels)
}

fn from_csv(folder: &Path) -> Result<Found> {
    let labels = records(&folder.join("names.csv"))?.into_iter().map(|fields| fields.join(",")).collect::<Vec<_>>();
    let list = |part: &str| -> Result<List> {
        let path = folder.join(format!("anno_{part}.csv"));
        let wrong = |fields: &[String]| {
            Error::invalid(
                path.display().to_string(),
                format!("`{}` is not a picture, its box and its class", fields.join(",")),
            )
        };
        let item = |fields: &Vec<String>| match &fields[..] {
            [picture, .., class] => Ok((class.parse().map_err(|_| wrong(fields))?, picture.clone())),
            _ => Err(wrong(fields)),
        };
        let records = records(&path)?;
        // Some copies have a line of column names.
        let header =
            usize::from(records.first().is_some_and(|first| first.iter().all(|field| field.parse::<f64>().is_err())));
        records[header..].iter().map(item).collect()
    };
    let fit = items(folder, "train", list("train")?, &labels)?;
    found(fit, items(folder, "test", list("test")?, &labels)?, labels)
}

fn found(fit: Items, test: Items, labels: Vec<String>) -> Result<Found> {
    Ok(Found { labels, fit, test, published: CARS.size, named: true, notes: Vec::new() })
}

fn items(folder: &Path, part: &str, list: List, labels: &[String]) -> Result<Items> {
    let flat = folder.join(format!("cars_{part}"));
    let by_class = [format!("car_data/car_data/{part}"), format!("car_data/{part}")].map(|path| folder.join(path));
    let by_class: Option<PathBuf> = by_class.into_iter().find(|path| !flat.is_dir() && path.is_dir());
    let item = |(class, picture): (usize, String)| {
        let label = class.checked_sub(1).filter(|label| *label < labels.len());
        let label = label.ok_or_else(|| {
            Error::invalid(format!("{part} picture {picture}"), format!("class {class} of {}", labels.len()))
        })?;
        let class_folder = labels[label].replace('/', "-");
        let path = if by_class.is_some() { format!("{class_folder}/{picture}") } else { picture };
        Ok((path, label as u32))
    };
    let items = list.into_iter().map(item).collect::<Result<_>>()?;
    Items::files(by_class.as_ref().unwrap_or(&flat), items)
}

fn records(path: &Path) -> Result<Vec<Vec<String>>> {
    let wrong = |error: csv::Error| Error::invalid(path.display().to_string(), error.to_string());
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(wrong)?;
    let records = reader.records().map(|record| Ok(record.map_err(wrong)?.iter().map(str::to_string).collect()));
    records.collect()
}
