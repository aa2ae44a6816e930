//! Caltech-101 (Fei-Fei et al. 2004). It has no official split: the train split is 30 images per
//! class, drawn from a seed, and the test split is all others, as in Kornblith et al. (2019). They
//! count the class of background images; here it is left out by default, as by torchvision.

use super::imagefolder::{class_folders, list};
use super::{About, Archive, Found, Items, Listed, Metric, Options, Size, Strays, copies, home, inner, stands};
use crate::{Error, Result, draw};
use std::path::Path;

/// 101 things.
pub(super) const CALTECH101: About = About {
    name: "caltech101",
    title: "Caltech-101: things and animals, one in the middle of each image",
    size: SIZE,
    metric: Metric::MeanPerClass,
    licence: "CC BY 4.0",
    home: "https://data.caltech.edu/records/mzrjq-6wc02",
    layout: "
DIR/caltech101/
  101_ObjectCategories/accordion/image_0001.jpg",
    archives: &[Archive {
        url: "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
        md5: "3138e1922a9193bfa496528edbbc45d0",
        into: "caltech101",
        inner: Some(("caltech-101/101_ObjectCategories.tar.gz", "caltech101")),
    }],
    by_hand: "",
    copies: copies(SIZE),
    read,
};

const SIZE: Size = Size { classes: 101, fit: 3030, test: 5647 };

const FOLDER: &str = "101_ObjectCategories";

/// Not a class: unrelated images from the web.
const BACKGROUND: &str = "BACKGROUND_Google";

/// Train images per class.
const FIT: usize = 30;

fn read(root: &Path, options: &Options) -> Result<Found> {
    let folder = match root.file_name() {
        // The folder of class folders itself.
        Some(name) if name == FOLDER && !stands(&root.join(FOLDER)) => root.into(),
        _ => inner(&home(root, &["caltech101", "caltech101/caltech-101", "caltech-101", ""], FOLDER)?, FOLDER),
    };
    let mut labels = class_folders(&folder)?;
    let published = match options.background {
        true => Size { classes: 102, fit: 3060, test: 6084 },
        false => SIZE,
    };
    labels.retain(|label| options.background || label != BACKGROUND);
    let (mut fit, mut test) = (Vec::new(), Vec::new());
    for (class, label) in labels.iter().zip(0..) {
        let count = images(&folder.join(class))?;
        let mut drawn: Vec<usize> = (1..=count).collect();
        drawn
            .sort_by_key(|image| draw::hash(options.seed, &format!("downstream/caltech101/{class}"), &[*image as u64]));
        // An incomplete class is halved.
        drawn.truncate(if count > FIT { FIT } else { count / 2 });
        for image in 1..=count {
            let part = if drawn.contains(&image) { &mut fit } else { &mut test };
            part.push(Listed { path: format!("{class}/image_{image:04}.jpg"), label, place: String::new() });
        }
    }
    let background = if options.background { "with" } else { "without" };
    let notes = vec![
        format!("the train split is {FIT} images per class, drawn from seed {}", options.seed),
        format!("{background} the class of background images"),
    ];
    let (fit, test) = (Items::files(&folder, fit)?, Items::files(&folder, test)?);
    let mut strays = Strays::find(&folder, &[&fit, &test])?;
    strays.names.retain(|name| options.background || !name.starts_with(BACKGROUND));
    let differs = strays.notes().into_iter().collect();
    Ok(Found { labels, labels_in: folder, fit, test, published, named: true, differs, notes })
}

/// Number of images of a class. They are numbered from 1 on; a missing one is found when they are
/// opened.
fn images(folder: &Path) -> Result<usize> {
    let number = |file: &String| file.strip_prefix("image_")?.strip_suffix(".jpg")?.parse::<usize>().ok();
    let numbers = list(folder)?.0.iter().filter_map(number).collect::<Vec<_>>();
    let last = numbers.iter().max().copied().unwrap_or(0);
    if last == 0 {
        return Err(Error::invalid(folder.display(), "it has no image"));
    }
    if last > 2 * numbers.len() {
        return Err(Error::invalid(folder.display(), format!("it has {} images numbered up to {last}", numbers.len())));
    }
    Ok(last)
}
