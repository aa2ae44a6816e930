//! `gauntlet data`: the downstream data sets. The crate data's `downstream.rs` defines and reads
//! them; here they are listed, fetched (`data/fetch.rs`, `data/unpack.rs`), checked image by image
//! and shown (`data/sheet.rs`).

mod fetch;
mod sheet;
mod unpack;
mod world;

use crate::bars::Bar;
use crate::exit::Exit;
use crate::{one_or_more, say};
use clap::{Args, Subcommand};
use comfy_table::{ContentArrangement, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use gauntlet::data::ordered::{cores, ordered};
use gauntlet::downstream::{self, Identity, Items, Level, Metric, Options, Repeats, Set};
use gauntlet::{Error, Progress, Result};
use std::path::PathBuf;

/// Commands on data sets.
#[derive(Subcommand)]
pub enum Data {
    /// List every set: title, size, measure, licence and home page
    List {
        /// As JSON, with the layout of each
        #[arg(long)]
        json: bool,
    },
    /// Download a set from its authors, check it and unpack it; or explain how to get it by hand.
    /// An interrupted download continues
    Fetch {
        /// Name of the set, as `list` prints it
        name: String,
        /// The folder that contains the sets' folders
        #[arg(long)]
        to: PathBuf,
        /// Download the files, by their names, from this address instead of the official one; they
        /// must still have the published checksums
        #[arg(long, default_value = "")]
        mirror: String,
    },
    /// Open a set, decode every image of it, and list bad and duplicate images
    Verify(Place),
    /// Write the embedded world as img2dataset's shards with captions only: pairs to try a suite on
    World(world::WriteWorld),
    /// Draw images of a set, with their classes, onto one sheet
    Show {
        #[command(flatten)]
        place: Place,
        /// The sheet, a PNG file
        #[arg(long)]
        out: PathBuf,
        /// Number of images; they are taken evenly from the whole split
        #[arg(long, default_value_t = 60, value_parser = one_or_more::<usize>)]
        count: usize,
        /// Show the train split instead of the test split
        #[arg(long)]
        fit: bool,
    },
}

/// A set and how to read it.
#[derive(Args)]
pub struct Place {
    /// Name of the set, as `list` prints it
    name: String,
    /// Its folder, or the folder that contains it
    folder: PathBuf,
    /// Accept a set whose sizes or classes differ from the published ones
    #[arg(long)]
    allow_partial: bool,
    /// dtd: which of the ten partitions
    #[arg(long, default_value_t = 1)]
    partition: u32,
    /// aircraft: variant, family or manufacturer
    #[arg(long, default_value = "variant", value_parser = level)]
    level: Level,
    /// caltech101: keep the class of background images
    #[arg(long)]
    background: bool,
    /// caltech101: seed of the choice of the images of the train split
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// JSON file of class names and prompt templates in place of CLIP's
    #[arg(long)]
    class_file: Option<PathBuf>,
}

fn level(text: &str) -> Result<Level, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

impl Place {
    fn open(&self) -> Result<Set> {
        let options = Options {
            allow_partial: self.allow_partial,
            partition: self.partition,
            level: self.level,
            background: self.background,
            seed: self.seed,
            class_file: self.class_file.clone().unwrap_or_default(),
        };
        downstream::open(&self.name, &self.folder, &options)
    }
}

impl Data {
    /// Runs the command; the exit code is 1 if `verify` found bad images, or more copies than the
    /// published set may have.
    pub fn run(self) -> Result<Exit> {
        match self {
            Data::List { json } => say(&list(json)),
            Data::Fetch { name, to, mirror } => say(&fetch::fetch(downstream::about(&name)?, &to, &mirror)?),
            Data::World(world) => say(&world.run()?),
            Data::Verify(place) => return verify(&place.open()?),
            Data::Show { place, out, count, fit } => {
                let set = place.open()?;
                let shown = sheet::draw(&set, if fit { &set.fit } else { &set.test }, count, &out)?;
                say(&format!("{shown} images of {} in {}\n", set.name, out.display()));
            }
        }
        Ok(Exit::Done)
    }
}

fn list(json: bool) -> String {
    if json {
        return serde_json::to_string_pretty(downstream::all()).expect("plain data") + "\n";
    }
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["name", "title and home page", "classes", "train split", "test split", "measure", "licence"]);
    for about in downstream::all() {
        let [classes, fit, test] = [about.size.classes, about.size.fit, about.size.test].map(or_any);
        let measure = measure(about.metric);
        let title = format!("{}\n{}", about.title, about.home);
        table.add_row([about.name, title.trim_end(), &classes, &fit, &test, measure, about.licence]);
    }
    format!(
        "{table}\n\n`gauntlet data fetch NAME --to DIR` downloads one; docs/datasets.md describes the layout of each folder.\n"
    )
}

fn or_any(number: usize) -> String {
    if number == 0 { "any".into() } else { number.to_string() }
}

fn measure(metric: Metric) -> &'static str {
    match metric {
        Metric::Accuracy => "accuracy",
        Metric::MeanPerClass => "mean per class",
    }
}

/// Side of the canvases that `verify` makes: every image is decoded in full, whatever its size.
const VERIFIED: u32 = 32;

fn verify(set: &Set) -> Result<Exit> {
    let mut text = format!("{}: {} classes\n", set.name, set.classes.len());
    let (mut bad, mut identities) = (0, Vec::new());
    for (part, items) in [("train split", &set.fit), ("test split", &set.test)] {
        let (found, of_part) = look_at_all(part, items)?;
        identities.push(of_part);
        let counts = classes(items, set.classes.len());
        let (least, most) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
        text += &format!("{part}: {} images, {least} to {most} per class, {} bad\n", items.len(), found.len());
        found.iter().for_each(|line| text += &format!("  {line}\n"));
        bad += found.len();
    }
    set.notes.iter().chain(&set.shared_names()).for_each(|note| text += &format!("note: {note}\n"));
    let repeats = Repeats::of(set, &identities[0], &identities[1])?;
    let notes = repeats.notes(&set.fit, &set.test);
    // The notes of CIFAR, whose pixels are compared when it is opened, contain the same line.
    notes.iter().filter(|line| !set.notes.contains(line)).for_each(|line| text += &format!("copies: {line}\n"));
    say(&text);
    Ok(if bad > 0 || repeats.too_many() { Exit::Failed } else { Exit::Done })
}

/// Images that cannot be decoded, with the reason, in the order of the set; and the identity of
/// each image.
fn look_at_all(part: &str, items: &Items) -> Result<(Vec<String>, Vec<Option<Identity>>)> {
    let (bar, mut bad, mut identities, mut done) = (Bar::new(), Vec::new(), Vec::new(), 0);
    ordered(0..items.len(), vec![|item| look_at(items, item); cores()], |(found, identity)| {
        bad.extend(found);
        identities.push(identity);
        done += 1;
        bar.report(part, done, items.len() as u64, "");
        Ok::<_, Error>(())
    })?;
    Ok((bad, identities))
}

fn look_at(items: &Items, item: usize) -> (Option<String>, Option<Identity>) {
    let bad = items.canvas(item, VERIFIED).err().map(|why| format!("{}: {why}", items.name(item)));
    // An image that cannot be read is also reported as bad.
    (bad, items.content(item).ok())
}

fn classes(items: &Items, classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    items.labels().iter().for_each(|label| counts[*label as usize] += 1);
    counts
}
