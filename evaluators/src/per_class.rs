//! Accuracy per class of a set, for the evaluators on downstream sets.

use gauntlet::data::files::write_atomic;
use gauntlet::downstream::Metric;
use gauntlet::{Error, Result, Score};
use serde_json::{Map, Value, json};
use std::path::Path;

/// For each class, the number of images that were classified correctly, and the number of images.
pub struct PerClass(Vec<(usize, usize)>);

impl PerClass {
    /// Counts predicted classes against true classes, image by image.
    pub fn count(found: &[u32], truth: &[u32], classes: usize) -> Self {
        let mut counts = vec![(0, 0); classes];
        for (found, truth) in found.iter().zip(truth) {
            let (hits, n) = &mut counts[*truth as usize];
            *hits += usize::from(found == truth);
            *n += 1;
        }
        PerClass(counts)
    }

    /// The published measure, accuracy and the mean over classes, under these names.
    pub fn scores(&self, names: [&'static str; 3], metric: Metric) -> [Option<Score>; 3] {
        let [published, accuracy, mean] = names;
        [self.score(published, metric), self.score(accuracy, Metric::Accuracy), self.score(mean, Metric::MeanPerClass)]
    }

    /// One measure under this name, with its chance level.
    pub fn score(&self, name: &'static str, metric: Metric) -> Option<Score> {
        let sum = |(hits, n): (usize, usize), class: &(usize, usize)| (hits + class.0, n + class.1);
        let (hits, n) = self.0.iter().fold((0, 0), sum);
        let commonest = self.0.iter().map(|(_, n)| *n).max().unwrap_or(0) as f64;
        match metric {
            Metric::Accuracy => Score::share(name, None, hits, n).map(|score| score.guessed(commonest / n as f64)),
            Metric::MeanPerClass => Score::mean_share(name, &self.0),
        }
    }

    /// Writes each class's share to `per-class/SET-HOW.json` in the trial's folder.
    pub fn write(&self, folder: &Path, set: &str, how: &str, classes: &[String]) -> Result<()> {
        let folder = folder.join("per-class");
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let one = |(number, (hits, n)): (usize, &(usize, usize))| {
            let share = (*n > 0).then(|| *hits as f64 / *n as f64);
            (format!("{number} {}", classes[number]), json!({ "right": hits, "n": n, "share": share }))
        };
        let lines: Map<String, Value> = self.0.iter().enumerate().map(one).collect();
        let text = serde_json::to_string_pretty(&lines).expect("plain data");
        write_atomic(&folder.join(format!("{set}-{how}.json")), text.as_bytes())
    }
}
