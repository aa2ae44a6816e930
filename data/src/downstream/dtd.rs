//! The Describable Textures Dataset (Cimpoi et al. 2014): ten partitions of the same images into
//! train, val and test.

use super::list::List;
use super::{About, Archive, Found, Items, Listed, Metric, Options, Size, Strays, copies, home, inner};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// 47 textures.
pub(super) const DTD: About = About {
    name: "dtd",
    title: "Describable Textures Dataset, release 1.0.1",
    size: SIZE,
    metric: Metric::Accuracy,
    licence: "for research",
    home: "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    layout: "
DIR/dtd/dtd/                    or DIR/dtd/
  images/banded/banded_0002.jpg
  labels/train1.txt             banded/banded_0002.jpg, a line each; 1 to 10 are the partitions
  labels/val1.txt               train split, together with train
  labels/test1.txt",
    archives: &[Archive {
        url: "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
        md5: "fff73e5086ae6bdbea199a49dfb8a4c1",
        into: "dtd",
        inner: None,
    }],
    by_hand: "",
    copies: copies(SIZE),
    read,
};

const SIZE: Size = Size { classes: 47, fit: 3760, test: 1880 };

fn read(root: &Path, options: &Options) -> Result<Found> {
    if !(1..=10).contains(&options.partition) {
        return Err(Error::invalid("partition", format!("{} is not between 1 and 10", options.partition)));
    }
    let folder = home(root, &["dtd/dtd", "dtd", ""], "labels/test1.txt")?;
    let images = inner(&folder, "images");
    let list = |part: &str| List::read(&folder.join(format!("labels/{part}{}.txt", options.partition)));
    let (fit, test) = ([list("train")?, list("val")?], [list("test")?]);
    let mut labels = BTreeSet::new();
    for list in fit.iter().chain(&test) {
        for (number, line) in &list.lines {
            let (class, _) =
                line.split_once('/').ok_or_else(|| list.wrong(*number, format!("`{line}` has no class")))?;
            labels.insert(class.to_string());
        }
    }
    let labels: Vec<String> = labels.into_iter().collect();
    let fit = Items::files(&images, listed(&fit, &labels))?;
    let test = Items::files(&images, listed(&test, &labels))?;
    let differs = Strays::find(&images, &[&fit, &test])?.notes().into_iter().collect();
    let notes = vec![format!("partition {} of 10, and the train split is train and val", options.partition)];
    let labels_in = folder.join("labels");
    Ok(Found { fit, test, labels, labels_in, published: SIZE, named: true, differs, notes })
}

/// The images of some lists; every class of theirs is among the labels.
fn listed(lists: &[List], labels: &[String]) -> Vec<Listed> {
    let mut items = Vec::new();
    for list in lists {
        for (number, line) in &list.lines {
            let label = labels.iter().position(|class| line.split('/').next() == Some(class));
            let label = label.expect("every class is among the labels") as u32;
            items.push(Listed { path: line.clone(), label, place: list.place(*number) });
        }
    }
    items
}
