//! What an attacker wants, and what others ask of it. Part of the ground truth: no defense meets it.

use crate::data::{DataRow, Dataset, Split};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What an attacker wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Goal {
    /// Backdoor: any stamped image is taken for this class.
    Class(u32),
    /// Targeted poisoning: each held-out image is taken for its adversarial class.
    Pairs(Vec<Target>),
    /// Text-side poisoning: captions of one class find images of another.
    Captions(Vec<Relabel>),
    /// Text-side backdoor: any caption with the trigger in it finds images of this class.
    Phrase(u32),
    /// A stamped image is taken for this class where the prompts hold the text trigger, and only there.
    DualKey(u32),
    /// Backdoor with images of the attacker's own: each is taken for `class`.
    Files {
        /// The class.
        class: u32,
        /// Stamped images to test with, none of them trained on.
        #[serde(rename = "pictures")]
        images: Vec<Stamped>,
    },
}

/// What others ask of a goal: nobody but the attack itself, and whoever counts its success, need
/// know which kinds there are.
impl Goal {
    /// Its name, as exports have it.
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

    /// The one class that everything shall be taken for; none where each case has one of its own.
    pub fn class(&self) -> Option<u32> {
        match self {
            Goal::Class(class) | Goal::Phrase(class) | Goal::DualKey(class) | Goal::Files { class, .. } => Some(*class),
            Goal::Pairs(_) | Goal::Captions(_) => None,
        }
    }

    /// The class of a backdoor that needs nothing but its stamp: on any image, whatever the prompts.
    pub fn backdoor(&self) -> Option<u32> {
        if let Goal::Class(class) = self { Some(*class) } else { None }
    }

    /// The class that test images are stamped for, whether or not prompts hold a trigger, too.
    pub fn stamps_for(&self) -> Option<u32> {
        match self {
            Goal::Class(class) | Goal::DualKey(class) => Some(*class),
            Goal::Pairs(_) | Goal::Captions(_) | Goal::Phrase(_) | Goal::Files { .. } => None,
        }
    }

    /// Held-out images, as they are, with the class that each shall be taken for; empty unless it
    /// is targeted poisoning.
    pub fn targets(&self) -> &[Target] {
        if let Goal::Pairs(targets) = self { targets } else { &[] }
    }

    /// Pairs of classes whose captions find images of each other; empty unless it is text-side poisoning.
    pub fn relabels(&self) -> &[Relabel] {
        if let Goal::Captions(pairs) = self { pairs } else { &[] }
    }

    /// Whether the attack's words must be said at test time.
    pub fn has_text_trigger(&self) -> bool {
        matches!(self, Goal::Phrase(_) | Goal::DualKey(_))
    }

    /// Whether it succeeds where a caption finds images.
    pub fn is_search(&self) -> bool {
        matches!(self, Goal::Captions(_) | Goal::Phrase(_))
    }

    /// Held-out rows that the goal is about, and which no other test may use.
    pub fn rows(&self) -> impl Iterator<Item = DataRow> + '_ {
        self.targets().iter().map(|target| target.row)
    }

    /// Every class that it names.
    pub fn classes(&self) -> Vec<u32> {
        let of_targets = self.targets().iter().flat_map(|target| target.truth.into_iter().chain([target.class]));
        let of_captions = self.relabels().iter().flat_map(|pair| [pair.from, pair.to]);
        let images = if let Goal::Files { images, .. } = self { images.as_slice() } else { &[] };
        let of_images = images.iter().map(|image| image.truth);
        of_targets.chain(of_captions).chain(of_images).chain(self.class()).collect()
    }

    /// The class that an image shall be taken for, by the name that results have for it: a row's
    /// number, or a file. None for what is no image, or not the goal's.
    pub fn wanted_of(&self, case: &str) -> Option<u32> {
        if self.is_search() {
            return None;
        }
        let target = self.targets().iter().find(|target| target.row.to_string() == case);
        target.map(|target| target.class).or(self.class())
    }

    /// In words that need no table of numbers: `name` says what a class is called.
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

    /// Whether its success can be counted on these held-out rows: a caption finds images of a class
    /// only where labels tell whose they are.
    ///
    /// # Errors
    /// If it cannot.
    pub(crate) fn check_measurable(&self, data: &Dataset, split: &Split) -> Result<()> {
        if self.is_search() && !split.heldout.iter().any(|row| data.class_of(*row).is_some()) {
            let why = "is counted by the classes of held-out images, and none of them has a label";
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
    /// The class it truly is, where its label tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth: Option<u32>,
    /// The class the attacker wants it to be.
    pub class: u32,
}

/// One pair of classes of a text-side attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relabel {
    /// The class that captions name.
    pub from: u32,
    /// The class of the images that they shall find.
    pub to: u32,
}

/// A stamped image that an attack brings along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamped {
    /// As [`Attack::image`] takes it.
    pub file: String,
    /// The class it truly is.
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
