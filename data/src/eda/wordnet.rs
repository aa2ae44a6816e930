//! Synonyms from WordNet 3.0 (Fellbaum, ed., 1998), under WordNet's own licence (`NOTICE`);
//! `setup/wordnet.py` makes the table and describes it.
//!
//! A word is looked up as by NLTK 3.10's `wordnet.synsets`, which EDA's release calls: in every
//! part of speech, unchanged and in its base forms, by WordNet's Morphy rules. NLTK before 3.9
//! stripped endings until something matched, so a few texts that are not words had synonyms.

use flate2::read::GzDecoder;
use std::io::Read;
use std::sync::OnceLock;

/// Endings and their replacements in a base form, by part of speech.
const PARTS: [(char, &[(&str, &str)]); 4] = [
    (
        'n',
        &[
            ("s", ""),
            ("ses", "s"),
            ("ves", "f"),
            ("xes", "x"),
            ("zes", "z"),
            ("ches", "ch"),
            ("shes", "sh"),
            ("men", "man"),
            ("ies", "y"),
        ],
    ),
    ('v', &[("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")]),
    ('a', &[("er", ""), ("est", ""), ("er", "e"), ("est", "e")]),
    ('r', &[]),
];

/// The table, unpacked at the first lookup.
#[derive(Default)]
pub struct WordNet {
    lines: OnceLock<String>,
}

impl WordNet {
    /// The synonyms of a lower-case word of letters, sorted, without itself. A synonym may have
    /// several words, or be blank if EDA's spelling removes all of it.
    pub fn synonyms(&self, word: &str) -> Vec<&str> {
        let own = self.line(word);
        let mut names: Vec<&str> = Vec::new();
        for (part, endings) in PARTS {
            let base =
                |(ending, instead): &(&str, &str)| word.strip_suffix(ending).map(|stem| format!("{stem}{instead}"));
            let bases: Vec<String> = match own.and_then(|line| field(line, part, '=')) {
                Some(irregular) => irregular.split('=').map(String::from).collect(),
                None => endings.iter().filter_map(base).collect(),
            };
            let lines = own.into_iter().chain(bases.iter().filter_map(|base| self.line(base)));
            names.extend(lines.filter_map(|line| field(line, part, ',')).flat_map(|names| names.split(',')));
        }
        names.sort_unstable();
        names.dedup();
        names.retain(|name| *name != word);
        names
    }

    /// The rest of the line of a word, after the word. The lines are sorted by word.
    fn line(&self, word: &str) -> Option<&str> {
        let lines = self.lines.get_or_init(unpack);
        let (mut low, mut high) = (0, lines.len());
        while low < high {
            let start = lines[..(low + high) / 2].rfind('\n').map_or(0, |end| end + 1);
            let line = lines[start..].split('\n').next().unwrap_or_default();
            let (known, fields) = line.split_once('\t').expect("a line is a word and its fields");
            match known.cmp(word) {
                std::cmp::Ordering::Equal => return Some(fields),
                std::cmp::Ordering::Less => low = start + line.len() + 1,
                std::cmp::Ordering::Greater => high = start,
            }
        }
        None
    }
}

/// The field of a line after `part` and `mark`.
fn field(line: &str, part: char, mark: char) -> Option<&str> {
    line.split('\t').find_map(|field| field.strip_prefix(part)?.strip_prefix(mark))
}

fn unpack() -> String {
    let mut text = String::new();
    let packed: &[u8] = include_bytes!("wordnet.txt.gz");
    GzDecoder::new(packed).read_to_string(&mut text).expect("the shipped table is whole");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Words and NLTK's synonyms for them, made by `synonyms.py` beside the file.
    #[test]
    fn equals_nltk() {
        let golden: BTreeMap<String, Vec<String>> =
            serde_json::from_str(include_str!("../../../tests/golden/synonyms.json")).unwrap();
        assert!(golden.len() > 300);
        let wordnet = WordNet::default();
        for (word, synonyms) in &golden {
            assert_eq!(&wordnet.synonyms(word), synonyms, "{word}");
        }
    }

    #[test]
    fn every_line_is_found() {
        let wordnet = WordNet::default();
        let text = unpack();
        for line in text.lines() {
            let (word, fields) = line.split_once('\t').unwrap();
            assert_eq!(wordnet.line(word), Some(fields));
        }
        assert_eq!([wordnet.line(""), wordnet.line("zzzz"), wordnet.line("aaaa")], [None; 3]);
    }
}
