//! The downstream data sets that evaluate an encoder: CIFAR-10 to ImageNet, read in place, in the
//! folder layouts of torchvision and of the sets' authors. [`all`] lists them, [`open`] opens one;
//! each has a file in `downstream/`.
//!
//! A set is two lists of images with labels ([`Items`]): the train split, for linear probes, and
//! the test split. Their order and labels are torchvision's. Opening a set decodes nothing, but
//! reports what is missing: sizes and classes must be the published ones, every list must agree
//! with its folder, and no image may be in the set twice (`downstream/repeats.rs`).

mod aircraft;
mod caltech101;
mod cars;
mod cifar;
mod distinct;
mod dtd;
mod flowers102;
mod folders;
mod food101;
mod imagefolder;
mod imagenet;
mod items;
mod list;
mod mat;
mod names;
mod pets;
mod pickle;
mod repeats;

pub use items::{Identity, Items};
pub use names::vocabulary;
pub use repeats::Repeats;

use crate::{Error, Result};
use folders::{Strays, home, inner, stands};
use items::Listed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A downstream data set, opened.
#[derive(Debug)]
pub struct Set {
    /// Its name, as in [`all`].
    pub name: &'static str,
    /// Classes as written in the set's files; an item's label is an index into them.
    pub labels: Vec<String>,
    /// The name of each class in prompts: as published with CLIP, or from the class file.
    pub classes: Vec<String>,
    /// Prompts, with `{}` in the place of the name: as published with CLIP, or from the class file.
    pub templates: Vec<String>,
    /// The published metric.
    pub metric: Metric,
    /// Images of the train split; none if a set may come without them (ImageNet's validation part
    /// alone).
    pub fit: Items,
    /// Images of the test split. No image is in both splits.
    pub test: Items,
    /// Notes for a reader of the results: a choice among variants, an omitted class, a missing
    /// part.
    pub notes: Vec<String>,
}

/// The published metric of a set. Both are always computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Share of images that are classified correctly.
    Accuracy,
    /// The mean of that share over the classes.
    MeanPerClass,
}

/// Options of the reader of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Accept a subset: a set whose sizes or classes are not the published ones.
    pub allow_partial: bool,
    /// dtd: one of the ten partitions. Published results use 1.
    #[schemars(range(min = 1, max = 10))]
    pub partition: u32,
    /// aircraft: the level of the classes.
    pub level: Level,
    /// caltech101: keep the class `BACKGROUND_Google`, which holds unrelated images.
    pub background: bool,
    /// caltech101: seed for the choice of 30 train images per class.
    pub seed: u64,
    /// JSON file of class names and prompt templates that replaces CLIP's; empty for CLIP's.
    pub class_file: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        let (allow_partial, background, seed, class_file) = Default::default();
        Options { allow_partial, partition: 1, level: Level::Variant, background, seed, class_file }
    }
}

/// The level of the aircraft classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Such as "737-700": 100 classes, the published ones.
    Variant,
    /// Such as "Boeing 737": 70 classes.
    Family,
    /// Such as "Boeing": 30 classes.
    Manufacturer,
}

/// Size of a set; all 0 if its folder decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Number of classes.
    pub classes: usize,
    /// Images of the train split.
    pub fit: usize,
    /// Images of the test split.
    pub test: usize,
}

/// The description of a set.
#[derive(Debug, Serialize)]
pub struct About {
    /// Its name on the command line and in a suite.
    pub name: &'static str,
    /// Its full name, and its subject.
    pub title: &'static str,
    /// Its published size.
    pub size: Size,
    /// The published metric.
    pub metric: Metric,
    /// Its terms of use.
    pub licence: &'static str,
    /// Its home page.
    pub home: &'static str,
    /// The layout of its folder, as a tree.
    pub layout: &'static str,
    /// Its official files; empty for a set that its authors do not distribute freely.
    pub archives: &'static [Archive],
    /// How to get it if there are no archives.
    pub by_hand: &'static str,
    /// Maximum number of exact copies in it: within the train split, within the test split, and
    /// between the two.
    pub copies: [usize; 3],
    #[serde(skip)]
    read: fn(&Path, &Options) -> Result<Found>,
}

/// A file to download.
#[derive(Debug, Serialize)]
pub struct Archive {
    /// Its official address.
    pub url: &'static str,
    /// Its published MD5, in hexadecimal: it detects damage, not malice.
    pub md5: &'static str,
    /// The target folder, relative to the folder above the set's own. An archive is unpacked into
    /// it; any other file is placed in it.
    pub into: &'static str,
    /// An archive inside this one that is the only part needed: its name, and its target folder.
    pub inner: Option<(&'static str, &'static str)>,
}

/// The result of reading a folder.
struct Found {
    /// Classes as written in the files.
    labels: Vec<String>,
    /// Their file or folder.
    labels_in: PathBuf,
    fit: Items,
    test: Items,
    /// The expected size, which may depend on the options.
    published: Size,
    /// Whether CLIP's names are for these classes; otherwise the labels serve as names.
    named: bool,
    /// Differences from the published set other than its sizes: an error unless a partial set is
    /// allowed.
    differs: Vec<String>,
    notes: Vec<String>,
}

/// Every set: the ten of Kornblith et al. (2019), and any other in class folders.
pub fn all() -> &'static [&'static About] {
    &[
        &cifar::CIFAR10,
        &cifar::CIFAR100,
        &food101::FOOD101,
        &dtd::DTD,
        &aircraft::AIRCRAFT,
        &flowers102::FLOWERS102,
        &caltech101::CALTECH101,
        &pets::PETS,
        &cars::CARS,
        &imagenet::IMAGENET,
        &imagefolder::IMAGEFOLDER,
    ]
}

/// The description of one set.
pub fn about(name: &str) -> Result<&'static About> {
    let known = || all().iter().map(|about| about.name.to_string()).collect();
    let found = all().iter().find(|about| about.name == name).copied();
    found.ok_or_else(|| Error::Unknown { kind: "data set", name: name.into(), known: known() })
}

/// Opens a set: finds every image, decodes none. `root` is the folder that contains the set's own
/// folder (torchvision's `root`), or that folder itself.
///
/// # Errors
/// Names a file that is missing or damaged. Also if the set does not have its published size
/// (unless `allow_partial`).
pub fn open(name: &str, root: &Path, options: &Options) -> Result<Set> {
    let about = about(name)?;
    if !root.exists() {
        return Err(Error::invalid(format!("{name} in {}", root.display()), "there is no such folder"));
    }
    let opened = (about.read)(root, options).and_then(|found| set(about, root, found, options));
    opened.map_err(|error| error.during(format!("{name} in {}", root.display())))
}

fn set(about: &About, root: &Path, found: Found, options: &Options) -> Result<Set> {
    let differs = differs(&found);
    if !differs.is_empty() && !options.allow_partial {
        let why = format!("{}; the option `allow_partial` accepts an incomplete set ({ALLOW})", differs.join("; "));
        return Err(Error::invalid(about.title, why));
    }
    let mut notes: Vec<String> = differs.iter().map(|how| format!("not the whole set: {how}")).collect();
    if found.labels.is_empty() || found.test.is_empty() {
        return Err(Error::invalid(root.display(), "it has no image of the test split"));
    }
    if let Some((fit, test)) = found.fit.shared(&found.test) {
        let (name, fit, test) = (found.fit.name(fit), found.fit.place(fit), found.test.place(test));
        let why = format!("it is in the train split and in the test split: {fit} and {test}");
        return Err(Error::invalid(format!("image {name}"), why));
    }
    let from = || format!("the classes of {}", found.labels_in.display());
    let (classes, templates) = names::names(about.name, &found.labels, found.named, &options.class_file)
        .map_err(|error| error.during(from()))?;
    names::shared(about.name, &found.labels, &classes, &options.class_file).map_err(|error| error.during(from()))?;
    let Found { labels, mut fit, mut test, .. } = found;
    let (of_fit, of_test) = (std::mem::take(&mut fit.identities), std::mem::take(&mut test.identities));
    let repeats = Repeats::among(about, &of_fit, &of_test);
    if repeats.too_many() {
        return Err(Error::invalid(about.title, repeats.notes(&fit, &test).join("; ")));
    }
    notes.extend(repeats.notes(&fit, &test));
    notes.extend(found.notes);
    if fit.is_empty() {
        notes.push("there are no images of the train split, and so no linear probe".to_string());
    }
    Ok(Set { name: about.name, labels, classes, templates, metric: about.metric, fit, test, notes })
}

/// How the set differs from the published one.
fn differs(found: &Found) -> Vec<String> {
    let sizes = [
        ("classes", found.labels.len(), found.published.classes),
        ("images of the train split", found.fit.len(), found.published.fit),
        ("images of the test split", found.test.len(), found.published.test),
    ];
    let wrong = sizes.iter().filter(|(_, found, published)| found != published && *published > 0);
    let wrong: Vec<String> = wrong.map(|(what, found, published)| format!("{found} of {published} {what}")).collect();
    let sizes = (!wrong.is_empty()).then(|| format!("it has {}", wrong.join(", ")));
    let parts = [
        (&found.fit, "of the train split", found.published.fit),
        (&found.test, "of the test split", found.published.test),
    ];
    let classes = |(items, what, size): (&Items, &str, usize)| {
        // These are the published parts whose classes can all have the same size.
        let even = size > 0 && size.is_multiple_of(found.published.classes);
        if items.is_empty() { None } else { uneven(items, &found.labels, what, even) }
    };
    let classes = parts.into_iter().filter_map(classes);
    sizes.into_iter().chain(classes).chain(found.differs.iter().cloned()).collect()
}

/// Describes wrong class sizes of a part: empty classes or, if `even`, classes of different sizes.
fn uneven(items: &Items, labels: &[String], what: &str, even: bool) -> Option<String> {
    let mut counts = vec![0usize; labels.len()];
    items.labels().iter().for_each(|label| counts[*label as usize] += 1);
    let lost: Vec<&String> =
        labels.iter().zip(&counts).filter(|(_, count)| **count == 0).map(|(class, _)| class).collect();
    if !lost.is_empty() {
        return Some(format!("{} classes have no image {what}: {}", lost.len(), list::some(&lost)));
    }
    let (least, most) = (counts.iter().zip(labels).min()?, counts.iter().zip(labels).max()?);
    (even && least.0 < most.0).then(|| {
        let ((least, small), (most, large)) = (least, most);
        format!("its classes differ in size: {least} images {what} of `{small}`, {most} of `{large}`")
    })
}

/// How to set the option.
const ALLOW: &str =
    "`gauntlet data`: --allow-partial; `run` and `eval`: --set downstream.LABEL.options.allow_partial=true";

/// Maximum number of exact copies in a collection of photographs from the web, if no count is
/// published: a hundredth of each part, and a two-hundredth of the test split in both. (In
/// Oxford-IIIT Pets, 1.0% are copies and 0.3% are in both parts, near copies counted:
/// huggingface.co/datasets/visual-layer/vl-oxford-iiit-pets.)
const fn copies(size: Size) -> [usize; 3] {
    [size.fit / 100, size.test / 100, size.test / 200]
}

#[cfg(test)]
mod tests;
