//! The single cases behind a share: which images (or captions), their true classes, and the model's
//! predictions. Stored in a trial's `cases.jsonl`, so that two models can be compared image by
//! image (`report/src/pair.rs`) and a report can show the prediction for an image.

use super::{EvalContext, Score};
use crate::Result;
use crate::data::files::{read_lines, write_lines};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A line of `cases.jsonl`: the cases that one share was counted over. All lists have one entry per
/// case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predictions {
    /// Name of the score.
    pub score: String,
    /// Label of the attack that it is about.
    pub attack: Option<String>,
    /// Name of each case: the number of a row of the data, the name of an attack's image, or a
    /// caption.
    pub case: Vec<String>,
    /// The true class of each case, by number, if it has a label; for a caption, the class whose
    /// images it should retrieve.
    pub truth: Vec<Option<u32>>,
    /// The predicted class; empty if no class was predicted.
    pub taken: Vec<u32>,
    /// 1 if the case counts, else 0.
    pub hit: Vec<u8>,
}

impl Predictions {
    /// Adds an image and its predicted class.
    pub fn image(&mut self, case: impl ToString, truth: impl Into<Option<u32>>, taken: u32, hit: bool) {
        self.case.push(case.to_string());
        self.truth.push(truth.into());
        self.taken.push(taken);
        self.hit.push(hit.into());
    }

    /// Adds a caption that should retrieve images of a class.
    pub fn caption(&mut self, caption: &str, class: u32, hit: bool) {
        self.case.push(caption.to_string());
        self.truth.push(Some(class));
        self.hit.push(hit.into());
    }

    /// Number of cases that count.
    pub fn hits(&self) -> usize {
        self.hit.iter().filter(|hit| **hit == 1).count()
    }

    /// All predictions of a trial; empty if it stored none.
    pub fn read(folder: &Path) -> Result<Vec<Predictions>> {
        let path = folder.join("cases.jsonl");
        if !path.exists() {
            return Ok(Vec::new());
        }
        read_lines(&path)
    }

    /// Writes `cases.jsonl` into a trial's folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(folder: &Path, all: &[Predictions]) -> Result<()> {
        write_lines(&folder.join("cases.jsonl"), all)
    }
}

impl EvalContext<'_> {
    /// The share of these cases that count, with Wilson's interval; stores the cases. `None` if
    /// there are no cases.
    pub fn share(&self, score: &'static str, attack: Option<&str>, cases: Predictions) -> Option<Score> {
        let share = Score::share(score, attack, cases.hits(), cases.hit.len())?;
        self.cases.borrow_mut().push(Predictions { score: score.into(), attack: attack.map(str::to_string), ..cases });
        Some(share)
    }
}
