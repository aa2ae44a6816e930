//! Food-101 (Bossard et al. 2014): lists of images in JSON; the items are in the order of the
//! lists.

use super::list::{List, some, text};
use super::{About, Archive, Found, Items, Listed, Metric, Options, Size, Strays, copies, home, inner, stands};
use crate::{Error, Result};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// 101 dishes.
pub(super) const FOOD101: About = About {
    name: "food101",
    title: "Food-101: dishes, as people photographed them",
    size: SIZE,
    metric: Metric::Accuracy,
    licence: "none for the images, which are Foodspotting's; research use",
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
    copies: copies(SIZE),
    read,
};

const SIZE: Size = Size { classes: 101, fit: 75_750, test: 25_250 };

fn read(root: &Path, _: &Options) -> Result<Found> {
    let folder = home(root, &["food-101", ""], "meta/test.json")?;
    let images = inner(&folder, "images");
    let [train_list, test_list] = ["train", "test"].map(|part| folder.join(format!("meta/{part}.json")));
    let (train, test) = (list(&train_list)?, list(&test_list)?);
    let labels: BTreeSet<String> = test.iter().chain(&train).map(|(class, _)| class.clone()).collect();
    let labels: Vec<String> = labels.into_iter().collect();
    let fit = Items::files(&images, listed(&train_list, train, &labels)?)?;
    let test = Items::files(&images, listed(&test_list, test, &labels)?)?;
    let mut differs: Vec<String> = Strays::find(&images, &[&fit, &test])?.notes().into_iter().collect();
    // Some copies lack this file.
    let classes = folder.join("meta/classes.txt");
    if stands(&classes) {
        let names = List::read(&classes)?.classes()?;
        if let Some(class) = labels.iter().find(|class| !names.contains(class)) {
            return Err(Error::invalid(classes.display(), format!("it lacks class `{class}` of the lists")));
        }
        let lost: Vec<&String> = names.iter().filter(|class| !labels.contains(class)).collect();
        if !lost.is_empty() {
            differs.push(format!("{} classes of meta/classes.txt are in no list: {}", lost.len(), some(&lost)));
        }
    }
    let labels_in = folder.join("meta");
    Ok(Found { fit, test, labels, labels_in, published: SIZE, named: true, differs, notes: Vec::new() })
}

/// The images of a list; every class of it is among the labels.
fn listed(path: &Path, list: Classes, labels: &[String]) -> Result<Vec<Listed>> {
    let mut items = Vec::new();
    for (class, images) in list {
        let label = labels.binary_search(&class).expect("every class is among the labels") as u32;
        for (image, at) in images.into_iter().zip(1..) {
            let place = format!("{}, class `{class}`, image {at}", path.display());
            if image.split('/').next() != Some(&class) {
                return Err(Error::invalid(place, format!("`{image}` is not in the folder of its class")));
            }
            items.push(Listed { path: format!("{image}.jpg"), label, place });
        }
    }
    Ok(items)
}

/// Classes and their images, in the order of the list.
type Classes = Vec<(String, Vec<String>)>;

fn list(path: &Path) -> Result<Classes> {
    let wrong = |why: String| Error::invalid(path.display(), why);
    let Pairs(pairs) = serde_json::from_str(&text(path)?).map_err(|error| wrong(error.to_string()))?;
    let mut classes = Classes::new();
    for (class, images) in pairs {
        let Some(images) =
            images.as_array().and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>())
        else {
            return Err(wrong(format!("the images of class `{class}` are not a list of names")));
        };
        if classes.iter().any(|(known, _)| *known == class) {
            return Err(wrong(format!("class `{class}` appears twice")));
        }
        classes.push((class, images.into_iter().map(str::to_string).collect()));
    }
    Ok(classes)
}

/// An object in the order of its keys, repeated keys included: serde's maps keep only the last.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                write!(f, "an object of classes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}
