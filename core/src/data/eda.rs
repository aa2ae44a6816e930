//! EDA: one random edit of a caption (Wei and Zou, EMNLP 2019), as RoCLIP augments its texts: synonym replacement, random
//! insertion, random swap or random deletion, each with equal chance, at strength 0.1.

use super::words;
use crate::draw::Rng;
use rand::RngExt;
use rand::seq::{IndexedRandom, index};
use std::collections::HashMap;

/// The share of words that an operation touches (Wei and Zou, section 2; RoCLIP's release keeps it).
const STRENGTH: f64 = 0.1;

/// Words that synonym operations leave alone.
const STOP_WORDS: [&str; 24] = [
    "a", "an", "the", "of", "in", "on", "at", "to", "and", "or", "is", "are", "was", "it", "its", "this", "that",
    "with", "by", "for", "from", "as", "i", "my",
];

/// One keyed edit of a caption: lower case, words separated by single spaces. A caption without words is returned as it is.
pub fn edit(caption: &str, synonyms: &HashMap<String, Vec<String>>, rng: &mut Rng) -> String {
    let mut words = words(caption);
    if words.is_empty() {
        return caption.to_string();
    }
    let times = ((STRENGTH * words.len() as f64) as usize).max(1);
    match rng.random_range(0..4) {
        0 => replace(&mut words, synonyms, times, rng),
        1 => insert(&mut words, synonyms, times, rng),
        2 => swap(&mut words, times, rng),
        _ => delete(&mut words, rng),
    }
    words.join(" ")
}

/// Up to `times` different words become a synonym, wherever they stand.
fn replace(words: &mut [String], synonyms: &HashMap<String, Vec<String>>, times: usize, rng: &mut Rng) {
    let mut candidates = with_synonyms(words, synonyms);
    candidates.sort_unstable();
    candidates.dedup();
    let chosen: Vec<String> = candidates.sample(rng, times).cloned().collect();
    for old in chosen {
        let Some(new) = synonyms.get(&old).and_then(|known| known.choose(rng)) else { continue };
        words.iter_mut().filter(|word| **word == old).for_each(|word| word.clone_from(new));
    }
}

/// `times` times, a synonym of some word goes to a random place.
fn insert(words: &mut Vec<String>, synonyms: &HashMap<String, Vec<String>>, times: usize, rng: &mut Rng) {
    for _ in 0..times {
        let candidates = with_synonyms(words, synonyms);
        let Some(new) = candidates.choose(rng).and_then(|old| synonyms[old].choose(rng)) else { return };
        words.insert(rng.random_range(0..=words.len()), new.clone());
    }
}

/// `times` times, two words change places.
fn swap(words: &mut [String], times: usize, rng: &mut Rng) {
    if words.len() < 2 {
        return;
    }
    for _ in 0..times {
        let pair = index::sample(rng, words.len(), 2);
        words.swap(pair.index(0), pair.index(1));
    }
}

/// Each word goes with probability 0.1; one always stays.
fn delete(words: &mut Vec<String>, rng: &mut Rng) {
    let survivor = rng.random_range(0..words.len());
    let last = words[survivor].clone();
    words.retain(|_| !rng.random_bool(STRENGTH));
    if words.is_empty() {
        words.push(last);
    }
}

fn with_synonyms(words: &[String], synonyms: &HashMap<String, Vec<String>>) -> Vec<String> {
    let has = |word: &&String| {
        !STOP_WORDS.contains(&word.as_str()) && synonyms.get(*word).is_some_and(|known| !known.is_empty())
    };
    words.iter().filter(has).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw;

    #[test]
    fn every_operation_happens_and_a_key_always_gives_the_same_edit() {
        let synonyms = HashMap::from([("red".to_string(), vec!["crimson".to_string()])]);
        let caption = "A red, red fox";
        let edits: Vec<String> =
            (0..64).map(|key| edit(caption, &synonyms, &mut draw::rng(1, "eda", &[key]))).collect();
        assert!(edits.contains(&"a crimson crimson fox".to_string()), "replaced wherever it stands");
        assert!(edits.iter().any(|edit| words(edit).len() == 5), "inserted");
        assert!(edits.iter().any(|edit| words(edit).len() == 3), "deleted");
        assert!(edits.iter().any(|edit| edit.starts_with("fox")), "swapped");
        assert_eq!(edits[7], edit(caption, &synonyms, &mut draw::rng(1, "eda", &[7])));
        assert_eq!(edit("...", &synonyms, &mut draw::rng(1, "eda", &[0])), "...");
    }
}
