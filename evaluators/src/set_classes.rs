//! Finds a class that an attack wants among the classes of a downstream set, by name.

use gauntlet::data::words;
use gauntlet::downstream::Set;

/// The set's class with one of these `names`, in the files or in the prompts: the words must be
/// equal, ignoring case.
pub fn find(names: &[String], set: &Set) -> Option<u32> {
    let names: Vec<Vec<String>> = names.iter().map(|name| words(name)).collect();
    let named =
        |class: &usize| [&set.classes[*class], &set.labels[*class]].iter().any(|own| names.contains(&words(own)));
    (0..set.classes.len()).find(named).map(|class| class as u32)
}
