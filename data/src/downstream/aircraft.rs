//! FGVC-Aircraft (Maji et al. 2013). Images are numbers with leading zeros; class names may contain
//! spaces and `/`.

use super::list::List;
use super::{About, Archive, Found, Items, Level, Listed, Metric, Options, Size, Strays, copies, home, inner};
use crate::Result;
use std::path::Path;

/// 100 variants of aircraft.
pub(super) const AIRCRAFT: About = About {
    name: "aircraft",
    title: "FGVC-Aircraft, release 2013b: aircraft by variant, family or manufacturer",
    size: SIZE,
    metric: Metric::MeanPerClass,
    licence: "for non-commercial research",
    home: "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    layout: "
DIR/fgvc-aircraft-2013b/
  data/images/0034309.jpg
  data/variants.txt                     a class a line; families.txt and manufacturers.txt likewise
  data/images_variant_trainval.txt      1025794 707-320; also images_family_.. and images_manufacturer_..
  data/images_variant_test.txt",
    archives: &[Archive {
        url: "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
        md5: "d4acdd33327262359767eeaa97a4f732",
        into: "",
        inner: None,
    }],
    by_hand: "",
    copies: copies(SIZE),
    read,
};

const SIZE: Size = Size { classes: 100, fit: 6667, test: 3333 };

fn read(root: &Path, options: &Options) -> Result<Found> {
    let folder = home(root, &["fgvc-aircraft-2013b/data", "data", ""], "images_variant_test.txt")?;
    let (level, list, classes) = match options.level {
        Level::Variant => ("variant", "variants.txt", 100),
        Level::Family => ("family", "families.txt", 70),
        Level::Manufacturer => ("manufacturer", "manufacturers.txt", 30),
    };
    let labels_in = folder.join(list);
    let (images, labels) = (inner(&folder, "images"), List::read(&labels_in)?.classes()?);
    let items = |part: &str| {
        let lines = List::read(&folder.join(format!("images_{level}_{part}.txt")))?;
        let mut items = Vec::new();
        for (number, line) in &lines.lines {
            let wrong = |why: String| lines.wrong(*number, why);
            let (image, class) = line
                .split_once(char::is_whitespace)
                .ok_or_else(|| wrong(format!("`{line}` is not an image and its class")))?;
            let class = class.trim();
            let label = labels.iter().position(|label| label == class);
            let label = label.ok_or_else(|| wrong(format!("`{line}`: {list} has no `{class}`")))?;
            items.push(Listed { path: format!("{image}.jpg"), label: label as u32, place: lines.place(*number) });
        }
        Items::files(&images, items)
    };
    let published = Size { classes, ..SIZE };
    let (fit, test) = (items("trainval")?, items("test")?);
    let differs = Strays::find(&images, &[&fit, &test])?.notes().into_iter().collect();
    let notes = vec![format!("classes are the {level} of the aircraft, and the train split is train and val")];
    Ok(Found { labels, fit, test, published, named: options.level == Level::Variant, differs, notes, labels_in })
}
