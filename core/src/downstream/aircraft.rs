//! FGVC-Aircraft (Maji et al. 2013): pictures are numbers that keep their leading zeros, and names of classes may hold spaces and `/`.

use super::{About, Archive, Found, Items, Level, Metric, Options, Size, home, lines};
use crate::{Error, Result};
use std::path::Path;

/// 100 variants of aircraft.
pub(super) const AIRCRAFT: About = About {
    name: "aircraft",
    title: "FGVC-Aircraft, release 2013b: aircraft by variant, family or manufacturer",
    size: Size { classes: 100, fit: 6667, test: 3333 },
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
    read,
};

fn read(root: &Path, options: &Options) -> Result<Found> {
    let folder = home(root, &["fgvc-aircraft-2013b/data", "data", ""], "images_variant_test.txt")?;
    let (level, list, classes) = match options.level {
        Level::Variant => ("variant", "variants.txt", 100),
        Level::Family => ("family", "families.txt", 70),
        Level::Manufacturer => ("manufacturer", "manufacturers.txt", 30),
    };
    let labels = lines(&folder.join(list))?;
    let items = |part: &str| {
        let path = folder.join(format!("images_{level}_{part}.txt"));
        let item = |line: &String| {
            let wrong = |why: String| Error::invalid(path.display().to_string(), why);
            let (picture, class) =
                line.split_once(' ').ok_or_else(|| wrong(format!("`{line}` is not a picture and its class")))?;
            let label = labels.iter().position(|label| label == class.trim());
            let label = label.ok_or_else(|| wrong(format!("`{line}`: {list} has no `{class}`")))?;
            Ok((format!("{picture}.jpg"), label as u32))
        };
        Items::files(&folder.join("images"), lines(&path)?.iter().map(item).collect::<Result<_>>()?)
    };
    let published = Size { classes, ..AIRCRAFT.size };
    let (fit, test) = (items("trainval")?, items("test")?);
    let notes = vec![format!("classes are the {level} of the aircraft, fitted on train and val")];
    Ok(Found { labels, fit, test, published, named: options.level == Level::Variant, notes })
}
