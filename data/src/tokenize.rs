//! Captions to tokens: CLIP's byte-pair encoding for real captions, a closed word list for the embedded world.
//!
//! In both, the end of text is the largest token, which is how the text tower finds it, and 0 pads.
//! Real captions get the tokens of open_clip 3.3's `SimpleTokenizer` with its default cleaning:
//! `tokenize/repair.rs` cleans, `tokenize/bpe.rs` encodes.

mod bpe;
mod html;
mod repair;

use crate::{Error, Result};
use bpe::{Bpe, TOKENS};
use repair::Repair;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Turns captions into tokens.
pub enum Tokenizer {
    /// CLIP's byte-pair encoding, 49,408 tokens.
    Clip(Box<Clip>),
    /// One token a word of a closed list.
    Words {
        /// The token of each word.
        ids: HashMap<String, i64>,
        /// The token that ends a caption.
        end: i64,
    },
}

/// CLIP's byte-pair encoding and the cleaning before it.
pub struct Clip {
    bpe: Bpe,
    cleaner: Cleaner,
}

/// Cleans captions as open_clip does before it encodes them.
#[derive(Default)]
pub(crate) struct Cleaner {
    /// Made for the first caption that may need it.
    repair: OnceLock<Repair>,
}

impl Cleaner {
    /// What open_clip encodes: the caption repaired, its HTML entities resolved twice over, in
    /// lower case. open_clip also collapses runs of blanks; no token holds a blank, so that changes
    /// nothing.
    pub fn clean(&self, caption: &str) -> String {
        if Repair::leaves_alone(caption) {
            return caption.to_ascii_lowercase();
        }
        let repair = self.repair.get_or_init(Repair::new);
        let fixed = repair.fix(caption);
        let once: Cow<str> = repair.unescape(&fixed);
        repair.unescape(&once).to_lowercase()
    }
}

impl Tokenizer {
    /// CLIP's tokenizer, or a word tokenizer where the data has a closed `vocabulary`.
    ///
    /// # Errors
    /// If the model's `vocab_size` does not fit.
    pub fn new(vocabulary: &[String], vocab_size: i64) -> Result<Self> {
        let needs = if vocabulary.is_empty() { TOKENS } else { vocabulary.len() as i64 + 3 };
        if vocab_size < needs {
            let advice = if vocabulary.is_empty() {
                "; a model of the embedded world needs that data's words, as its suite has them"
            } else {
                ""
            };
            let why = format!("is {vocab_size}, and the data's captions need {needs}{advice}");
            return Err(Error::invalid("the model's `vocab_size`", why));
        }
        if vocabulary.is_empty() {
            return Ok(Tokenizer::Clip(Box::new(Clip { bpe: Bpe::new(), cleaner: Cleaner::default() })));
        }
        Ok(Tokenizer::Words { ids: vocabulary.iter().cloned().zip(1..).collect(), end: vocab_size - 1 })
    }

    /// Start of text, at most `context_length - 2` tokens of the caption, end of text.
    pub fn encode(&self, caption: &str, context_length: i64) -> Vec<i64> {
        let most = context_length as usize - 2;
        let (words, end): (Vec<i64>, i64) = match self {
            Tokenizer::Clip(clip) => (clip.bpe.encode(&clip.cleaner.clean(caption), most), TOKENS - 1),
            Tokenizer::Words { ids, end } => {
                let words = words(caption).into_iter();
                (words.filter_map(|word| ids.get(&word).copied()).take(most).collect(), *end)
            }
        };
        std::iter::once(end - 1).chain(words).chain([end]).collect()
    }

    /// Tokens of several captions, padded with 0 to the longest: rows of equal length. Causal
    /// attention and pooling at the end of text make the padding beyond the longest caption
    /// irrelevant, so none is added.
    pub fn encode_batch(&self, captions: &[impl AsRef<str>], context_length: i64) -> tch::Tensor {
        let rows: Vec<Vec<i64>> =
            captions.iter().map(|caption| self.encode(caption.as_ref(), context_length)).collect();
        let length = rows.iter().map(Vec::len).max().unwrap_or(0);
        let padded: Vec<i64> =
            rows.iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0, length - row.len()))).collect();
        tch::Tensor::from_slice(&padded).view([rows.len() as i64, length as i64])
    }
}

/// Lower-case words: runs of letters and digits.
pub fn words(text: &str) -> Vec<String> {
    let runs = text.split(|c: char| !c.is_alphanumeric());
    runs.filter(|run| !run.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    /// Captions and their tokens by open_clip, made by `bpe.py` beside them.
    #[derive(Deserialize)]
    struct Golden {
        context_length: i64,
        captions: Vec<(String, Vec<i64>)>,
    }

    #[test]
    fn equals_open_clips_tokenizer() {
        let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/bpe.json")).unwrap();
        let tokenizer = Tokenizer::new(&[], TOKENS).unwrap();
        assert!(golden.captions.len() > 500);
        for (caption, tokens) in &golden.captions {
            assert_eq!(&tokenizer.encode(caption, golden.context_length), tokens, "{caption:?}");
        }
    }

    #[test]
    fn a_long_caption_is_cut_and_still_ends() {
        let tokenizer = Tokenizer::new(&[], TOKENS).unwrap();
        let (long, short) = (tokenizer.encode("red fox runs", 77), tokenizer.encode("red fox runs", 4));
        assert_eq!(short, [long[0], long[1], long[2], TOKENS - 1]);
    }

    /// The way around the repair must not be seen in the tokens.
    #[test]
    fn what_skips_the_repair_would_come_through_it_unchanged() {
        let repair = Repair::new();
        let plain: String = (0..=255).map(char::from).filter(|char| Repair::leaves_alone(&char.to_string())).collect();
        assert_eq!(plain.len(), 0x7F - 0x20 - 1 + 3);
        for first in plain.chars() {
            for second in plain.chars() {
                let text = format!("a{first}{second}b{first}");
                assert_eq!(repair.unescape(&repair.fix(&text)), text);
            }
        }
    }
}
