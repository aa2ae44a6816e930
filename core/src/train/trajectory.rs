//! Records how the similarity of poisoned pairs develops while the model trains: at the end of an
//! epoch, the similarity of image and caption, beside that of clean pairs. The trainer calls it
//! between epochs. It reads the ground truth; the defense does not see it.

use super::Corpus;
use crate::corpus::{RowOrigin, TrainRow};
use crate::data::files::read_whole_lines;
use crate::data::tokenize::Tokenizer;
use crate::model::Clip;
use crate::poison::Poison;
use crate::{Error, Result, draw};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// What to record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Record every so many epochs, and after the last.
    pub every: u32,
    /// Maximum number of pairs per attack, and of clean pairs.
    pub pairs: usize,
}

/// A line of `trajectory.jsonl`: a group of pairs at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// Label of the attack that made the pairs; `None` for the clean ones.
    pub attack: Option<String>,
    /// Number of pairs.
    pub n: usize,
    /// Mean cosine of a pair's image and caption.
    pub similarity: f64,
    /// Median rank of a pair's own caption among all captions of all groups, by similarity to its
    /// image, most similar first; ties rank before it.
    pub rank: f64,
    /// Number of those captions. Without any knowledge of the image, the expected rank is half of
    /// one more.
    pub captions: usize,
    /// Share of all couples of a pair of this group and a clean pair in which the former is more
    /// similar (ties count half): 0.5 if the groups cannot be told apart.
    pub above_clean: f64,
}

/// Records the trajectory of one training.
pub struct Recorder<'a> {
    probe: Probe,
    corpus: &'a Corpus<'a>,
    model: &'a Clip,
    tokenizer: &'a Tokenizer,
    /// Rows of the corpus by attack; the clean rows first, under `None`.
    rows: BTreeMap<Option<String>, Vec<TrainRow>>,
    path: PathBuf,
}

impl<'a> Recorder<'a> {
    /// Draws the pairs to measure, the same for every epoch.
    pub fn new(probe: Probe, corpus: &'a Corpus<'a>, poison: &Poison, model: &'a Clip, folder: &Path) -> Self {
        let mut least: BTreeMap<Option<String>, BinaryHeap<(u64, TrainRow)>> = BTreeMap::new();
        for number in corpus.rows() {
            let row = corpus.row(number);
            let attack = match row.origin {
                RowOrigin::Clean(_) => None,
                RowOrigin::Edit(edit) => Some(poison.edits[edit].attack.clone()),
            };
            let heap = least.entry(attack).or_default();
            heap.push((draw::hash(corpus.seed, "trajectory", &[row.key.into()]), number));
            if heap.len() > probe.pairs {
                heap.pop();
            }
        }
        let rows = |heap: BinaryHeap<(u64, TrainRow)>| heap.into_sorted_vec().into_iter().map(|(_, row)| row).collect();
        let rows = least.into_iter().map(|(attack, heap)| (attack, rows(heap))).collect();
        let (path, tokenizer) = (folder.join("trajectory.jsonl"), corpus.tokenizer);
        Recorder { probe, corpus, model, tokenizer, rows, path }
    }

    /// Removes lines from `epoch` on: that epoch will be repeated.
    pub(super) fn resume(&self, epoch: u32) -> Result<()> {
        let kept: String = read(&self.path)?.iter().filter(|moment| moment.epoch < epoch).map(line).collect();
        std::fs::write(&self.path, kept).map_err(Error::io(&self.path))
    }

    /// Measures the pairs if this epoch is due, or the `last` one.
    pub(super) fn epoch_ended(&self, epoch: u32, last: u32) -> Result<()> {
        if !epoch.is_multiple_of(self.probe.every) && epoch != last {
            return Ok(());
        }
        let lines: String = self.look(epoch)?.iter().map(line).collect();
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(Error::io(&self.path))
    }

    fn look(&self, epoch: u32) -> Result<Vec<Moment>> {
        let (mut captions, mut number_of) = (Vec::new(), HashMap::new());
        let mut pairs = Vec::new(); // of each kind: image embeddings, and which caption is an image's own
        for rows in self.rows.values() {
            let (mut embeddings, mut own) = (Vec::new(), Vec::new());
            for rows in rows.chunks(250) {
                let (rows, canvases) = self.corpus.read(rows)?;
                let images = self.corpus.normalise(&canvases, &[]);
                embeddings.push(tch::no_grad(|| self.model.encode_image(&images, false)));
                for row in rows {
                    let tokens = self.tokenizer.encode(row.caption, self.corpus.context_length);
                    own.push(*number_of.entry(tokens).or_insert_with(|| {
                        captions.push(row.caption);
                        captions.len() as i64 - 1
                    }));
                }
            }
            pairs.push((Tensor::cat(&embeddings, 0), Tensor::from_slice(&own)));
        }
        let texts: Vec<Tensor> = captions.chunks(250).map(|captions| self.embed(captions)).collect();
        let texts = Tensor::cat(&texts, 0);
        let (mut moments, mut clean) = (Vec::new(), Vec::new());
        for (attack, (images, own)) in self.rows.keys().zip(pairs) {
            let all = images.matmul(&texts.tr()).to_device(Device::Cpu); // [pairs, captions]
            let own = all.gather(1, &own.unsqueeze(1), false);
            // Its own caption is among those at least as similar, so the best rank is 1.
            let ranks = Vec::<f64>::try_from(all.ge_tensor(&own).sum_dim_intlist([1].as_slice(), false, Kind::Double))?;
            let similarities = Vec::<f64>::try_from(own.squeeze_dim(1).to_kind(Kind::Double))?;
            if attack.is_none() {
                clean = similarities.clone();
                clean.sort_by(f64::total_cmp);
            }
            moments.push(Moment {
                epoch,
                attack: attack.clone(),
                n: ranks.len(),
                similarity: similarities.iter().sum::<f64>() / similarities.len() as f64,
                rank: median(ranks),
                captions: captions.len(),
                above_clean: above(&similarities, &clean),
            });
        }
        Ok(moments)
    }

    fn embed(&self, captions: &[&str]) -> Tensor {
        let tokens = self.tokenizer.encode_batch(captions, self.corpus.context_length).to_device(self.corpus.device);
        tch::no_grad(|| self.model.encode_text(&tokens))
    }
}

/// The lines of a training, in order; empty if nothing was recorded.
pub fn read(path: &Path) -> Result<Vec<Moment>> {
    // A line cut short by a kill belongs to an epoch that will be repeated.
    read_whole_lines(path)
}

fn line(moment: &Moment) -> String {
    serde_json::to_string(moment).expect("plain data") + "\n"
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2] + values[(values.len() - 1) / 2]) / 2.0
}

/// Share of all couples in which the first value is greater; `sorted` ascends.
fn above(values: &[f64], sorted: &[f64]) -> f64 {
    let count = |value: &f64| {
        let (below, up_to) = (sorted.partition_point(|x| x < value), sorted.partition_point(|x| x <= value));
        (below + up_to) as f64 / 2.0
    };
    values.iter().map(count).sum::<f64>() / (values.len() * sorted.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::above;

    #[test]
    fn above_clean_counts_couples_and_halves_equals() {
        assert_eq!(above(&[1.0, 3.0], &[0.0, 1.0, 2.0, 4.0]), (1.5 + 3.0) / 8.0);
        assert_eq!(above(&[5.0], &[5.0, 5.0]), 0.5);
    }
}
