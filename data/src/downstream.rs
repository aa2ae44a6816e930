//! The downstream data sets on which an encoder is judged: CIFAR-10 to ImageNet, read in place, in
//! the folders that torchvision and the sets' authors use. [`all`] lists them, [`open`] opens one;
//! each is a file of `downstream/`.
//!
//! A set is two lists of images with labels ([`Items`]): one to fit a linear probe on, one of the
//! test split. Their order and labels are torchvision's. Opening a set decodes nothing, but finds
//! out what is missing: sizes and classes must be those published, every list must agree with its
//! folder, and no image may be there twice (`downstream/repeats.rs`).

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
    /// Its name, as [`all`] lists it.
    pub name: &'static str,
    /// Classes as the set's files write them; an item's label is an index into them.
    pub labels: Vec<String>,
    /// What prompts call each class: as published with CLIP, or by the class file.
    pub classes: Vec<String>,
    /// Prompts with `{}` where the name goes: as published with CLIP, or by the class file.
    pub templates: Vec<String>,
    /// The published measure.
    pub metric: Metric,
    /// Images to fit a linear probe on; none where a set may come without (ImageNet's validation part alone).
    pub fit: Items,
    /// Images of the test split. No image is in both.
    pub test: Items,
    /// What a reader of results must know: a choice among variants, a class left out, a part that is not there.
    pub notes: Vec<String>,
}

/// What is published for a set. Both are always measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Share of images that are classified rightly.
    Accuracy,
    /// The mean over the classes of that share.
    MeanPerClass,
}

/// How to read a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Take a set whose sizes or classes are not those published: a subset.
    pub allow_partial: bool,
    /// dtd: which of the ten partitions; 1 is the one that results are published for.
    #[schemars(range(min = 1, max = 10))]
    pub partition: u32,
    /// aircraft: what is told apart.
    pub level: Level,
    /// caltech101: keep the class `BACKGROUND_Google`, which shows nothing in particular.
    pub background: bool,
    /// caltech101: seed of the choice of 30 images a class of the train split.
    pub seed: u64,
    /// JSON file of class names and prompt templates to take in place of CLIP's; empty for CLIP's.
    pub class_file: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        let (allow_partial, background, seed, class_file) = Default::default();
        Options { allow_partial, partition: 1, level: Level::Variant, background, seed, class_file }
    }
}

/// What classes of aircraft are.
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

/// How large a set is; all 0 where its folder decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Number of classes.
    pub classes: usize,
    /// Images of the train split.
    pub fit: usize,
    /// Images of the test split.
    pub test: usize,
}

/// What there is to say about a set before it is opened.
#[derive(Debug, Serialize)]
pub struct About {
    /// Its name on the command line and in a suite.
    pub name: &'static str,
    /// Its full name, and what it shows.
    pub title: &'static str,
    /// How large it was published.
    pub size: Size,
    /// The published measure.
    pub metric: Metric,
    /// Under what terms it may be used.
    pub licence: &'static str,
    /// Where it is described.
    pub home: &'static str,
    /// How its folder must look, as a tree.
    pub layout: &'static str,
    /// Its official files; none for a set that its authors do not hand out freely.
    pub archives: &'static [Archive],
    /// How to come by it where there are no archives.
    pub by_hand: &'static str,
    /// How many exact copies it holds at most: of images of the train split, of those of the test
    /// split, and of one part in the other.
    pub copies: [usize; 3],
    #[serde(skip)]
    read: fn(&Path, &Options) -> Result<Found>,
}

/// A file to download.
#[derive(Debug, Serialize)]
pub struct Archive {
    /// Its official address.
    pub url: &'static str,
    /// Its published MD5, in hexadecimal: it tells damage, not malice.
    pub md5: &'static str,
    /// The folder, below the one that holds the set's, which it is unpacked into, or put into if it is no archive.
    pub into: &'static str,
    /// An archive inside this one that is all that is wanted of it: its name, and the folder that it is unpacked into.
    pub inner: Option<(&'static str, &'static str)>,
}

/// What a reader finds in a folder.
struct Found {
    /// Classes as the files write them.
    labels: Vec<String>,
    /// The file or folder that they are from.
    labels_in: PathBuf,
    fit: Items,
    test: Items,
    /// The size to be expected, which may depend on the options.
    published: Size,
    /// Whether CLIP's names are of these classes; otherwise the labels are.
    named: bool,
    /// How it differs from what was published, in more than its sizes: only a set that may be partial may differ.
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

/// What there is to say about one set.
pub fn about(name: &str) -> Result<&'static About> {
    let known = || all().iter().map(|about| about.name.to_string()).collect();
    let found = all().iter().find(|about| about.name == name).copied();
    found.ok_or_else(|| Error::Unknown { kind: "data set", name: name.into(), known: known() })
}

/// Opens a set: finds every image, decodes none. `root` is the folder in which the set's own folder
/// lies (what torchvision takes), or that folder itself.
///
/// # Errors
/// If a file is missing or damaged, which is named, or the set is not as large as published (unless `allow_partial`).
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
        let why = format!("{}; the option `allow_partial` takes a set that is not whole ({ALLOW})", differs.join("; "));
        return Err(Error::invalid(about.title, why));
    }
    let mut notes: Vec<String> = differs.iter().map(|how| format!("not the whole set: {how}")).collect();
    if found.labels.is_empty() || found.test.is_empty() {
        return Err(Error::invalid(root.display(), "it holds no image of the test split"));
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
        return Err(Error::invalid(about.title, repeats.told(&fit, &test).join("; ")));
    }
    notes.extend(repeats.told(&fit, &test));
    notes.extend(found.notes);
    if fit.is_empty() {
        notes.push("there are no images of the train split, and so no linear probe".to_string());
    }
    Ok(Set { name: about.name, labels, classes, templates, metric: about.metric, fit, test, notes })
}

/// How what was found differs from what was published.
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
        // Of the published parts, those have classes of one size that could.
        let even = size > 0 && size.is_multiple_of(found.published.classes);
        if items.is_empty() { None } else { uneven(items, &found.labels, what, even) }
    };
    let classes = parts.into_iter().filter_map(classes);
    sizes.into_iter().chain(classes).chain(found.differs.iter().cloned()).collect()
}

/// What is wrong with the sizes of the classes of a part: some that are empty, or, where all should
/// be `even`, not of one size.
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
        format!("its classes are not of one size: {least} images {what} of `{small}`, {most} of `{large}`")
    })
}

/// Where the option is set.
const ALLOW: &str =
    "`gauntlet data`: --allow-partial; `run` and `eval`: --set downstream.LABEL.options.allow_partial=true";

/// What an archive of photographs from the web may hold of exact copies, where nobody has published
/// a count: a hundredth of each part, and a two-hundredth of the test split in both. (Of
/// Oxford-IIIT Pets, 1.0% are copies and 0.3% are in both parts, near copies counted:
/// huggingface.co/datasets/visual-layer/vl-oxford-iiit-pets.)
const fn copies(size: Size) -> [usize; 3] {
    [size.fit / 100, size.test / 100, size.test / 200]
}

#[cfg(test)]
mod tests;
