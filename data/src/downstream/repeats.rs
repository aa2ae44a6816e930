//! Finds images that a set contains twice: within a part, or in both parts, in which case a probe
//! would be tested on images of its train split.
//!
//! Published sets contain some exact copies. Each set therefore declares a maximum
//! (`About::copies`): up to it the copies are noted, beyond it the set is damaged. A subset may
//! contain the same share.

use super::{About, Identity, Items, Set, about};
use crate::Result;
use std::collections::HashMap;

/// The exact copies in a set.
#[derive(Debug)]
pub struct Repeats {
    /// Within the train split, within the test split, and between the two.
    kinds: [Kind; 3],
}

#[derive(Debug)]
struct Kind {
    what: &'static str,
    /// Pairs of equal items.
    pairs: Vec<(usize, usize)>,
    /// The maximum number.
    most: usize,
}

impl Kind {
    fn notes(&self, items: &Items, others: &Items) -> String {
        let Kind { what, most, pairs } = self;
        let first: Vec<String> = pairs
            .iter()
            .take(3)
            .map(|(item, other)| format!("{} = {}", items.place(*item), others.place(*other)))
            .collect();
        format!("{} images {what} (the published set has at most {most}): {}", pairs.len(), first.join(", "))
    }
}

impl Repeats {
    /// Compares the items of a set by identity; `None` is an image that could not be read.
    pub fn of(set: &Set, fit: &[Option<Identity>], test: &[Option<Identity>]) -> Result<Self> {
        Ok(Repeats::among(about(set.name)?, fit, test))
    }

    pub(super) fn among(about: &About, fit: &[Option<Identity>], test: &[Option<Identity>]) -> Self {
        // The maximum of a subset is its share.
        let most = |of: usize, found: usize, published: usize| (of * found).checked_div(published).unwrap_or(0).min(of);
        let [of_fit, of_test, of_both] = about.copies;
        let kind = |what, pairs, most| Kind { what, pairs, most };
        let test_most = most(of_test, test.len(), about.size.test);
        let both_most = most(of_both, test.len(), about.size.test);
        Repeats {
            kinds: [
                kind(
                    "of the train split are copies of others of the train split",
                    within(fit),
                    most(of_fit, fit.len(), about.size.fit),
                ),
                kind("of the test split are copies of others of the test split", within(test), test_most),
                kind("of the test split are copies of images of the train split", across(test, fit), both_most),
            ],
        }
    }

    /// The number of copies.
    pub fn count(&self) -> usize {
        self.kinds.iter().map(|kind| kind.pairs.len()).sum()
    }

    /// Notes for a reader of the results, one per line: counts, and the first few by name.
    pub fn notes(&self, fit: &Items, test: &Items) -> Vec<String> {
        let parts = [[fit, fit], [test, test], [test, fit]];
        let kinds = self.kinds.iter().zip(parts).filter(|(kind, _)| !kind.pairs.is_empty());
        kinds.map(|(kind, [items, others])| kind.notes(items, others)).collect()
    }

    /// Whether there are more than the published set may contain.
    pub fn too_many(&self) -> bool {
        self.kinds.iter().any(|kind| kind.pairs.len() > kind.most)
    }
}

/// Items that equal an earlier one.
fn within(items: &[Option<Identity>]) -> Vec<(usize, usize)> {
    let mut first = HashMap::new();
    let mut pairs = Vec::new();
    for (identity, at) in items.iter().zip(0..).filter_map(|(identity, at)| Some(((*identity)?, at))) {
        match first.get(&identity) {
            Some(&earlier) => pairs.push((at, earlier)),
            None => drop(first.insert(identity, at)),
        }
    }
    pairs
}

/// Items that equal one of `others`.
fn across(items: &[Option<Identity>], others: &[Option<Identity>]) -> Vec<(usize, usize)> {
    let others: HashMap<Identity, usize> =
        others.iter().zip(0..).filter_map(|(identity, at)| Some(((*identity)?, at))).collect();
    let same = |(identity, at): (&Option<Identity>, usize)| Some((at, *others.get(&(*identity)?)?));
    items.iter().zip(0..).filter_map(same).collect()
}
