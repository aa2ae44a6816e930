//! Captions to tokens: CLIP's byte-pair encoding for real captions, a closed word list for the embedded world.
//!
//! In both, the end of text is the largest token, which is how the text tower finds it, and 0 pads.

use super::words;
use crate::{Error, Result};
use flate2::read::GzDecoder;
use std::collections::HashMap;
use std::io::Read;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::Lowercase;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

/// Turns captions into tokens.
pub enum Tokenizer {
    /// CLIP's byte-pair encoding, 49,408 tokens.
    Clip(Box<tokenizers::Tokenizer>),
    /// One token a word of a closed list.
    Words { ids: HashMap<String, i64>, end: i64 },
}

impl Tokenizer {
    /// CLIP's tokenizer, or a word tokenizer where the data has a closed `vocabulary`.
    ///
    /// # Errors
    /// If the model's `vocab_size` does not fit.
    pub fn new(vocabulary: &[String], vocab_size: i64) -> Result<Self> {
        let needs = if vocabulary.is_empty() { CLIP_TOKENS } else { vocabulary.len() as i64 + 3 };
        if vocab_size < needs {
            let why = format!("is {vocab_size}, and the data's captions need {needs}");
            return Err(Error::invalid("the model's `vocab_size`", why));
        }
        if vocabulary.is_empty() {
            return Ok(Tokenizer::Clip(Box::new(clip_tokenizer())));
        }
        Ok(Tokenizer::Words { ids: vocabulary.iter().cloned().zip(1..).collect(), end: vocab_size - 1 })
    }

    /// Start of text, at most `context_length - 2` tokens of the caption, end of text.
    pub fn encode(&self, caption: &str, context_length: i64) -> Vec<i64> {
        let (words, end): (Vec<i64>, i64) = match self {
            Tokenizer::Clip(clip) => {
                let encoding = clip.encode_fast(caption, false).expect("byte-level encoding knows every byte");
                (encoding.get_ids().iter().map(|&id| id.into()).collect(), CLIP_TOKENS - 1)
            }
            Tokenizer::Words { ids, end } => {
                let words = words(caption).into_iter();
                (words.filter_map(|word| ids.get(&word).copied()).collect(), *end)
            }
        };
        let kept = words.into_iter().take(context_length as usize - 2);
        std::iter::once(end - 1).chain(kept).chain([end]).collect()
    }

    /// Tokens of several captions, padded with 0 to the longest: rows of equal length. Causal attention and pooling at the end of
    /// text make the padding beyond the longest caption irrelevant, so none is added.
    pub fn encode_batch(&self, captions: &[impl AsRef<str>], context_length: i64) -> tch::Tensor {
        let rows: Vec<Vec<i64>> =
            captions.iter().map(|caption| self.encode(caption.as_ref(), context_length)).collect();
        let length = rows.iter().map(Vec::len).max().unwrap_or(0);
        let padded: Vec<i64> =
            rows.iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0, length - row.len()))).collect();
        tch::Tensor::from_slice(&padded).view([rows.len() as i64, length as i64])
    }
}

/// CLIP's vocabulary: 256 bytes, the same ending a word, 48,894 merges, start and end of text.
const CLIP_TOKENS: i64 = 49_408;

fn clip_tokenizer() -> tokenizers::Tokenizer {
    let mut text = String::new();
    let packed: &[u8] = include_bytes!("tokenize/bpe_simple_vocab_16e6.txt.gz");
    GzDecoder::new(packed).read_to_string(&mut text).expect("the shipped merges are whole");
    let pair = |line: &str| line.split_once(' ').map(|(left, right)| (left.to_string(), right.to_string()));
    let merges: Vec<(String, String)> =
        text.lines().skip(1).take(CLIP_TOKENS as usize - 512 - 2).filter_map(pair).collect();
    let bytes = byte_alphabet();
    let ends = bytes.iter().map(|byte| format!("{byte}</w>"));
    let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
    let vocabulary: Vocab = bytes.iter().cloned().chain(ends).chain(merged).zip(0..).collect();
    let bpe = BPE::builder().vocab_and_merges(vocabulary, merges);
    let bpe = bpe.end_of_word_suffix("</w>".into()).build().expect("the shipped merges are consistent");
    let pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    let words = Split::new(SplitPattern::Regex(pattern.into()), SplitDelimiterBehavior::Removed, true)
        .expect("a valid pattern");
    let split: [PreTokenizerWrapper; 2] = [words.into(), ByteLevel::new(false, false, false).into()];
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    tokenizer.with_normalizer(Some(Lowercase)).with_pre_tokenizer(Some(Sequence::new(split.into())));
    tokenizer
}

/// CLIP's printable stand-ins for the 256 bytes, in its order: the printable ones first, then the rest as U+0100 onwards.
fn byte_alphabet() -> Vec<String> {
    let printable = (b'!'..=b'~').chain(0xA1..=0xAC).chain(0xAE..=0xFF).map(char::from);
    let others = (0x100u32..).take(68).filter_map(char::from_u32);
    printable.chain(others).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captions and their tokens by open_clip, made by `bpe.py` beside them.
    #[test]
    fn equals_open_clips_tokenizer() {
        let golden: Vec<(String, Vec<i64>)> =
            serde_json::from_str(include_str!("../../../tests/golden/bpe.json")).unwrap();
        let tokenizer = Tokenizer::new(&[], CLIP_TOKENS).unwrap();
        for (caption, tokens) in &golden {
            assert_eq!(&tokenizer.encode(caption, 16), tokens, "{caption}");
        }
    }
}
