//! The training set of an export: every row as gauntlet's trainer would read it, in an order drawn
//! from the seed, and the truth about each row in a separate file.

use super::{Format, Job};
use gauntlet::corpus::{Corpus, CorpusRow, RowOrigin, Shape};
use gauntlet::data::decode::png;
use gauntlet::data::ordered::{cores, ordered};
use gauntlet::data::tokenize::Tokenizer;
use gauntlet::data::webdataset::shard::ShardWriter;
use gauntlet::poison::bytes;
use gauntlet::train::load::EpochOrder;
use gauntlet::{DataRow, Error, Progress, Result, TrainRow};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tch::Device;

/// Number of rows that a thread reads and compresses at a time.
const CHUNK: usize = 64;

/// Samples per shard.
const SHARD: usize = 10_000;

/// The order is that of epoch 0, which is never trained: epochs count from 1.
const ORDER: u32 = 0;

/// The result of the export.
pub struct Written {
    /// Pairs.
    pub rows: usize,
    /// Rows whose images could not be read.
    pub left_out: usize,
}

/// One pair, ready to be written.
struct Sample {
    key: String,
    caption: String,
    png: Vec<u8>,
    origin: RowOrigin,
}

/// The destination of pairs.
enum Sink {
    Shards { folder: PathBuf, shard: Option<ShardWriter>, rows: usize },
    Table { folder: PathBuf, table: Box<csv::Writer<File>> },
}

/// A line of `truth.jsonl`.
#[derive(Serialize)]
struct Truth<'a> {
    key: &'a str,
    /// Row of the data, if it is unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<DataRow>,
    /// Number of the edit, if it is poison.
    #[serde(skip_serializing_if = "Option::is_none")]
    edit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attack: Option<&'a str>,
}

/// Writes the training set and `truth.jsonl`.
pub fn write(job: &Job, format: Format, stop: &AtomicBool) -> Result<Written> {
    let (prepared_data, size) = (job.prepared_data, job.arena.size);
    // No caption is tokenized here; any tokenizer works.
    let tokenizer = Tokenizer::new(&prepared_data.data.vocabulary, 49_408)?;
    let shape = Shape { batch: CHUNK, context_length: 77 };
    let (data, split, poison) = (&prepared_data.data, &prepared_data.split, &prepared_data.poison);
    let corpus = Corpus::new(data, split, poison, &tokenizer, shape, job.arena.seed, Device::Cpu);
    let mut order = EpochOrder::new(&corpus, None, ORDER).take(corpus.len());
    let chunk = || Some(order.by_ref().take(CHUNK).collect()).filter(|rows: &Vec<TrainRow>| !rows.is_empty());
    let workers = (0..cores()).map(|_| {
        let corpus = corpus.share();
        move |rows: Vec<TrainRow>| samples(&corpus, &rows, size)
    });
    let path = job.folder.join("truth.jsonl");
    let mut truth = BufWriter::new(File::create(&path).map_err(Error::io(&path))?);
    let mut sink = Sink::create(job.folder, format)?;
    let mut written = Written { rows: 0, left_out: 0 };
    ordered(std::iter::from_fn(chunk), workers.collect(), |samples| {
        for sample in samples? {
            let Some(sample) = sample else {
                written.left_out += 1;
                continue;
            };
            let line = truth_of(&sample, job);
            truth.write_all(line.as_bytes()).map_err(Error::io(&path))?;
            sink.add(&sample)?;
            written.rows += 1;
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Error::invalid("export", "was interrupted; its files were deleted"));
        }
        job.bar.report("export", (written.rows + written.left_out) as u64, corpus.len() as u64, "pairs");
        Ok(())
    })?;
    sink.finish()?;
    let file = truth.into_inner().map_err(|error| Error::io(&path)(error.into_error()))?;
    file.sync_all().map_err(Error::io(&path))?;
    Ok(written)
}

/// Reads rows as a trainer does. A row whose image cannot be read is left out: the trainer would
/// replace it.
fn samples(corpus: &Corpus, rows: &[TrainRow], size: u32) -> Result<Vec<Option<Sample>>> {
    let (taken, images) = corpus.read(rows)?;
    let pixels = bytes(&images)?;
    let canvases = pixels.chunks_exact(3 * (size * size) as usize);
    let sample = |((&row, taken), canvas): ((&TrainRow, CorpusRow), &[u8])| {
        let (key, caption) = (format!("{:016x}", u64::from(taken.key)), taken.caption.to_string());
        let own = taken.key == corpus.row(row).key;
        own.then(|| Sample { key, caption, png: png::encode(canvas, size), origin: taken.origin })
    };
    Ok(rows.iter().zip(taken).zip(canvases).map(sample).collect())
}

fn truth_of(sample: &Sample, job: &Job) -> String {
    let key = &sample.key;
    let truth = match sample.origin {
        RowOrigin::Clean(row) => Truth { key, row: Some(row), edit: None, attack: None },
        RowOrigin::Edit(number) => {
            let attack = Some(job.prepared_data.poison.edits[number].attack.as_str());
            Truth { key, row: None, edit: Some(number), attack }
        }
    };
    serde_json::to_string(&truth).expect("plain data") + "\n"
}

fn create(folder: &Path, name: &str) -> Result<PathBuf> {
    let folder = folder.join(name);
    fs::create_dir(&folder).map_err(Error::io(&folder)).map(|()| folder)
}

impl Sink {
    fn create(folder: &Path, format: Format) -> Result<Self> {
        match format {
            Format::Webdataset => Ok(Sink::Shards { folder: create(folder, "train")?, shard: None, rows: 0 }),
            Format::Csv => {
                let path = folder.join("train.csv");
                let mut table = csv::Writer::from_path(&path).map_err(wrong(&path))?;
                table.write_record(["image", "caption"]).map_err(wrong(&path))?;
                create(folder, "images")?;
                Ok(Sink::Table { folder: folder.to_path_buf(), table: Box::new(table) })
            }
        }
    }

    fn add(&mut self, sample: &Sample) -> Result<()> {
        let Sample { key, caption, png, .. } = sample;
        match self {
            Sink::Shards { folder, shard, rows } => {
                if let Some(full) = shard.take_if(|_| rows.is_multiple_of(SHARD)) {
                    full.finish()?;
                }
                let shard = match shard {
                    Some(shard) => shard,
                    None => shard.insert(ShardWriter::create(&folder.join(format!("{:05}.tar", *rows / SHARD)))?),
                };
                *rows += 1;
                shard.add(&format!("{key}.png"), png)?;
                shard.add(&format!("{key}.txt"), caption.as_bytes())?;
                let json = serde_json::json!({"key": key, "caption": caption}).to_string();
                shard.add(&format!("{key}.json"), json.as_bytes())
            }
            Sink::Table { folder, table } => {
                let name = format!("images/{key}.png");
                let path = folder.join(&name);
                fs::write(&path, png).map_err(Error::io(&path))?;
                table.write_record([&name, caption]).map_err(wrong(&folder.join("train.csv")))
            }
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Sink::Shards { shard, .. } => shard.map_or(Ok(()), ShardWriter::finish),
            Sink::Table { mut table, folder } => {
                let path = folder.join("train.csv");
                table.flush().map_err(Error::io(&path))
            }
        }
    }
}

/// For `map_err`: an error while a table is written.
pub fn wrong(path: &Path) -> impl Fn(csv::Error) -> Error {
    let path = path.display().to_string();
    move |error| Error::invalid(path.clone(), error.to_string())
}
