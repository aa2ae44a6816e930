//! Which classes an attack may target if the classes are named apart from the data, and which
//! captions it mines for them. The captions of a web crawl name few of a thousand classes, some
//! only by accident, and a caption that names two is evidence of neither.
//!
//! If the data has its own labels, an attack may target any class that a training caption names,
//! and may mine every caption that names it.

use super::PoisonCtx;
use crate::data::{DataRow, words};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashSet};

/// Words that captions mostly use in another sense.
const AMBIGUOUS: &str = include_str!("ambiguous.txt");

impl PoisonCtx<'_> {
    /// Classes that an attack may target if it needs `captions` different captions of its class;
    /// ascending, never empty.
    ///
    /// # Errors
    /// If there is no such class; the error states how many captions the best class has.
    pub fn eligible(&self, captions: usize) -> Result<Vec<u32>> {
        if !self.data.named_apart {
            return Ok(self.classes_named());
        }
        let minable = self.minable();
        let enough = |(class, rows): (&u32, &Vec<DataRow>)| (rows.len() >= captions).then_some(*class);
        let eligible: Vec<u32> = minable.iter().filter_map(enough).collect();
        if eligible.is_empty() {
            let most = minable.iter().map(|(class, rows)| (rows.len(), *class)).max();
            let best = most.map_or("no caption names any class alone".into(), |(count, class)| {
                format!("`{}` has the most, {count}", self.data.classes.name(class))
            });
            let why =
                format!("no class has {captions} different training captions that name it and no other class; {best}");
            return Err(Error::invalid("key `classes`", why));
        }
        Ok(eligible)
    }

    /// A sentence about how many classes an attack may target, by the number of captions it needs.
    pub(crate) fn eligibility(&self) -> String {
        let (minable, all) = (self.minable(), self.data.classes.len());
        let with = |captions: usize| minable.values().filter(|rows| rows.len() >= captions).count();
        let counts = [10, 30, 100, 300].map(|captions| format!("{} with {captions}", with(captions)));
        format!(
            "{} of {all} classes can be aimed at: a training caption names them and no other class ({} or more such captions)",
            with(1),
            counts.join(", ")
        )
    }

    /// For each class that is not ambiguous, the training rows to mine: their captions name it and
    /// no other class, and no two captions are equal.
    pub(super) fn minable(&self) -> BTreeMap<u32, Vec<DataRow>> {
        let mut minable: BTreeMap<u32, Vec<DataRow>> = BTreeMap::new();
        let trains = |(row, _): &(DataRow, u32)| self.split.train.contains(*row);
        let named: Vec<(DataRow, u32)> = self.data.index.named().filter(trains).collect();
        let mentioned: Vec<(DataRow, u32)> = self.data.index.mentioned().filter(trains).collect();
        let several = mentioned.chunk_by(|one, next| one.0 == next.0).filter(|pairs| pairs.len() > 1);
        let several: HashSet<DataRow> = several.map(|pairs| pairs[0].0).collect();
        let ambiguous = self.ambiguous_classes();
        let mut seen = HashSet::new();
        for pairs in named.chunk_by(|one, next| one.0 == next.0) {
            let [(row, class)] = *pairs else { continue };
            if ambiguous[class as usize] || several.contains(&row) {
                continue;
            }
            let caption = words(self.data.row(row).caption).join(" ");
            if seen.insert(blake3::hash(caption.as_bytes())) {
                minable.entry(class).or_default().push(row);
            }
        }
        minable
    }

    /// For each class, whether all of its names are ambiguous words.
    fn ambiguous_classes(&self) -> Vec<bool> {
        let list = ambiguous();
        let plain = |name: &str| words(name.split('(').next().unwrap_or(name)).join(" ");
        let is = |class: u32| self.data.classes.called(class).all(|name| list.contains(plain(name).as_str()));
        (0..self.data.classes.len()).map(is).collect()
    }
}

fn ambiguous() -> HashSet<&'static str> {
    let lines = AMBIGUOUS.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_whitespace().next()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_of_ambiguous_words_is_read_without_its_comments() {
        let words = super::ambiguous();
        assert!(words.contains("crane") && words.contains("safe") && !words.contains("#") && words.len() > 40);
    }
}
