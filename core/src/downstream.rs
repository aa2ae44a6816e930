//! The downstream data sets on which an encoder is judged: CIFAR-10 to ImageNet, read in place, in the folders that torchvision
//! and the sets' authors use. [`all`] lists them, [`open`] opens one; each is a file of `downstream/`.
//!
//! A set is two lists of pictures with labels ([`Items`]): one to fit a linear probe on, one to measure on. Their order and labels
//! are torchvision's. Opening a set decodes nothing, but finds out what is missing: sizes and classes must be those published.

mod aircraft;
mod caltech101;
mod cars;
mod cifar;
mod distinct;
mod dtd;
mod flowers102;
mod food101;
mod imagefolder;
mod imagenet;
mod items;
mod mat;
mod names;
mod pets;
mod pickle;

pub use items::Items;

use crate::{Error, Result};
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
    /// Pictures to fit a linear probe on; none where a set may come without (ImageNet's validation part alone).
    pub fit: Items,
    /// Pictures to measure on. No picture is in both.
    pub test: Items,
    /// What a reader of results must know: a choice among variants, a class left out, a part that is not there.
    pub notes: Vec<String>,
}

/// What is published for a set. Both are always measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Share of pictures that are classified rightly.
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
    /// caltech101: seed of the choice of 30 pictures a class to fit on.
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
    /// Pictures to fit on.
    pub fit: usize,
    /// Pictures to measure on.
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
    fit: Items,
    test: Items,
    /// The size to be expected, which may depend on the options.
    published: Size,
    /// Whether CLIP's names are of these classes; otherwise the labels are.
    named: bool,
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

/// Opens a set: finds every picture, decodes none. `root` is the folder in which the set's own folder lies (what torchvision
/// takes), or that folder itself.
///
/// # Errors
/// If a file is missing or damaged, which is named, or the set is not as large as published (unless `allow_partial`).
pub fn open(name: &str, root: &Path, options: &Options) -> Result<Set> {
    let about = about(name)?;
    if !root.exists() {
        return Err(Error::invalid(format!("{name} in {}", root.display()), "there is no such folder"));
    }
    let opened = (about.read)(root, options).and_then(|found| set(about, found, options));
    opened.map_err(|error| error.during(format!("{name} in {}", root.display())))
}

fn set(about: &About, found: Found, options: &Options) -> Result<Set> {
    let mut notes = match differs(&found) {
        Some(how) if options.allow_partial => vec![format!("not the whole set: it has {how}")],
        Some(how) => {
            let why = format!("it has {how}; the option `allow_partial` takes a set that is not whole ({ALLOW})");
            return Err(Error::invalid(about.title, why));
        }
        None => Vec::new(),
    };
    if found.labels.is_empty() || found.test.is_empty() {
        return Err(Error::invalid("this folder", "it holds no picture to measure on"));
    }
    if let Some(picture) = found.fit.shared(&found.test) {
        return Err(Error::invalid(format!("picture {picture}"), "it is to be fitted on and to be measured on"));
    }
    let (classes, templates) = names::names(about.name, &found.labels, found.named, &options.class_file)?;
    let Found { labels, fit, test, .. } = found;
    notes.extend(found.notes);
    if fit.is_empty() {
        notes.push("there are no pictures to fit on, and so no linear probe".to_string());
    }
    Ok(Set { name: about.name, labels, classes, templates, metric: about.metric, fit, test, notes })
}

/// How the sizes that were found differ from those published.
fn differs(found: &Found) -> Option<String> {
    let sizes = [
        ("classes", found.labels.len(), found.published.classes),
        ("pictures to fit on", found.fit.len(), found.published.fit),
        ("pictures to measure on", found.test.len(), found.published.test),
    ];
    let wrong = sizes.iter().filter(|(_, found, published)| found != published && *published > 0);
    let wrong: Vec<String> = wrong.map(|(what, found, published)| format!("{found} of {published} {what}")).collect();
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

/// Where the option is set.
const ALLOW: &str =
    "`gauntlet data`: --allow-partial; `run` and `eval`: --set downstream.LABEL.options.allow_partial=true";

/// The set's own folder: the first of `folders` below `root` (the empty one is `root` itself) in which `mark` exists.
fn home(root: &Path, folders: &[&str], mark: &str) -> Result<PathBuf> {
    let found = folders.iter().map(|folder| root.join(folder)).find(|folder| folder.join(mark).exists());
    found.ok_or_else(|| {
        let places: Vec<String> =
            folders.iter().map(|folder| root.join(folder).join(mark).display().to_string()).collect();
        Error::invalid("this folder", format!("it does not hold the set: there is no {}", places.join(", and no ")))
    })
}

/// The lines of a list, without white space around them; empty ones are none.
fn lines(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_string).collect())
}

#[cfg(test)]
mod tests;
