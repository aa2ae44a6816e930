//! EDA: one random edit of a caption (Wei and Zou, EMNLP 2019), RoCLIP's text augmentation: synonym
//! replacement, random insertion, random swap or random deletion, each with equal probability, at
//! strength 0.1. `eda/wordnet.rs` has the synonyms.
//!
//! A caption is first reduced to its words of the letters a to z, as in EDA's release: apostrophes
//! are removed, and every other character separates words, so digits and other scripts are lost. If
//! release and paper differ, this follows the paper: insertion skips stop words and puts any
//! synonym at any position, the end included (the release takes synonyms of any word, the first of
//! an unordered set, never at the end, and gives up after ten words without one); a swap swaps two
//! words (the release sometimes swaps nothing). A caption without such letters is unchanged, and so
//! is one that an edit would empty; the release fails with an error. Words after the 1024th are dropped;
//! no text tower looks at them.

pub mod wordnet;

use crate::draw::Rng;
use rand::RngExt;
use rand::seq::{IndexedRandom, index};
use std::collections::HashMap;
use wordnet::WordNet;

/// The share of words that an operation touches (Wei and Zou, section 2; RoCLIP's release keeps
/// it).
const STRENGTH: f64 = 0.1;

/// Number of words of a caption that are edited; the rest is dropped. A model keeps 77 tokens, and
/// the time of an edit grows with the square of this number.
const MOST: usize = 1024;

/// Words that synonym operations skip: Snowball's English stop words as first published by NLTK
/// (`eda/NOTICE`).
pub(crate) const STOP_WORDS: [&str; 127] = [
    "i",
    "me",
    "my",
    "myself",
    "we",
    "our",
    "ours",
    "ourselves",
    "you",
    "your",
    "yours",
    "yourself",
    "yourselves",
    "he",
    "him",
    "his",
    "himself",
    "she",
    "her",
    "hers",
    "herself",
    "it",
    "its",
    "itself",
    "they",
    "them",
    "their",
    "theirs",
    "themselves",
    "what",
    "which",
    "who",
    "whom",
    "this",
    "that",
    "these",
    "those",
    "am",
    "is",
    "are",
    "was",
    "were",
    "be",
    "been",
    "being",
    "have",
    "has",
    "had",
    "having",
    "do",
    "does",
    "did",
    "doing",
    "a",
    "an",
    "the",
    "and",
    "but",
    "if",
    "or",
    "because",
    "as",
    "until",
    "while",
    "of",
    "at",
    "by",
    "for",
    "with",
    "about",
    "against",
    "between",
    "into",
    "through",
    "during",
    "before",
    "after",
    "above",
    "below",
    "to",
    "from",
    "up",
    "down",
    "in",
    "out",
    "on",
    "off",
    "over",
    "under",
    "again",
    "further",
    "then",
    "once",
    "here",
    "there",
    "when",
    "where",
    "why",
    "how",
    "all",
    "any",
    "both",
    "each",
    "few",
    "more",
    "most",
    "other",
    "some",
    "such",
    "no",
    "nor",
    "not",
    "only",
    "own",
    "same",
    "so",
    "than",
    "too",
    "very",
    "s",
    "t",
    "can",
    "will",
    "just",
    "don",
    "should",
    "now",
];

/// The source of synonyms.
pub enum Synonyms {
    /// All synonyms, by word: those of a closed vocabulary.
    Closed(HashMap<String, Vec<String>>),
    /// WordNet's.
    WordNet(WordNet),
}

impl Synonyms {
    /// WordNet's; reads nothing yet.
    pub fn wordnet() -> Self {
        Synonyms::WordNet(WordNet::default())
    }

    /// The synonyms of a lower-case word, always in the same order; empty if it is not known.
    pub fn of(&self, word: &str) -> Vec<&str> {
        match self {
            Synonyms::Closed(known) => known.get(word).into_iter().flatten().map(String::as_str).collect(),
            Synonyms::WordNet(wordnet) => wordnet.synonyms(word),
        }
    }
}

/// One keyed edit of a caption: lower case, words separated by single spaces. A caption without
/// words is returned unchanged.
pub fn edit(caption: &str, synonyms: &Synonyms, rng: &mut Rng) -> String {
    let before = words(caption);
    if before.is_empty() {
        return caption.to_string();
    }
    let mut words = before.clone();
    words.truncate(MOST);
    let times = ((STRENGTH * words.len() as f64) as usize).max(1);
    match rng.random_range(0..4) {
        0 => replace(&mut words, synonyms, times, rng),
        1 => insert(&mut words, synonyms, times, rng),
        2 => swap(&mut words, times, rng),
        _ => delete(&mut words, rng),
    }
    let after = joined(&words);
    if after.is_empty() { joined(&before) } else { after }
}

/// Words of the letters a to z, as EDA's release finds them.
fn words(caption: &str) -> Vec<String> {
    let text = caption.replace(['\'', '\u{2019}'], "").to_lowercase();
    text.split(|char: char| !char.is_ascii_lowercase()).filter(|word| !word.is_empty()).map(String::from).collect()
}

/// Joins words and synonyms, which may be blank or have several words, to one line.
fn joined(words: &[String]) -> String {
    let words: Vec<&str> = words.iter().flat_map(|words| words.split_whitespace()).collect();
    words.join(" ")
}

/// Replaces up to `times` different words by a synonym, wherever they occur.
fn replace(words: &mut [String], synonyms: &Synonyms, times: usize, rng: &mut Rng) {
    let mut candidates = with_synonyms(words, synonyms);
    candidates.sort_unstable();
    candidates.dedup();
    let chosen: Vec<String> = candidates.sample(rng, times).cloned().collect();
    for old in chosen {
        let Some(&new) = synonyms.of(&old).choose(rng) else { continue };
        words.iter_mut().filter(|word| **word == old).for_each(|word| *word = new.into());
    }
}

/// `times` times, inserts a synonym of some word at a random position.
fn insert(words: &mut Vec<String>, synonyms: &Synonyms, times: usize, rng: &mut Rng) {
    let mut candidates: Vec<bool> = words.iter().map(|word| has_synonyms(word, synonyms)).collect();
    for _ in 0..times {
        let places: Vec<usize> = (0..words.len()).filter(|place| candidates[*place]).collect();
        let Some(&old) = places.choose(rng) else { return };
        let Some(&new) = synonyms.of(&words[old]).choose(rng) else { return };
        let place = rng.random_range(0..=words.len());
        words.insert(place, new.into());
        candidates.insert(place, has_synonyms(new, synonyms));
    }
}

/// `times` times, swaps two words.
fn swap(words: &mut [String], times: usize, rng: &mut Rng) {
    if words.len() < 2 {
        return;
    }
    for _ in 0..times {
        let pair = index::sample(rng, words.len(), 2);
        words.swap(pair.index(0), pair.index(1));
    }
}

/// Deletes each word with probability 0.1; at least one stays.
fn delete(words: &mut Vec<String>, rng: &mut Rng) {
    let survivor = rng.random_range(0..words.len());
    let last = words[survivor].clone();
    words.retain(|_| !rng.random_bool(STRENGTH));
    if words.is_empty() {
        words.push(last);
    }
}

fn with_synonyms(words: &[String], synonyms: &Synonyms) -> Vec<String> {
    words.iter().filter(|word| has_synonyms(word, synonyms)).cloned().collect()
}

fn has_synonyms(word: &str, synonyms: &Synonyms) -> bool {
    !STOP_WORDS.contains(&word) && !synonyms.of(word).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;
    use crate::draw;
    use crate::progress::Silent;
    use crate::world::World;
    use std::collections::HashSet;

    /// A change here changes the inputs of defenses on the embedded world: it invalidates every
    /// published table made with it.
    #[test]
    fn edits_of_the_world_are_those_that_published_tables_were_made_with() {
        let source = World::default().open().unwrap();
        let synonyms = source.synonyms();
        let mut edits = Vec::new();
        let scanned = source.scan(1, &Silent, &mut |row| {
            let number = edits.len() as u64;
            let caption = row.ok().unwrap().caption;
            edits.push(edit(&caption, &synonyms, &mut draw::rng(3, "eda", &[1, number])));
            Ok(())
        });
        scanned.unwrap();
        edits.truncate(1000);
        let first = [
            "fleem in grey middle part cheap",
            "this tegg looks merry on emerald",
            "a photo of tegg a tegglet funny",
            "a picture of the merry plonlet",
            "a bright sunny bozz",
            "a photo of a large white zib on a background of ziblet emerald",
        ];
        assert_eq!(edits[..6], first);
        let digest = blake3::hash(edits.join("\n").as_bytes());
        assert_eq!(digest.to_hex().as_str(), "e578003b929bcd158d69833e9669d30962115a93260dd5b80728778d68c22534");
    }

    fn crimson() -> Synonyms {
        Synonyms::Closed(HashMap::from([("red".to_string(), vec!["crimson".to_string()])]))
    }

    #[test]
    fn every_operation_happens_and_a_key_always_gives_the_same_edit() {
        let synonyms = crimson();
        let caption = "A red, red fox";
        let edits: Vec<String> =
            (0..64).map(|key| edit(caption, &synonyms, &mut draw::rng(1, "eda", &[key]))).collect();
        assert!(edits.contains(&"a crimson crimson fox".to_string()), "replaced wherever it occurs");
        assert!(edits.iter().any(|edit| words(edit).len() == 5), "inserted");
        assert!(edits.iter().any(|edit| words(edit).len() == 3), "deleted");
        assert!(edits.iter().any(|edit| edit.starts_with("fox")), "swapped");
        assert_eq!(edits[7], edit(caption, &synonyms, &mut draw::rng(1, "eda", &[7])));
        assert_eq!(edit("...", &synonyms, &mut draw::rng(1, "eda", &[0])), "...");
    }

    #[test]
    fn words_are_those_of_the_release() {
        let caption = "The children\u{2019}s Café-bar, 24 dogs'\tdon't\nK\u{212A}";
        assert_eq!(words(caption), ["the", "childrens", "caf", "bar", "dogs", "dont", "kk"]);
    }

    /// One word only, and "one" has a synonym ("1") that EDA's spelling makes blank.
    #[test]
    fn no_edit_leaves_nothing() {
        let synonyms = Synonyms::wordnet();
        assert!(synonyms.of("one").contains(&""));
        let edits: HashSet<String> =
            (0..400).map(|key| edit("One!", &synonyms, &mut draw::rng(1, "eda", &[key]))).collect();
        assert!(edits.iter().all(|edit| !edit.is_empty() && words(edit).join(" ") == *edit), "{edits:?}");
        assert!(
            edits.contains("one") && edits.contains("ace") && edits.iter().any(|edit| edit.ends_with(" one")),
            "{edits:?}"
        );
    }

    #[test]
    fn stop_words_and_unknown_words_get_no_synonyms() {
        let synonyms = Synonyms::wordnet();
        assert!(!synonyms.of("in").is_empty(), "WordNet knows the inch and indium");
        for key in 0..200 {
            let mut edited = words(&edit("in a blorn", &synonyms, &mut draw::rng(1, "eda", &[key])));
            edited.retain(|word| !["in", "a", "blorn"].contains(&word.as_str()));
            assert_eq!(edited, [] as [&str; 0]);
        }
    }
}
