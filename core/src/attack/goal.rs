//! The attacker's goal. Part of the ground truth, which no defense receives.

use crate::data::{DataRow, Dataset, Split};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The attacker's goal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Goal {
    /// Backdoor: the model classifies any stamped image as this class.
    Class(u32),
    /// Targeted poisoning: the model classifies each held-out image as its adversarial class.
    Pairs(Vec<Target>),
    /// Text-side poisoning: captions of one class retrieve images of another.
    Captions(Vec<Relabel>),
    /// Text-side backdoor: any caption with the trigger retrieves images of this class.
    Phrase(u32),
    /// The model classifies a stamped image as this class if, and only if, the prompts hold the
    /// text trigger.
    DualKey(u32),
    /// Backdoor with images that the attacker supplies: the model classifies each as `class`.
    Files {
        /// The class.
        class: u32,
        /// Stamped test images; none is trained on.
        #[serde(rename = "pictures")]
        images: Vec<Stamped>,
    },
}

/// Queries on a goal. Only the attack itself and the evaluator of its success match on the kinds.
impl Goal {
    /// Its name in exports.
    pub fn kind(&self) -> &'static str {
        match self {
            Goal::Class(_) => "class",
            Goal::Pairs(_) => "pairs",
            Goal::Captions(_) => "captions",
            Goal::Phrase(_) => "phrase",
            Goal::DualKey(_) => "dual-key",
            Goal::Files { .. } => "files",
        }
    }

    /// The one class that every case is directed at; `None` if each case has its own.
    pub fn class(&self) -> Option<u32> {
        match self {
            Goal::Class(class) | Goal::Phrase(class) | Goal::DualKey(class) | Goal::Files { class, .. } => Some(*class),
            Goal::Pairs(_) | Goal::Captions(_) => None,
        }
    }

    /// The class of a backdoor that needs only its stamp: on any image, with any prompts.
    pub fn backdoor(&self) -> Option<u32> {
        if let Goal::Class(class) = self { Some(*class) } else { None }
    }

    /// The class that test images are stamped for, whether or not prompts must also hold a trigger.
    pub fn stamps_for(&self) -> Option<u32> {
        match self {
            Goal::Class(class) | Goal::DualKey(class) => Some(*class),
            Goal::Pairs(_) | Goal::Captions(_) | Goal::Phrase(_) | Goal::Files { .. } => None,
        }
    }

    /// Unmodified held-out images, each with its adversarial class; empty unless the attack is
    /// targeted poisoning.
    pub fn targets(&self) -> &[Target] {
        if let Goal::Pairs(targets) = self { targets } else { &[] }
    }

    /// Pairs of classes for text-side poisoning; empty for every other goal.
    pub fn relabels(&self) -> &[Relabel] {
        if let Goal::Captions(pairs) = self { pairs } else { &[] }
    }

    /// Whether the text trigger is inserted at test time.
    pub fn has_text_trigger(&self) -> bool {
        matches!(self, Goal::Phrase(_) | Goal::DualKey(_))
    }

    /// Whether success is measured by retrieval: a caption retrieves images.
    pub fn is_search(&self) -> bool {
        matches!(self, Goal::Captions(_) | Goal::Phrase(_))
    }

    /// Held-out rows that are targets of the goal; no other test may use them.
    pub fn rows(&self) -> impl Iterator<Item = DataRow> + '_ {
        self.targets().iter().map(|target| target.row)
    }

    /// Every class in the goal.
    pub fn classes(&self) -> Vec<u32> {
        let of_targets = self.targets().iter().flat_map(|target| target.truth.into_iter().chain([target.class]));
        let of_captions = self.relabels().iter().flat_map(|pair| [pair.from, pair.to]);
        let images = if let Goal::Files { images, .. } = self { images.as_slice() } else { &[] };
        let of_images = images.iter().map(|image| image.truth);
        of_targets.chain(of_captions).chain(of_images).chain(self.class()).collect()
    }

    /// The class that an image is directed at. `case` is its name in the results: a row number, or
    /// a file. `None` if the case is not an image, or not one of the goal's.
    pub fn wanted_of(&self, case: &str) -> Option<u32> {
        if self.is_search() {
            return None;
        }
        let target = self.targets().iter().find(|target| target.row.to_string() == case);
        target.map(|target| target.class).or(self.class())
    }

    /// The goal as JSON with class names instead of numbers; `name` gives the name of a class.
    pub fn describe(&self, name: impl Fn(u32) -> String) -> Value {
        let kind = self.kind();
        match self {
            Goal::Pairs(targets) => json!({"kind": kind, "targets": targets.len()}),
            Goal::Captions(pairs) => {
                let pair = |pair: &Relabel| json!({"captions_of": name(pair.from), "find": name(pair.to)});
                json!({"kind": kind, "pairs": pairs.iter().map(pair).collect::<Vec<_>>()})
            }
            Goal::Class(class) | Goal::Phrase(class) | Goal::DualKey(class) | Goal::Files { class, .. } => {
                json!({"kind": kind, "wanted": name(*class)})
            }
        }
    }

    /// Checks that its success can be measured on these held-out rows: retrieval of a class can
    /// only be measured if the images have labels.
    ///
    /// # Errors
    /// If it cannot.
    pub(crate) fn check_measurable(&self, data: &Dataset, split: &Split) -> Result<()> {
        if self.is_search() && !split.heldout.iter().any(|row| data.class_of(*row).is_some()) {
            let why = "is measured by the classes of held-out images, but none of them has a label";
            return Err(Error::invalid("its success", why));
        }
        Ok(())
    }
}

/// One target of a targeted attack.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// A held-out row of the data set.
    pub row: DataRow,
    /// Its true class, if it has a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth: Option<u32>,
    /// The adversarial class.
    pub class: u32,
}

/// One pair of classes of a text-side attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relabel {
    /// The class that captions name.
    pub from: u32,
    /// The class of the images to retrieve.
    pub to: u32,
}

/// A stamped image that an attack supplies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamped {
    /// The file name, as passed to [`Attack::image`](crate::Attack::image).
    pub file: String,
    /// Its true class.
    pub truth: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> [Goal; 6] {
        let target = |row, class| Target { row: DataRow(row), truth: Some(9), class };
        [
            Goal::Class(1),
            Goal::Pairs(vec![target(5, 2), target(6, 3)]),
            Goal::Captions(vec![Relabel { from: 4, to: 5 }]),
            Goal::Phrase(6),
            Goal::DualKey(7),
            Goal::Files { class: 8, images: vec![Stamped { file: "a.png".into(), truth: 3 }] },
        ]
    }

    #[test]
    fn a_goal_names_itself_as_it_is_stored() {
        for goal in every_kind() {
            let stored = serde_json::to_value(&goal).unwrap();
            assert_eq!(stored.as_object().unwrap().keys().collect::<Vec<_>>(), [goal.kind()]);
            assert_eq!(goal.describe(|class| class.to_string())["kind"], goal.kind());
        }
    }

    #[test]
    fn a_goal_wants_a_class_of_its_own_images_only() {
        let wanted = every_kind().map(|goal| ["6", "a.png"].map(|case| goal.wanted_of(case)));
        let any = |class| [Some(class); 2];
        assert_eq!(wanted, [any(1), [Some(3), None], [None; 2], [None; 2], any(7), any(8)]);
        let classes = every_kind().map(|goal| goal.classes());
        assert_eq!(classes, [vec![1], vec![9, 2, 9, 3], vec![4, 5], vec![6], vec![7], vec![3, 8]]);
    }

    #[test]
    fn only_who_stamps_test_images_has_a_class_to_stamp_them_for() {
        assert_eq!(every_kind().map(|goal| goal.stamps_for()), [Some(1), None, None, None, Some(7), None]);
        assert_eq!(every_kind().map(|goal| goal.backdoor()), [Some(1), None, None, None, None, None]);
        assert_eq!(every_kind().map(|goal| goal.has_text_trigger()), [false, false, false, true, true, false]);
        assert_eq!(every_kind().map(|goal| goal.is_search()), [false, false, true, true, false, false]);
    }
}
