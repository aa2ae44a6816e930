//! Food-101 (Bossard et al. 2014): lists of pictures in JSON, in the order of which the items are.

use super::{About, Archive, Found, Items, Metric, Options, Size, home};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// 101 dishes.
pub(super) const FOOD101: About = About {
    name: "food101",
    title: "Food-101: dishes, as people photographed them",
    size: Size { classes: 101, fit: 75_750, test: 25_250 },
    metric: Metric::Accuracy,
    licence: "none for the pictures, which are Foodspotting's; research use",
    home: "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    layout: "
DIR/food-101/
  images/apple_pie/1005649.jpg
  meta/train.json               {\"apple_pie\": [\"apple_pie/1005649\", ..], ..}
  meta/test.json",
    archives: &[Archive {
        url: "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
        md5: "85eeb15f3717b99a5da872d97d918f87",
        into: "",
        inner: None,
    }],
    by_hand: "",
    read,
};

fn read(root: &Path, _: &Options) -> Result<Found> {
    let folder = home(root, &["food-101", ""], "meta/test.json")?;
    let [train_list, test_list] = ["train", "test"].map(|part| folder.join(format!("meta/{part}.json")));
    let (train, test) = (list(&train_list)?, list(&test_list)?);
    let labels: BTreeSet<String> = test.keys().chain(train.keys()).cloned().collect();
    let labels: Vec<String> = labels.into_iter().collect();
    let items = |path: &Path, list: Map<String, Value>| {
        let mut items = Vec::new();
        for (class, pictures) in &list {
            let label = labels.binary_search(class).expect("every class is among the labels") as u32;
            let pictures = pictures
                .as_array()
                .and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>())
                .ok_or_else(|| {
                    let why = format!("the pictures of class `{class}` are no list of names");
                    Error::invalid(path.display().to_string(), why)
                })?;
            items.extend(pictures.iter().map(|picture| (format!("{picture}.jpg"), label)));
        }
        Items::files(&folder.join("images"), items)
    };
    Ok(Found {
        fit: items(&train_list, train)?,
        test: items(&test_list, test)?,
        labels,
        published: FOOD101.size,
        named: true,
        notes: Vec::new(),
    })
}

fn list(path: &Path) -> Result<Map<String, Value>> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(|error| Error::invalid(path.display().to_string(), error.to_string()))
}
