//! Oxford Flowers-102 (Nilsback and Zisserman 2008). Fitted on train and val, measured on test, as published; the released code of
//! RoCLIP fits and measures on the same part.

use super::mat::Mat;
use super::{About, Archive, Found, Items, Metric, Options, Size, home};
use crate::{Error, Result};
use std::path::Path;

/// 102 flowers.
pub(super) const FLOWERS102: About = About {
    name: "flowers102",
    title: "Oxford Flowers-102: flowers that grow in Britain",
    size: Size { classes: 102, fit: 2040, test: 6149 },
    metric: Metric::MeanPerClass,
    licence: "none stated",
    home: "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    layout: "
DIR/flowers-102/
  jpg/image_00001.jpg
  imagelabels.mat             labels: a number from 1 on for each picture
  setid.mat                   trnid, valid: pictures to fit on; tstid: to measure on",
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
    read,
};

fn read(root: &Path, _: &Options) -> Result<Found> {
    let folder = home(root, &["flowers-102", ""], "setid.mat")?;
    let classes = Mat::read(&folder.join("imagelabels.mat"))?.numbers("labels")?;
    let parts = Mat::read(&folder.join("setid.mat"))?;
    let item = |picture: usize| {
        let class = picture.checked_sub(1).and_then(|at| classes.get(at)).copied().filter(|class| *class > 0);
        let class = class.ok_or_else(|| {
            Error::invalid("setid.mat", format!("imagelabels.mat has no label for picture {picture}"))
        })?;
        Ok((format!("image_{picture:05}.jpg"), class as u32 - 1))
    };
    let items = |pictures: Vec<usize>| {
        Items::files(&folder.join("jpg"), pictures.into_iter().map(item).collect::<Result<_>>()?)
    };
    let fit = items([parts.numbers("trnid")?, parts.numbers("valid")?].concat())?;
    let test = items(parts.numbers("tstid")?)?;
    let last = classes.iter().max().copied().unwrap_or(0);
    if last > classes.len() {
        return Err(Error::invalid("imagelabels.mat", format!("label {last} of {} pictures", classes.len())));
    }
    let labels = (1..=last).map(|class| class.to_string()).collect();
    let notes = vec!["fitted on train and val".to_string()];
    Ok(Found { labels, fit, test, published: FLOWERS102.size, named: true, notes })
}
