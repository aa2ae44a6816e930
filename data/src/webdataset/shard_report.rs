//! The remarks of a scan of shards besides its rows: incomplete shards, and counts of unexpected
//! properties, each with an example.

use super::archive::Fault;
use super::sample::{Sample, Samples};
use crate::config::{CutShards, Webdataset};
use crate::rows::Remarks;
use crate::{Error, Result};

/// Maximum number of names in a remark.
const NAMED: usize = 5;

/// A count, and the first counted item.
#[derive(Default)]
struct Count {
    count: u64,
    first: String,
}

impl Count {
    fn add(&mut self, count: u64, first: impl FnOnce() -> String) {
        if self.count == 0 && count > 0 {
            self.first = first();
        }
        self.count += count;
    }

    fn note(&self, words: &str) -> Option<String> {
        (self.count > 0).then(|| format!("{words}: {} (the first: {})", self.count, self.first))
    }
}

/// The remarks about one shard, or about all of them.
#[derive(Default)]
pub(super) struct ShardReport {
    shard: String,
    faults: Vec<(String, Fault)>,
    /// Shards that contain several joined archives.
    joined: Count,
    /// Members whose name has no key.
    nameless: Count,
    /// Keys that appear at several places of a shard, each time with a whole sample.
    twice: Count,
    /// Samples with several images.
    images: Count,
}

impl ShardReport {
    /// The remarks from reading a shard.
    pub fn of(shard: String, samples: &Samples, walked: &Result<u64, Fault>) -> Self {
        let mut report = ShardReport { shard, ..ShardReport::default() };
        if let Some((count, first)) = &samples.nameless {
            report.nameless.add(*count, || format!("{}:{first}", report.shard));
        }
        match walked {
            Ok(1) => {}
            Ok(archives) => report.joined.add(1, || format!("{}, of {archives}", report.shard)),
            Err(fault) => report.faults.push((report.shard.clone(), fault.clone())),
        }
        report
    }

    /// Adds keys that appear at several places.
    pub fn twice(&mut self, keys: impl ExactSizeIterator<Item = String>) {
        let (count, mut keys) = (keys.len() as u64, keys);
        self.twice.add(count, || format!("{}:{}", self.shard, keys.next().unwrap_or_default()));
    }

    /// Adds a sample that may have several images.
    pub fn images(&mut self, sample: &Sample) {
        self.images.add(u64::from(sample.image_count() > 1), || format!("{}:{}", self.shard, sample.name()));
    }

    /// Adds the remarks of the next shard.
    pub fn join(&mut self, next: ShardReport) {
        self.faults.extend(next.faults);
        for (count, next) in [
            (&mut self.joined, next.joined),
            (&mut self.nameless, next.nameless),
            (&mut self.twice, next.twice),
            (&mut self.images, next.images),
        ] {
            count.add(next.count, || next.first);
        }
    }

    /// An error that names every incomplete shard, unless the suite allows them. Files that are not
    /// shards are never allowed.
    pub fn refuse(&self, config: &Webdataset, shards: usize) -> Result<()> {
        let refused = |fault: &Fault| fault.foreign || config.cut_shards == CutShards::Refuse;
        let named: Vec<String> = self
            .faults
            .iter()
            .filter(|(_, fault)| refused(fault))
            .map(|(shard, fault)| format!("{shard}: {}", fault.why))
            .collect();
        if named.is_empty() {
            return Ok(());
        }
        let cure = match self.faults.iter().all(|(_, fault)| fault.foreign) {
            true => "repair them, or move them out of the folder",
            false => {
                "the number of their rows is unknown, so fetch them again; or set `cut_shards = \"allow\"` in `[data]` to use the samples before \
                 the cuts"
            }
        };
        let why =
            format!("{} of {shards} shards cannot be read to their end: {}; {cure}", named.len(), named.join("; "));
        Err(Error::invalid(config.path.display(), why))
    }

    /// All remarks as text.
    pub fn remarks(&self, others: &[String]) -> Remarks {
        let notes = [
            self.joined.note("shards of several joined archives, which are all read"),
            self.twice.note("keys that appear more than once in a shard, not as neighbours, each time as a whole row"),
            self.images
                .note("samples with several images, of which the first .jpg, .jpeg or .png is used, else the first"),
            self.nameless.note("members without a sample, because their file names have no dot or begin with one"),
            (!others.is_empty()).then(|| passed_over(others)),
        ];
        let cut = self.faults.iter().map(|(shard, fault)| format!("{shard}: {}", fault.why));
        Remarks { cut: cut.collect(), notes: notes.into_iter().flatten().collect() }
    }
}

/// The remark about files beside the shards that may hold rows.
pub(super) fn passed_over(names: &[String]) -> String {
    let more = if names.len() > NAMED { ", .." } else { "" };
    let named = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    format!(
        "files that were skipped, because they are compressed or incomplete: {} ({named}{more}); a shard is a plain .tar, so unpack or fetch \
         them, or move them away",
        names.len()
    )
}
