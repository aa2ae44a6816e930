//! Classes of one prompt name are one class: no prompt tells them apart (ImageNet has two missiles and two kinds of sunglasses). As in
//! `data/classes.rs`, they get one number where the set is opened, so that accuracy, success of attacks and victims all go by one rule.

use super::Set;
use crate::data::classes::{one_class, same_name};
use crate::data::tokenize::Cleaner;
use std::collections::HashMap;

impl Set {
    /// The set with one class a name, in the place of the first; a note says which labels it holds.
    pub(super) fn of_distinct_names(mut self) -> Set {
        let cleaner = Cleaner::default();
        let (mut of_name, mut labels): (HashMap<Vec<String>, usize>, Vec<Vec<String>>) = Default::default();
        let mut classes = Vec::new();
        let mut number_of = Vec::new(); // of each class as it was
        for (name, label) in self.classes.iter().zip(&self.labels) {
            let number = *of_name.entry(same_name(name, &cleaner)).or_insert(classes.len());
            if number == classes.len() {
                classes.push(name.clone());
                labels.push(Vec::new());
            }
            labels[number].push(label.clone());
            number_of.push(number as u32);
        }
        let shared = classes.iter().zip(&labels).filter(|(_, labels)| labels.len() > 1);
        let Some(note) = one_class(shared.map(|(name, labels)| (name.as_str(), labels.as_slice()))) else { return self };
        self.notes.push(note);
        self.fit.renumber(&number_of);
        self.test.renumber(&number_of);
        Set { classes, labels: labels.into_iter().map(|labels| labels[0].clone()).collect(), ..self }
    }
}
