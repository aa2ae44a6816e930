//! Two trained models, image by image: McNemar's test of each share that both have on the same
//! images. It is about these two models only: other seeds of their defenses can differ in the
//! opposite direction.

use crate::statistics::seeds::mcnemar;
use gauntlet::evaluator::Predictions;
use gauntlet::{Error, Result};
use serde::Serialize;
use std::path::Path;

/// Two models compared by one share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Attack and score.
    pub score: String,
    /// Number of cases.
    pub n: usize,
    /// Cases that count for both.
    pub both: u64,
    /// Cases that count only for the first model.
    pub first: u64,
    /// Cases that count only for the second model.
    pub second: u64,
    /// Two-sided p value of the exact test.
    pub p: f64,
}

/// Compares the models of two trials' folders.
///
/// # Errors
/// If one of them has no stored cases, or they were not measured on the same cases.
pub fn compare(first: &Path, second: &Path) -> Result<Vec<Pair>> {
    let (ours, theirs) = (read(first)?, read(second)?);
    let mut pairs = Vec::new();
    for a in &ours {
        let Some(b) = theirs.iter().find(|b| (&b.score, &b.attack) == (&a.score, &a.attack)) else { continue };
        let name = a.attack.iter().chain([&a.score]).cloned().collect::<Vec<_>>().join(" ");
        if a.case != b.case {
            let why = format!(
                "`{name}` was measured on other cases than in {}: the two have different seeds or data",
                second.display()
            );
            return Err(Error::invalid(first.display().to_string(), why));
        }
        let count = |wanted: [u8; 2]| a.hit.iter().zip(&b.hit).filter(|(a, b)| [**a, **b] == wanted).count() as u64;
        let (first, second) = (count([1, 0]), count([0, 1]));
        pairs.push(Pair { score: name, n: a.hit.len(), both: count([1, 1]), first, second, p: mcnemar(first, second) });
    }
    Ok(pairs)
}

fn read(folder: &Path) -> Result<Vec<Predictions>> {
    let cases = Predictions::read(folder)?;
    let why = "has no cases.jsonl, which finished trials write; name the folders of two finished trials, as in out/trials/ARENA/DEFENSE/seed-N";
    if cases.is_empty() { Err(Error::invalid(folder.display().to_string(), why)) } else { Ok(cases) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_models_are_compared_on_the_same_images_only() {
        let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |folder: &Path, first: u32, hits: [bool; 6]| {
            let mut cases = Predictions { score: "top1".into(), ..Predictions::default() };
            hits.iter().zip(first..).for_each(|(hit, row)| cases.image(row, 1, 1, *hit));
            Predictions::write(folder, &[cases]).unwrap();
        };
        write(home.path(), 0, [true, true, true, true, false, false]);
        write(other.path(), 0, [true, false, false, false, true, false]);
        let pairs = compare(home.path(), other.path()).unwrap();
        assert_eq!((pairs[0].n, pairs[0].both, pairs[0].first, pairs[0].second), (6, 1, 3, 1));
        assert!((pairs[0].p - 0.625).abs() < 1e-9, "two-sided: twice (1 + 4) of 16, not {}", pairs[0].p);
        write(other.path(), 1, [true; 6]);
        assert!(compare(home.path(), other.path()).unwrap_err().chain().contains("other cases"));
        std::fs::remove_file(other.path().join("cases.jsonl")).unwrap();
        assert!(compare(home.path(), other.path()).unwrap_err().chain().contains("has no cases.jsonl"));
    }
}
