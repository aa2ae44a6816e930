//! The single cases behind a share: which images (or captions), what they are, what the model took
//! them for. Kept in `cases.jsonl` of a trial, so that two models can be compared image by image
//! (`report/src/pair.rs`) and a report can say what a model now says of an image.

use super::{EvalContext, Score};
use crate::Result;
use crate::data::files::{read_lines, write_lines};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A line of `cases.jsonl`: what one share was counted over. The lists go together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predictions {
    /// Name of the score.
    pub score: String,
    /// Label of the attack that it is about.
    pub attack: Option<String>,
    /// What each case is: the number of a row of the data, the name of an attack's image, a caption.
    pub case: Vec<String>,
    /// The true class of each, by number, where a label tells; of a caption, the class whose images it shall find.
    pub truth: Vec<Option<u32>>,
    /// The class that the model took it for; empty where it was not asked for one.
    pub taken: Vec<u32>,
    /// 1 where the case counts, 0 where it does not.
    pub hit: Vec<u8>,
}

impl Predictions {
    /// Adds an image that the model took for a class.
    pub fn image(&mut self, case: impl ToString, truth: impl Into<Option<u32>>, taken: u32, hit: bool) {
        self.case.push(case.to_string());
        self.truth.push(truth.into());
        self.taken.push(taken);
        self.hit.push(hit.into());
    }

    /// Adds a caption that shall find images of a class.
    pub fn caption(&mut self, caption: &str, class: u32, hit: bool) {
        self.case.push(caption.to_string());
        self.truth.push(Some(class));
        self.hit.push(hit.into());
    }

    /// How many of them count.
    pub fn hits(&self) -> usize {
        self.hit.iter().filter(|hit| **hit == 1).count()
    }

    /// All that a trial kept; none where it kept none.
    pub fn read(folder: &Path) -> Result<Vec<Predictions>> {
        let path = folder.join("cases.jsonl");
        if !path.exists() {
            return Ok(Vec::new());
        }
        read_lines(&path)
    }

    /// Writes the cases of all scores to a trial's folder.
    pub fn write(folder: &Path, all: &[Predictions]) -> Result<()> {
        write_lines(&folder.join("cases.jsonl"), all)
    }
}

impl EvalContext<'_> {
    /// The share of these cases that count, with Wilson's interval; keeps the cases. None give no score.
    pub fn share(&self, score: &'static str, attack: Option<&str>, cases: Predictions) -> Option<Score> {
        let share = Score::share(score, attack, cases.hits(), cases.hit.len())?;
        self.cases.borrow_mut().push(Predictions { score: score.into(), attack: attack.map(str::to_string), ..cases });
        Some(share)
    }
}
