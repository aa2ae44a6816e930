//! Oxford-IIIT Pets (Parkhi et al. 2012). Some of its `.jpg` are GIF or PNG files, which is seen by their first bytes.

use super::{About, Archive, Found, Items, Metric, Options, Size, home, lines};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// 37 breeds.
pub(super) const PETS: About = About {
    name: "pets",
    title: "Oxford-IIIT Pets: breeds of cats and dogs",
    size: Size { classes: 37, fit: 3680, test: 3669 },
    metric: Metric::MeanPerClass,
    licence: "CC BY-SA 4.0",
    home: "https://www.robots.ox.ac.uk/~vgg/data/pets/",
    layout: "
DIR/oxford-iiit-pet/
  images/Abyssinian_1.jpg
  annotations/trainval.txt      Abyssinian_100 1 1 1: picture, class from 1 on, species, breed
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
    read,
};

fn read(root: &Path, _: &Options) -> Result<Found> {
    let folder = home(root, &["oxford-iiit-pet", ""], "annotations/test.txt")?;
    let mut classes = BTreeMap::new();
    let mut items = |part: &str| {
        let path = folder.join(format!("annotations/{part}.txt"));
        let mut items = Vec::new();
        for line in lines(&path)? {
            let (picture, class, label) = pet(&line).ok_or_else(|| {
                Error::invalid(path.display().to_string(), format!("`{line}` is not a picture and its class"))
            })?;
            let known = classes.entry(label).or_insert_with(|| class.to_string());
            if known != class {
                let why = format!("`{line}`: class {} is also called `{known}`", label + 1);
                return Err(Error::invalid(path.display().to_string(), why));
            }
            items.push((format!("{picture}.jpg"), label));
        }
        Items::files(&folder.join("images"), items)
    };
    let (fit, test) = (items("trainval")?, items("test")?);
    if let Some((label, number)) = classes.keys().zip(0..).find(|(label, number)| *label != number) {
        return Err(Error::invalid(
            "annotations",
            format!("class {} has pictures, class {} none", label + 1, number + 1),
        ));
    }
    let labels = classes.into_values().collect();
    Ok(Found {
        labels,
        fit,
        test,
        published: PETS.size,
        named: true,
        notes: vec!["fitted on train and val".to_string()],
    })
}

/// Picture, name of its class, label.
fn pet(line: &str) -> Option<(&str, &str, u32)> {
    let mut fields = line.split_whitespace();
    let (picture, label) = (fields.next()?, fields.next()?.parse::<u32>().ok()?);
    Some((picture, picture.rsplit_once('_')?.0, label.checked_sub(1)?))
}
