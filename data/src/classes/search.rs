//! Finds the classes that a caption names. It keeps two results apart: the classes that may be
//! mined from the caption, and all classes that it may be about.
//!
//! A caption is first repaired as by the tokenizer. All names are searched in one pass in its text
//! without blanks and hyphens (Aho and Corasick, Communications of the ACM 1975), so that
//! "sealion", "sea-lion" and "sea lion" match alike. A match must begin and end at a word boundary.

use super::inflect::Nouns;
use super::without_brackets;
use crate::eda::STOP_WORDS;
use crate::tokenize::Cleaner;
use aho_corasick::AhoCorasick;
use std::collections::HashMap;

/// Names and their forms.
pub struct Search {
    cleaner: Cleaner,
    /// Every form of every name, without blanks.
    forms: AhoCorasick,
    /// The meanings of each form.
    meanings: Vec<Vec<Meaning>>,
}

/// One meaning of a form.
#[derive(Clone, Debug, PartialEq)]
struct Meaning {
    class: u32,
    /// The places in it where words begin, except the first.
    breaks: Vec<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Kind {
    /// Derived from a name: singular or plural.
    Made,
    /// A name that captions are not mined by.
    Name,
    /// An alias.
    Alias,
}

/// The classes of a caption, each once, in sorted order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Those that may be mined from it; a subset of `mentioned`.
    pub named: Vec<u32>,
    /// All that it may be about.
    pub mentioned: Vec<u32>,
}

/// A caption without blanks, in lower case.
struct Squeezed {
    text: String,
    /// The starts of its words, and the end.
    starts: Vec<usize>,
    /// Whether each word is joined to the one before it by a hyphen.
    hyphens: Vec<bool>,
}

impl Search {
    /// Builds the search from the names of classes and their aliases in captions.
    pub fn new(names: &[Vec<String>], aliases: &[Vec<String>]) -> Self {
        let (cleaner, nouns) = (Cleaner::default(), Nouns::new());
        let mut meanings: HashMap<String, Vec<Meaning>> = HashMap::new();
        for ((names, aliases), class) in names.iter().zip(aliases).zip(0..) {
            let names = names.iter().map(|name| (without_brackets(name), Kind::Name));
            let aliases = aliases.iter().map(|alias| (alias.clone(), Kind::Alias));
            for (name, kind) in names.chain(aliases) {
                let words = super::words(&cleaner.clean(&name));
                if words.is_empty() {
                    continue;
                }
                add(&mut meanings, &words, class, kind);
                nouns.forms(&words).iter().for_each(|form| add(&mut meanings, form, class, Kind::Made));
            }
        }
        let (forms, meanings): (Vec<String>, Vec<_>) = meanings.into_iter().unzip();
        let forms = AhoCorasick::new(&forms).expect("names fit into memory many times over");
        Search { cleaner, forms, meanings }
    }

    /// The classes of a caption.
    pub fn classes(&self, caption: &str) -> Found {
        let caption = Squeezed::new(&self.cleaner.clean(caption));
        let mut spans: Vec<(u32, u32, u32)> = Vec::new(); // first word; last, from the end, so that longer ones are sorted first; form
        for found in self.forms.find_overlapping_iter(&caption.text) {
            let ends = [found.start(), found.end()].map(|place| caption.starts.binary_search(&place));
            if let [Ok(first), Ok(end)] = ends {
                spans.push((first as u32, u32::MAX - end as u32, found.pattern().as_u32()));
            }
        }
        spans.sort_unstable();
        let (mut classes, mut reach) = (Found::default(), 0);
        for (first, end, form) in spans {
            let end = u32::MAX - end;
            let (owners, others) = caption.read(first as usize, end as usize, &self.meanings[form as usize]);
            let mentioned = if owners.is_empty() { &others } else { &owners };
            classes.mentioned.extend(mentioned.iter().map(|meaning| meaning.class));
            // A match inside a longer one is a part of its name.
            if end > reach {
                let mined = owners.iter().filter(|owner| owner.kind == Kind::Alias);
                classes.named.extend(mined.map(|meaning| meaning.class));
                reach = if mentioned.is_empty() { reach } else { end };
            }
        }
        for classes in [&mut classes.named, &mut classes.mentioned] {
            classes.sort_unstable();
            classes.dedup();
        }
        classes
    }
}

/// Adds the meanings of the words of a form, keyed by the form without blanks.
fn add(meanings: &mut HashMap<String, Vec<Meaning>>, form: &[String], class: u32, kind: Kind) {
    let mut breaks = Vec::new();
    let text = form.iter().fold(String::new(), |text, word| {
        breaks.push(text.len());
        text + word
    });
    breaks.remove(0);
    let known = meanings.entry(text).or_default();
    match known.iter_mut().find(|known| known.class == class && known.breaks == breaks) {
        Some(known) if known.kind < kind => known.kind = kind,
        Some(_) => {}
        None => known.push(Meaning { class, breaks, kind }),
    }
}

impl Squeezed {
    fn new(caption: &str) -> Self {
        let mut squeezed = Squeezed { text: String::new(), starts: Vec::new(), hyphens: Vec::new() };
        let mut place = 0;
        for word in caption.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let start = word.as_ptr() as usize - caption.as_ptr() as usize;
            squeezed.starts.push(squeezed.text.len());
            squeezed.hyphens.push(matches!(&caption[place..start], "-" | "_" | "\u{AD}" | "\u{2010}" | "\u{2011}"));
            squeezed.text.extend(word.chars().flat_map(char::to_lowercase));
            place = start + word.len();
        }
        squeezed.starts.push(squeezed.text.len());
        squeezed
    }

    /// The meanings of the words from `first` to before `end`, out of the possible `meanings`:
    /// names spelled exactly so and, if there are none, every other meaning that is the same
    /// without blanks. A class name is therefore not the plural of another.
    fn read<'a>(&self, first: usize, end: usize, meanings: &'a [Meaning]) -> (Vec<&'a Meaning>, Vec<&'a Meaning>) {
        let start = self.starts[first];
        let breaks: Vec<usize> = self.starts[first + 1..end].iter().map(|place| place - start).collect();
        // "a corn" is not "acorn"; "a-corn" would be.
        let word = |word: usize| &self.text[self.starts[word]..self.starts[word + 1]];
        let apart = || {
            let loose =
                |next: usize| !self.hyphens[next] && [next - 1, next].iter().any(|at| STOP_WORDS.contains(&word(*at)));
            (first + 1..end).any(loose)
        };
        let (same, other): (Vec<_>, Vec<_>) = meanings.iter().partition(|meaning| meaning.breaks == breaks);
        let (owners, made): (Vec<_>, Vec<_>) = same.into_iter().partition(|meaning| meaning.kind > Kind::Made);
        let other = if other.is_empty() || apart() { Vec::new() } else { other };
        (owners, [made, other].concat())
    }
}
