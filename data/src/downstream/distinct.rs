//! Merges classes with the same prompt name, because no prompt tells them apart (ImageNet has two
//! classes "missile" and two "sunglasses"). As in `classes.rs`, they get one number before anything
//! is computed, so that accuracy, attack success and victims follow the same rule.

use super::Set;
use crate::classes::{one_class, same_name};
use crate::tokenize::Cleaner;
use std::collections::HashMap;

/// The classes of a set, merged by name.
struct Distinct {
    /// New number of each class.
    number_of: Vec<u32>,
    /// The groups of classes that share a name.
    sharing: Vec<Vec<usize>>,
}

impl Set {
    /// The set with one class per name, in the place of the first. A note lists the merged labels.
    /// A set without such classes is unchanged.
    pub fn of_distinct_names(mut self) -> Set {
        let Distinct { number_of, sharing } = self.distinct();
        let Some(note) = self.shared_names() else { return self };
        self.notes.push(note);
        self.fit.renumber(&number_of);
        self.test.renumber(&number_of);
        let first = |list: &[String]| sharing.iter().map(|classes| list[classes[0]].clone()).collect();
        Set { classes: first(&self.classes), labels: first(&self.labels), ..self }
    }

    /// A warning about classes with the same prompt name.
    pub fn shared_names(&self) -> Option<String> {
        let labels = |classes: &Vec<usize>| classes.iter().map(|class| self.labels[*class].clone()).collect();
        let shared: Vec<(&str, Vec<String>)> = self
            .distinct()
            .sharing
            .iter()
            .filter(|classes| classes.len() > 1)
            .map(|classes| (self.classes[classes[0]].as_str(), labels(classes)))
            .collect();
        one_class(shared.iter().map(|(name, labels)| (*name, labels.as_slice())))
    }

    fn distinct(&self) -> Distinct {
        let (cleaner, mut of_name) = (Cleaner::default(), HashMap::new());
        let (mut number_of, mut sharing) = (Vec::new(), Vec::<Vec<usize>>::new());
        for (class, name) in self.classes.iter().enumerate() {
            let number = *of_name.entry(same_name(name, &cleaner)).or_insert(sharing.len());
            if number == sharing.len() {
                sharing.push(Vec::new());
            }
            sharing[number].push(class);
            number_of.push(number as u32);
        }
        Distinct { number_of, sharing }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, open};
    use serde_json::json;
    use std::path::Path;

    #[test]
    fn labels_of_one_name_get_the_number_of_the_first_and_the_others_move_up() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/downstream/imagefolder");
        let home = tempfile::tempdir().expect("a folder");
        let labels = ["A", "B", "a", "a b", "a-1", "b", "c.d", "e", "f", "z_9"];
        let classes: serde_json::Map<_, _> = labels.iter().map(|label| (label.to_string(), json!([label]))).collect();
        let class_file = home.path().join("classes.json");
        let text = json!({ "classes": classes, "templates": ["a photo of {}"] }).to_string();
        std::fs::write(&class_file, text).expect("it can be written");
        // Without a class file, folders with the same name are refused.
        let options = Options { class_file, ..Options::default() };
        let open = || open("imagefolder", &folder, &options).expect("a fixture");
        let (before, after) = (open(), open().of_distinct_names());
        assert_eq!(before.labels.join(","), "A,B,a,a b,a-1,b,c.d,e,f,z_9");
        assert_eq!(after.labels.join(","), "A,B,a b,a-1,c.d,e,f,z_9");
        assert_eq!(after.labels.len(), after.classes.len());
        for (before_items, after_items) in [(&before.fit, &after.fit), (&before.test, &after.test)] {
            let label = |set: &super::Set, label: u32| set.labels[label as usize].replace('a', "A").replace('b', "B");
            for item in 0..before_items.len() {
                assert_eq!(label(&after, after_items.label(item)), label(&before, before_items.label(item)), "{item}");
            }
        }
        let note = after.notes.last().expect("a note");
        assert!(note.contains("`A` (A, a), `B` (B, b)"), "{note}");
        assert!(after.shared_names().is_none() && after.of_distinct_names().notes.len() == before.notes.len() + 1);
    }
}
