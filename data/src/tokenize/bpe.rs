//! CLIP's byte-pair encoding (Sennrich et al., ACL 2016, over bytes): the published merges of CLIP,
//! applied word by word.

use flate2::read::GzDecoder;
use regex::Regex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::Read;
use std::sync::RwLock;

/// CLIP's vocabulary: 256 bytes, the same bytes at the end of a word, 48,894 merges, start and end
/// of text.
pub const TOKENS: i64 = 49_408;

/// Start and end of text, as open_clip writes them inside captions.
const SPECIAL: [&str; 2] = ["<start_of_text>", "<end_of_text>"];

/// open_clip's pattern of a word. Case is ignored, which affects a lower-case text in two ways:
/// `'ſ` counts as `'s`, and the combining iota below (U+0345), a mark whose capital is a letter, is
/// not part of any word.
const WORD: &str = r"(?i:<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\u{345}]+";

/// Number of cached words. Half of them would cover nearly all running words of a web corpus; more
/// would only cost memory.
const REMEMBERED: usize = 1 << 16;

/// Length in bytes up to which a word is cached, and merged by the simpler loop.
const SHORT: usize = 64;

/// Merges, and a cache of words. The cache affects only the speed.
pub struct Bpe {
    word: Regex,
    /// The token of each byte inside a word, and its token plus 256 at the end of a word.
    byte_tokens: [u32; 256],
    /// A pair of neighbours -> its merge. Earlier merges have smaller tokens, so the smallest is
    /// applied next.
    merges: HashMap<(u32, u32), u32>,
    seen: RwLock<HashMap<Box<str>, Box<[i64]>>>,
}

impl Bpe {
    /// Reads the shipped merges.
    pub fn new() -> Self {
        let mut text = String::new();
        let packed: &[u8] = include_bytes!("bpe_simple_vocab_16e6.txt.gz");
        GzDecoder::new(packed).read_to_string(&mut text).expect("the shipped merges are whole");
        let alphabet = alphabet();
        let ends = alphabet.iter().map(|(char, _)| format!("{char}</w>"));
        let mut tokens: HashMap<String, u32> =
            alphabet.iter().map(|(char, _)| char.to_string()).chain(ends).zip(0..).collect();
        let mut merges = HashMap::new();
        let lines = text.lines().skip(1).take(TOKENS as usize - 2 * 256 - SPECIAL.len());
        for (line, token) in lines.zip(2 * 256..) {
            let (left, right) = line.split_once(' ').expect("a merge is two pieces");
            merges.insert((tokens[left], tokens[right]), token);
            tokens.insert(format!("{left}{right}"), token);
        }
        let mut byte_tokens = [0; 256];
        alphabet.iter().zip(0..).for_each(|(&(_, byte), token)| byte_tokens[usize::from(byte)] = token);
        Bpe { word: Regex::new(WORD).expect("a valid pattern"), byte_tokens, merges, seen: RwLock::default() }
    }

    /// The first `most` tokens of a cleaned text.
    pub fn encode(&self, text: &str, most: usize) -> Vec<i64> {
        let mut tokens = Vec::with_capacity(most);
        let mut new: Vec<(&str, Box<[i64]>)> = Vec::new();
        {
            let seen = self.seen.read().expect("nothing panics while it is written");
            for word in self.word.find_iter(text).map(|found| found.as_str()) {
                if tokens.len() >= most {
                    break;
                }
                match seen.get(word) {
                    Some(known) => tokens.extend_from_slice(known),
                    None => {
                        let made = self.encode_word(word);
                        tokens.extend_from_slice(&made);
                        new.push((word, made));
                    }
                }
            }
        }
        if !new.is_empty() {
            let mut seen = self.seen.write().expect("nothing panics while it is written");
            let room = REMEMBERED.saturating_sub(seen.len());
            let new = new.into_iter().filter(|(word, _)| word.len() <= SHORT);
            seen.extend(new.take(room).map(|(word, made)| (word.into(), made)));
        }
        tokens.truncate(most);
        tokens
    }

    fn encode_word(&self, word: &str) -> Box<[i64]> {
        if let Some(special) = SPECIAL.iter().position(|&special| special == word) {
            return Box::new([TOKENS - SPECIAL.len() as i64 + special as i64]);
        }
        let mut pieces: Vec<u32> = word.bytes().map(|byte| self.byte_tokens[usize::from(byte)]).collect();
        if let Some(last) = pieces.last_mut() {
            *last += 256;
        }
        if pieces.len() > SHORT {
            return self.merge_long(&pieces).into_iter().map(i64::from).collect();
        }
        while let Some(next) = pieces.windows(2).filter_map(|pair| self.merged(pair)).min() {
            let mut kept = 0;
            let mut at = 0;
            while at < pieces.len() {
                let merged = pieces.get(at..at + 2).and_then(|pair| self.merged(pair)) == Some(next);
                pieces[kept] = if merged { next } else { pieces[at] };
                kept += 1;
                at += if merged { 2 } else { 1 };
            }
            pieces.truncate(kept);
        }
        pieces.into_iter().map(i64::from).collect()
    }

    /// Merges the pieces of a long word in time `n log n`. The loop above takes `n^2`, which a
    /// stranger's caption of one long word would turn into minutes. It merges the same pairs in the
    /// same order: all of the smallest merge from left to right, since a merge only makes pairs
    /// whose merges are larger than itself.
    fn merge_long(&self, pieces: &[u32]) -> Vec<u32> {
        const GONE: u32 = u32::MAX;
        let end = pieces.len();
        let mut pieces = pieces.to_vec();
        // The neighbours of each piece that is left; the first has none before it.
        let mut next: Vec<usize> = (1..=end).collect();
        let mut before: Vec<Option<usize>> = (0..end).map(|place| place.checked_sub(1)).collect();
        let found = |pieces: &[u32], left: usize, right: usize| self.merged(&[pieces[left], pieces[right]]);
        let mut waiting: BinaryHeap<Reverse<(u32, usize, usize)>> =
            (1..end).filter_map(|right| Some(Reverse((found(&pieces, right - 1, right)?, right - 1, right)))).collect();
        while let Some(Reverse((merge, left, right))) = waiting.pop() {
            // One of the two may have been merged with another neighbour since.
            if pieces[left] == GONE || pieces[right] == GONE || next[left] != right {
                continue;
            }
            if found(&pieces, left, right) != Some(merge) {
                continue;
            }
            pieces[left] = merge;
            pieces[right] = GONE;
            next[left] = next[right];
            if next[left] < end {
                before[next[left]] = Some(left);
                waiting.extend(found(&pieces, left, next[left]).map(|merge| Reverse((merge, left, next[left]))));
            }
            if let Some(first) = before[left] {
                waiting.extend(found(&pieces, first, left).map(|merge| Reverse((merge, first, left))));
            }
        }
        pieces.retain(|piece| *piece != GONE);
        pieces
    }

    fn merged(&self, pair: &[u32]) -> Option<u32> {
        self.merges.get(&(pair[0], pair[1])).copied()
    }
}

/// CLIP's printable substitutes for the 256 bytes, in its order: printable bytes first, then the
/// rest as U+0100 onwards.
fn alphabet() -> Vec<(char, u8)> {
    let prints = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let printable = (0..=255).filter(prints).map(|byte| (char::from(byte), byte));
    let others = ('\u{100}'..).zip((0..=255).filter(|byte| !prints(byte)));
    printable.chain(others).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Words of letters that merge often, longer than those of the golden file.
    #[test]
    fn a_long_word_gets_the_tokens_of_the_simple_loop() {
        let bpe = Bpe::new();
        for (number, letters) in ["a", "ab", "the", "ing", "photographs", "aaab", "zqj", "ésta"].iter().enumerate() {
            let word = letters.repeat(40 + number);
            let pieces: Vec<u32> = word.bytes().map(|byte| bpe.byte_tokens[usize::from(byte)]).collect();
            let mut simple = pieces.clone();
            while let Some(next) = simple.windows(2).filter_map(|pair| bpe.merged(pair)).min() {
                let at = simple.windows(2).position(|pair| bpe.merged(pair) == Some(next)).unwrap();
                simple.splice(at..at + 2, [next]);
            }
            assert_eq!(bpe.merge_long(&pieces), simple, "{letters}");
        }
    }
}
