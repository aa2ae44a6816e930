//! The Describable Textures Dataset (Cimpoi et al. 2014): ten partitions of the same pictures into train, val and test.

use super::{About, Archive, Found, Items, Metric, Options, Size, home, lines};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// 47 textures.
pub(super) const DTD: About = About {
    name: "dtd",
    title: "Describable Textures Dataset, release 1.0.1",
    size: Size { classes: 47, fit: 3760, test: 1880 },
    metric: Metric::Accuracy,
    licence: "for research",
    home: "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    layout: "
DIR/dtd/dtd/                    or DIR/dtd/
  images/banded/banded_0002.jpg
  labels/train1.txt             banded/banded_0002.jpg, a line each; 1 to 10 are the partitions
  labels/val1.txt               fitted on, together with train
  labels/test1.txt",
    archives: &[Archive {
        url: "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
        md5: "fff73e5086ae6bdbea199a49dfb8a4c1",
        into: "dtd",
        inner: None,
    }],
    by_hand: "",
    read,
};

fn read(root: &Path, options: &Options) -> Result<Found> {
    if !(1..=10).contains(&options.partition) {
        return Err(Error::invalid("partition", format!("{} is not between 1 and 10", options.partition)));
    }
    let folder = home(root, &["dtd/dtd", "dtd", ""], "labels/test1.txt")?;
    let list = |part: &str| lines(&folder.join(format!("labels/{part}{}.txt", options.partition)));
    let (fit, test) = ([list("train")?, list("val")?].concat(), list("test")?);
    let class = |line: &String| line.split('/').next().unwrap_or_default().to_string();
    let labels: BTreeSet<String> = fit.iter().chain(&test).map(class).collect();
    let labels: Vec<String> = labels.into_iter().collect();
    let items = |list: Vec<String>| {
        let label = |line: &String| labels.binary_search(&class(line)).expect("every class is among the labels") as u32;
        Items::files(&folder.join("images"), list.into_iter().map(|line| (line.clone(), label(&line))).collect())
    };
    let notes = vec![format!("partition {} of 10, fitted on train and val", options.partition)];
    Ok(Found { fit: items(fit)?, test: items(test)?, labels, published: DTD.size, named: true, notes })
}
