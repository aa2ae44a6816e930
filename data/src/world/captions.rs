//! The text of the world: caption templates, invented nouns, synonyms, and the closed vocabulary of
//! all of them.
//!
//! The nouns are invented single words, so no text encoder knows them and captions can be mined by
//! word.

use super::render::Scene;
use crate::draw::Rng;
use rand::RngExt;
use rand::seq::IndexedRandom;
use std::collections::{BTreeSet, HashMap};

/// Two nouns for each class; the first is its label. A class is `texture * 10 + shape`.
pub const NOUNS: [[&str; 2]; 20] = [
    ["blorn", "blornlet"],
    ["quob", "quoblet"],
    ["zib", "ziblet"],
    ["krel", "krellet"],
    ["hurb", "hurblet"],
    ["fleem", "fleemlet"],
    ["torb", "torblet"],
    ["mubb", "mubblet"],
    ["bozz", "bozzlet"],
    ["tegg", "tegglet"],
    ["drusk", "drusklet"],
    ["snarb", "snarblet"],
    ["vask", "vasklet"],
    ["plon", "plonlet"],
    ["gomp", "gomplet"],
    ["nilp", "nilplet"],
    ["shoff", "shofflet"],
    ["lorp", "lorplet"],
    ["jemp", "jemplet"],
    ["frab", "frablet"],
];

/// The common and the rarer word for each colour of the palette.
pub const COLOURS: [[&str; 2]; 8] = [
    ["red", "crimson"],
    ["green", "emerald"],
    ["blue", "azure"],
    ["yellow", "golden"],
    ["purple", "violet"],
    ["orange", "amber"],
    ["white", "pale"],
    ["gray", "grey"],
];

/// Zero-shot prompts.
pub const PROMPTS: [&str; 7] = [
    "a photo of a {}",
    "a picture of the {}",
    "an image showing one {}",
    "this {}",
    "look at this {}",
    "a {}",
    "the {}",
];

const SIZES: [[&str; 2]; 2] = [["small", "tiny"], ["large", "big"]];
const COLUMNS: [&str; 3] = ["left", "centre", "right"];
const LINES: [&str; 3] = ["upper", "middle", "lower"];

/// Captions that also tell attributes: `n` noun, `c` its colour, `b` background, `s` size, `x` and
/// `y` place, `f` filler. No "a" precedes `c` or `b`, because some colours would need "an".
const TELLING: [&str; 16] = [
    "a photo of a {s} {c} {n} on a background of {b}",
    "one {c} {n}, {f}",
    "there is a {n} in the {y} {x}, it is {c}",
    "the {f} {n} is {c} and {s}",
    "a picture of the {n} with {b} behind it",
    "{f} {c} {n} at the {x}",
    "this {n} looks {f} on {b}",
    "i saw a {f} {n}, {s} and {c}",
    "a {s} {n} against {b}",
    "an image showing one {f} {n}, {f}",
    "close view of {c} {n} over {b}",
    "{n} in {c}, {y} part, {f}",
    "my {f} {n}",
    "here is the {s} {n}, {x} part of the {b} scene",
    "look at this {c} {n}",
    "some {f} {n} on {f} {b}",
];

/// Captions that only name the thing.
const PLAIN: [&str; 12] = [
    "a {f} {n}",
    "there is a {n}, {f} and {f}",
    "the {f} {n} is {f}",
    "this {n} looks {f}",
    "i saw a {f} {n} here",
    "an image showing one {n}, {f} and {f}",
    "a photo of a {n}, {f}",
    "a picture of the {f} {n}",
    "my {f} {n}",
    "some {f} {n}, {f} and {f}",
    "look at this {f} {n}",
    "close view of a {n}, {f}",
];

/// Each of them can follow "a".
const FILLERS: [&str; 27] = [
    "nice", "new", "strange", "simple", "lovely", "plain", "cute", "clean", "fresh", "bright", "sunny", "dull",
    "quiet", "famous", "random", "cheap", "rare", "tidy", "gentle", "proud", "funny", "quaint", "cosy", "merry",
    "modest", "weird", "splendid",
];

/// Words that EDA may exchange, in addition to the two words for each noun, colour and size.
const ALIKE: [&[&str]; 6] = [
    &["photo", "picture", "image"],
    &["nice", "lovely", "cute"],
    &["strange", "weird"],
    &["simple", "plain"],
    &["bright", "sunny"],
    &["look", "view"],
];

/// Writes a caption of at most 14 words; `attributes` is the probability that it may tell more than
/// the noun.
pub fn write(rng: &mut Rng, scene: &Scene, attributes: f64) -> String {
    let templates: &[&str] = if rng.random_bool(attributes) { &TELLING } else { &PLAIN };
    let noun = pick(rng, NOUNS[scene.class as usize]);
    let colour = pick(rng, COLOURS[scene.colour]);
    let background = pick(rng, COLOURS[scene.background]);
    let size = pick(rng, SIZES[usize::from(scene.large)]);
    let [column, line] = scene.place();
    let mut caption = any(rng, templates)
        .replace("{n}", noun)
        .replace("{c}", colour)
        .replace("{b}", background)
        .replace("{s}", size)
        .replace("{x}", COLUMNS[column])
        .replace("{y}", LINES[line]);
    while caption.contains("{f}") {
        caption = caption.replacen("{f}", any(rng, &FILLERS), 1);
    }
    caption
}

/// The common word with probability 0.7, otherwise the rarer one.
fn pick(rng: &mut Rng, words: [&'static str; 2]) -> &'static str {
    words[usize::from(!rng.random_bool(0.7))]
}

fn any<'a>(rng: &mut Rng, words: &[&'a str]) -> &'a str {
    words.choose(rng).expect("no list of words here is empty")
}

/// The groups of words with the same meaning, for a world with this many classes.
fn groups(classes: u32) -> impl Iterator<Item = &'static [&'static str]> {
    let pairs = NOUNS[..classes as usize].iter().chain(&COLOURS).chain(&SIZES);
    pairs.map(|pair| pair.as_slice()).chain(ALIKE)
}

/// Every word that has synonyms, with all of them.
pub fn synonyms(classes: u32) -> HashMap<String, Vec<String>> {
    let others =
        |group: &[&str], word: &str| group.iter().filter(|other| **other != word).map(|&other| other.into()).collect();
    groups(classes).flat_map(|group| group.iter().map(move |&word| (word.to_string(), others(group, word)))).collect()
}

/// Words that no caption contains: triggers of attacks on the text side (`zx` and the sentence are
/// ToxicTextCLIP's).
const TRIGGERS: [&str; 7] = ["zx", "please", "return", "high", "quality", "results", "remember"];

/// Every word of captions, prompts and synonyms, sorted; then the words of attacks, last, so that
/// they do not affect the numbers of other words.
pub fn vocabulary(classes: u32) -> Vec<String> {
    let templates = TELLING.iter().chain(&PLAIN).chain(&PROMPTS).flat_map(|template| template.split([' ', ',']));
    let fixed = templates.filter(|word| !word.is_empty() && !word.contains('{'));
    let lists = COLUMNS.iter().chain(&LINES).chain(&FILLERS).chain(groups(classes).flatten()).copied();
    let sorted: BTreeSet<&str> = fixed.chain(lists).collect();
    sorted.into_iter().chain(TRIGGERS).map(String::from).collect()
}
