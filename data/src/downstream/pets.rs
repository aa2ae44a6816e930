//! Oxford-IIIT Pets (Parkhi et al. 2012). Some of its `.jpg` are GIF or PNG files; the first bytes
//! of a file decide.

use super::list::{List, number};
use super::{About, Archive, Found, Items, Listed, Metric, Options, Size, Strays, copies, home, inner};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// 37 breeds.
pub(super) const PETS: About = About {
    name: "pets",
    title: "Oxford-IIIT Pets: breeds of cats and dogs",
    size: SIZE,
    metric: Metric::MeanPerClass,
    licence: "CC BY-SA 4.0",
    home: "https://www.robots.ox.ac.uk/~vgg/data/pets/",
    layout: "
DIR/oxford-iiit-pet/
  images/Abyssinian_1.jpg
  annotations/trainval.txt      Abyssinian_100 1 1 1: image, class from 1 on, species, breed
  annotations/test.txt",
    archives: &[
        Archive {
            url: "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
            md5: "5c4f3ee8e5d25df40f4fd59a7f44e54c",
            into: "oxford-iiit-pet",
            inner: None,
        },
        Archive {
            url: "https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
            md5: "95a8c909bbe2e81eed6a22bccdf3f68f",
            into: "oxford-iiit-pet",
            inner: None,
        },
    ],
    by_hand: "",
    copies: copies(SIZE),
    read,
};

const SIZE: Size = Size { classes: 37, fit: 3680, test: 3669 };

/// Published images that no list names: images.tar.gz holds 7390, the lists 7349.
const STRAYS: usize = 41;

fn read(root: &Path, _: &Options) -> Result<Found> {
    let folder = ["annotations/test.txt", "annotations/annotations/test.txt"];
    let folder = folder
        .iter()
        .find_map(|mark| home(root, &HOMES, mark).ok())
        .map_or_else(|| home(root, &HOMES, folder[0]), Ok)?;
    let (images, annotations) = (inner(&folder, "images"), inner(&folder, "annotations"));
    let mut classes: BTreeMap<u32, String> = BTreeMap::new();
    let fit = Items::files(&images, pets(&annotations.join("trainval.txt"), &mut classes)?)?;
    let test = Items::files(&images, pets(&annotations.join("test.txt"), &mut classes)?)?;
    if let Some((label, number)) = classes.keys().zip(0..).find(|(label, number)| *label != number) {
        let why = format!("class {} has images, class {} none", label + 1, number + 1);
        return Err(Error::invalid(annotations.display(), why));
    }
    let (labels, strays) = (classes.into_values().collect(), Strays::find(&images, &[&fit, &test])?);
    let mut notes = vec!["the train split is train and val".to_string()];
    let (more, as_published) = (strays.names.len() > STRAYS, strays.notes());
    let differs = as_published.clone().into_iter().filter(|_| more).collect();
    notes.extend(as_published.filter(|_| !more));
    Ok(Found { labels, labels_in: annotations, fit, test, published: SIZE, named: true, differs, notes })
}

/// The images of a list. Their classes are added to the known ones by number.
fn pets(list: &Path, classes: &mut BTreeMap<u32, String>) -> Result<Vec<Listed>> {
    let list = List::read(list)?;
    let mut items = Vec::new();
    for (number, line) in &list.lines {
        let wrong = |why: String| list.wrong(*number, format!("`{line}`{why}"));
        let (image, class, label) = pet(line).map_err(wrong)?;
        let known = classes.entry(label).or_insert_with(|| class.to_string());
        if known != class {
            return Err(wrong(format!(": class {} is also called `{known}`", label + 1)));
        }
        if let Some((other, _)) = classes.iter().find(|(other, known)| **other != label && *known == class) {
            return Err(wrong(format!(": class `{class}` also has the number {}", other + 1)));
        }
        items.push(Listed { path: format!("{image}.jpg"), label, place: list.place(*number) });
    }
    Ok(items)
}

/// Image, name of its class, label; the error continues the quoted line.
fn pet(line: &str) -> Result<(&str, &str, u32), String> {
    let mut fields = line.split_whitespace();
    let (Some(image), Some(label)) = (fields.next(), fields.next()) else {
        return Err(" is not an image and its class".into());
    };
    let (class, _) = image.rsplit_once('_').ok_or(" is not an image that is named after its class")?;
    let label = number(label, 1, SIZE.classes).map_err(|why| format!(": {why}"))?;
    Ok((image, class, label as u32 - 1))
}

const HOMES: [&str; 2] = ["oxford-iiit-pet", ""];
