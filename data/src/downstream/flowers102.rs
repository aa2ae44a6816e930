//! Oxford Flowers-102 (Nilsback and Zisserman 2008). The train split is train and val, the test
//! split is test, as published; the released code of RoCLIP uses the same part for both.

use super::mat::Mat;
use super::{About, Archive, Found, Items, Listed, Metric, Options, Size, Strays, copies, home, inner};
use crate::{Error, Result};
use std::path::Path;

/// 102 flowers.
pub(super) const FLOWERS102: About = About {
    name: "flowers102",
    title: "Oxford Flowers-102: flowers that grow in Britain",
    size: SIZE,
    metric: Metric::MeanPerClass,
    licence: "none stated",
    home: "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    layout: "
DIR/flowers-102/
  jpg/image_00001.jpg
  imagelabels.mat             labels: a number from 1 on for each image
  setid.mat                   trnid, valid: train split; tstid: test split",
    archives: &[
        Archive {
            url: "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz",
            md5: "52808999861908f626f3c1f4e79d11fa",
            into: "flowers-102",
            inner: None,
        },
        Archive {
            url: "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/imagelabels.mat",
            md5: "e0620be6f572b9609742df49c70aed4d",
            into: "flowers-102",
            inner: None,
        },
        Archive {
            url: "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/setid.mat",
            md5: "a5357ecc9cb78c4bef273ce3793fc85c",
            into: "flowers-102",
            inner: None,
        },
    ],
    by_hand: "",
    copies: copies(SIZE),
    read,
};

const SIZE: Size = Size { classes: 102, fit: 2040, test: 6149 };

fn read(root: &Path, _: &Options) -> Result<Found> {
    let folder = home(root, &["flowers-102", ""], "setid.mat")?;
    let labels_in = folder.join("imagelabels.mat");
    let classes = Mat::read(&labels_in)?.numbers("labels", 1..=SIZE.classes)?;
    let (images, parts) = (inner(&folder, "jpg"), Mat::read(&folder.join("setid.mat"))?);
    let fit = Items::files(&images, listed(&parts, &["trnid", "valid"], &classes)?)?;
    let test = Items::files(&images, listed(&parts, &["tstid"], &classes)?)?;
    let strays = Strays::find(&images, &[&fit, &test])?;
    // One label too many or too few shifts all labels after it. In a subset with other labels than
    // the whole set, only the folder shows how many labels there must be.
    let (listed, there) = (fit.len() + test.len(), fit.len() + test.len() + strays.names.len());
    if ![listed, there, SIZE.fit + SIZE.test].contains(&classes.len()) {
        let why = format!("it has labels of {} images, and {} has {there}", classes.len(), images.display());
        return Err(Error::invalid(labels_in.display(), why));
    }
    let differs = strays.notes().into_iter().collect();
    let last = classes.iter().max().copied().unwrap_or(0);
    let labels = (1..=last).map(|class| class.to_string()).collect();
    let notes = vec!["the train split is train and val".to_string()];
    Ok(Found { labels, labels_in, fit, test, published: SIZE, named: true, differs, notes })
}

/// The images of some parts. An image without a label in imagelabels.mat is an error.
fn listed(parts: &Mat, variables: &[&str], classes: &[usize]) -> Result<Vec<Listed>> {
    let mut items = Vec::new();
    for variable in variables {
        let has = || format!("imagelabels.mat has labels of {} images", classes.len());
        let images = parts.numbers(variable, 1..=classes.len()).map_err(|error| error.during(has()))?;
        for (image, at) in images.into_iter().zip(0..) {
            let (path, label) = (format!("image_{image:05}.jpg"), classes[image - 1] as u32 - 1);
            items.push(Listed { path, label, place: parts.place(variable, at) });
        }
    }
    Ok(items)
}
