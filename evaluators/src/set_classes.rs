//! A class that an attack wants, among the classes of a downstream set: found by name.

use gauntlet::data::words;
use gauntlet::downstream::Set;

/// The set's class that one of `names` names, in the files' words or in the prompts': equal words, in whatever case.
pub fn find(names: &[String], set: &Set) -> Option<u32> {
    let names: Vec<Vec<String>> = names.iter().map(|name| words(name)).collect();
    let named =
        |class: &usize| [&set.classes[*class], &set.labels[*class]].iter().any(|own| names.contains(&words(own)));
    (0..set.classes.len()).find(named).map(|class| class as u32)
}
