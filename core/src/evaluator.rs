//! Evaluators: what is measured on a trained model. They see the ground truth; defenses never meet them.

use crate::Result;
use crate::attack::Goal;
use crate::data::tokenize::Tokenizer;
use crate::data::{Dataset, Split};
use crate::model::{Clip, normalize};
use crate::poison::{Poison, Threat};
use crate::train::{Corpus, Matches};
use serde::Serialize;
use std::cell::OnceCell;
use std::collections::HashSet;
use tch::{Device, Kind, Tensor};

/// A measurement of a trained model.
pub trait Evaluator: Send {
    /// The scores it gives, each with its exact definition.
    fn definitions(&self) -> Vec<Definition>;

    /// Measures.
    fn evaluate(&self, subject: &Subject) -> Result<Vec<Score>>;
}

/// What a score means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Definition {
    /// Name of the score, as in `results.jsonl`.
    pub score: &'static str,
    /// What is counted among what.
    pub definition: &'static str,
    /// Which way is better for the defender; `None` for a diagnostic.
    pub higher_is_better: Option<bool>,
}

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// One of the evaluator's definitions.
    pub score: &'static str,
    /// Label of the attack it is about, if it is about one.
    pub attack: Option<String>,
    /// The number.
    pub value: f64,
    /// How many cases it was counted over.
    pub n: usize,
    /// 95% interval over those cases: about this trained model, not about the defense.
    pub interval: [f64; 2],
}

impl Score {
    /// `hits` of `n` cases, with Wilson's interval. No cases give no score.
    pub fn share(score: &'static str, attack: Option<&str>, hits: usize, n: usize) -> Option<Score> {
        let (value, interval) = (hits as f64 / n as f64, wilson(hits, n));
        (n > 0).then(|| Score { score, attack: attack.map(str::to_string), value, n, interval })
    }
}

/// Wilson's 95% interval of a share (Wilson 1927): holds its level for small counts and shares near 0 and 1.
fn wilson(hits: usize, n: usize) -> [f64; 2] {
    let (n, z2) = (n as f64, 1.959_963_984_540_054f64.powi(2));
    let share = hits as f64 / n;
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = (z2 * (share * (1.0 - share) / n + z2 / (4.0 * n * n))).sqrt() / (1.0 + z2 / n);
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// A trained model and everything known about its data.
pub struct Subject<'a> {
    /// The model, weights as trained.
    pub model: &'a Clip,
    /// Rows, classes, canvases.
    pub data: &'a Dataset,
    /// Which rows were held out.
    pub split: &'a Split,
    /// The suite's attacks and what they want, whether or not they poisoned this arena.
    pub threats: &'a [Threat],
    /// The poison of this arena.
    pub poison: &'a Poison,
    /// The training rows with their ground truth.
    pub corpus: &'a Corpus<'a>,
    /// What the defense recorded as matched, epoch by epoch.
    pub matches: &'a [Matches],
    /// The seed of the trial.
    pub seed: u64,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) device: Device,
    pub(crate) class_embeddings: OnceCell<Tensor>,
    pub(crate) test_rows: OnceCell<Vec<u32>>,
}

impl Subject<'_> {
    /// Held-out rows that are no attack's target, and whose pictures can be read: the zero-shot test, equal in all arenas of a seed.
    pub fn test_rows(&self) -> &[u32] {
        self.test_rows.get_or_init(|| {
            let targets = self.threats.iter().flat_map(|threat| match &threat.goal {
                Goal::Pairs(pairs) => pairs.iter().map(|target| target.row).collect(),
                Goal::Class(_) => Vec::new(),
            });
            let targets: HashSet<u32> = targets.collect();
            let heldout = self.split.heldout.iter().copied();
            heldout.filter(|row| !targets.contains(row) && self.data.canvas.readable(*row)).collect()
        })
    }

    /// Accuracy of the better guess on the zero-shot test: the share of its commonest class.
    pub fn chance(&self) -> f64 {
        let rows = self.test_rows();
        let mut counts = vec![0usize; self.data.classes.len() as usize];
        rows.iter().for_each(|&row| counts[self.truth(row) as usize] += 1);
        counts.into_iter().max().unwrap_or(0) as f64 / rows.len().max(1) as f64
    }

    /// The true class of a held-out row.
    pub fn truth(&self, row: u32) -> u32 {
        self.data.class_of(row)
    }

    /// Zero-shot classes of rows of the data set, stamped by an attack if one is given: the `k` most similar ones of each, best first.
    pub fn classify(&self, rows: &[u32], stamped_by: Option<&Threat>, k: i64) -> Result<Vec<Vec<u32>>> {
        let classes = self.class_embeddings.get_or_init(|| self.embed_classes());
        let k = k.min(classes.size()[0]);
        let mut best = Vec::new();
        for rows in rows.chunks(EVAL_BATCH) {
            let canvases = match stamped_by {
                Some(threat) => threat.stamp_test(self.data, rows, self.seed)?,
                None => self.data.canvas.gather(rows)?,
            };
            let image = tch::no_grad(|| self.model.encode_image(&self.corpus.normalise(&canvases, &[]), false));
            let (_, top) = image.matmul(&classes.transpose(0, 1)).topk(k, -1, true, true);
            let top = Vec::<Vec<i64>>::try_from(top.to_device(Device::Cpu))?;
            best.extend(top.into_iter().map(|row| row.into_iter().map(|class| class as u32).collect::<Vec<_>>()));
        }
        Ok(best)
    }

    /// One embedding a class `[classes, dimensions]`: the normalised mean of its prompts' normalised embeddings.
    fn embed_classes(&self) -> Tensor {
        let embed = |class: u32| {
            let prompts: Vec<String> = self.data.classes.prompts(class).collect();
            let tokens = self.tokenizer.encode_batch(&prompts, self.model.config.text_cfg.context_length);
            let text = tch::no_grad(|| self.model.encode_text(&tokens.to_device(self.device)));
            normalize(&text.mean_dim([0].as_slice(), false, None::<Kind>))
        };
        Tensor::stack(&(0..self.data.classes.len()).map(embed).collect::<Vec<_>>(), 0)
    }
}

/// Pictures that go through the model together.
const EVAL_BATCH: usize = 250;

#[cfg(test)]
mod tests {
    use super::wilson;

    #[test]
    fn wilson_agrees_with_statsmodels() {
        // statsmodels.stats.proportion.proportion_confint(count, nobs, method="wilson")
        for (hits, n, low, high) in [(0, 32, 0.0, 0.107179), (4, 32, 0.049701, 0.280683), (32, 32, 0.892821, 1.0)] {
            let [ours_low, ours_high] = wilson(hits, n);
            assert!(
                (ours_low - low).abs() < 1e-5 && (ours_high - high).abs() < 1e-5,
                "{hits} of {n}: {ours_low} {ours_high}"
            );
        }
    }
}
