//! `gauntlet data world`: writes the embedded world as files, in the form of img2dataset's output.
//! The shards have captions but no labels, so a suite reads them like a download of Conceptual
//! Captions, at a size that a laptop trains on.

use crate::bars::Bar;
use clap::Args;
use gauntlet::data::decode::png;
use gauntlet::data::webdataset::shard::ShardWriter;
use gauntlet::data::world::World;
use gauntlet::data::{Entry, Row, Source};
use gauntlet::{DataRow, Error, Progress, Result};
use serde_json::json;
use std::fs;
use std::path::PathBuf;

/// Writes the embedded world.
#[derive(Args)]
pub struct WriteWorld {
    /// Folder to write: 00000.tar and so on, and classes.json
    #[arg(long)]
    out: PathBuf,
    /// Number of image-caption pairs
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    pairs: u32,
    /// Number of classes of the images; the captions name them
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=20))]
    classes: u32,
    /// Colours per class; with 1, colour identifies the class
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    colours: u32,
    /// Share of captions that also state colour, size and place
    #[arg(long, default_value_t = 0.15)]
    attributes: f64,
    /// Standard deviation of the noise on every pixel, 0 to 0.5
    #[arg(long, default_value_t = 0.03)]
    noise: f64,
    /// Seed of the world: another seed gives other pairs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Side of an image in pixels
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(8..=512))]
    size: u32,
    /// Pairs per shard
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    per_shard: u32,
}

impl WriteWorld {
    /// Writes the files; returns a summary.
    pub fn run(self) -> Result<String> {
        let WriteWorld { pairs, classes, seed, colours, attributes, noise, .. } = self;
        let source = World { pairs, classes, seed, colours, attributes, noise }.open()?;
        fs::create_dir_all(&self.out).map_err(Error::io(&self.out))?;
        if fs::read_dir(&self.out).map_err(Error::io(&self.out))?.next().is_some() {
            let why = "is not empty; choose a new folder, or delete it";
            return Err(Error::invalid(format!("--out {}", self.out.display()), why));
        }
        let bar = Bar::new();
        let (mut shards, mut row) = (Shards { of: &self, open: None, number: 0 }, 0u32);
        source.scan(1, &gauntlet::progress::Silent, &mut |entry| {
            let entry = entry.map_err(|bad| Error::invalid(bad.name, bad.why))?;
            shards.add(row, &entry, &source)?;
            row += 1;
            bar.report("world", row.into(), pairs.into(), "pairs");
            Ok(())
        })?;
        shards.finish()?;
        let classes = source.classes()?.expect("the world has classes");
        let file = self.out.join("classes.json");
        let text = serde_json::to_string_pretty(&classes).expect("plain data") + "\n";
        fs::write(&file, text).map_err(Error::io(&file))?;
        drop(bar);
        Ok(format!("{pairs} pairs in {}; class names in classes.json\n", self.out.display()))
    }
}

/// The shards that are being written.
struct Shards<'a> {
    of: &'a WriteWorld,
    open: Option<ShardWriter>,
    number: u32,
}

impl Shards<'_> {
    /// Adds a pair: image, caption, and a JSON file as img2dataset writes it.
    fn add(&mut self, row: u32, entry: &Entry, source: &impl Source) -> Result<()> {
        if row.is_multiple_of(self.of.per_shard) {
            self.finish()?;
            self.open = Some(ShardWriter::create(&self.of.out.join(format!("{:05}.tar", self.number)))?);
            self.number += 1;
        }
        let name = format!("{:05}{:04}", self.number - 1, row % self.of.per_shard);
        let place =
            Row { number: DataRow(row), key: "", caption: "", class: None, file: 0, start: 0, size: 0, seen: 0 };
        let canvas = source.image(&place, self.of.size).map_err(|why| Error::invalid(name.clone(), why))?;
        let meta = json!({ "caption": entry.caption, "key": name, "status": "success", "width": self.of.size,
            "height": self.of.size });
        let shard = self.open.as_mut().expect("the first row opens one");
        shard.add(&format!("{name}.png"), &png::encode(&canvas, self.of.size))?;
        shard.add(&format!("{name}.txt"), entry.caption.as_bytes())?;
        shard.add(&format!("{name}.json"), meta.to_string().as_bytes())
    }

    fn finish(&mut self) -> Result<()> {
        self.open.take().map_or(Ok(()), ShardWriter::finish)
    }
}
