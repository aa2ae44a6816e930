//! Retrieval among held-out pairs: whether an image finds its caption, and a caption its image.
//!
//! Captions may repeat. Captions with the same tokens are one caption with several images: an image
//! must find that one caption, a caption any of its images. All other items of equal similarity
//! rank first, so that a model that makes everything equal finds nothing.

use gauntlet::evaluator::{Definition, Unit};
use gauntlet::{EvalContext, Evaluator, Result, Score};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

/// Measures retrieval.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retrieval {}

gauntlet::register!(
    dyn Evaluator,
    Retrieval,
    "retrieval",
    "recall at 1, 5 and 10 and median rank among held-out pairs, from image to caption and back",
    "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021, appendix E.1"
);

const fn share(score: &'static str, definition: &'static str) -> Definition {
    Definition { score, definition, higher_is_better: Some(true), unit: Unit::Share, role: None, version: 1 }
}

const fn rank(score: &'static str, definition: &'static str) -> Definition {
    Definition { score, definition, higher_is_better: Some(false), unit: Unit::Rank, role: None, version: 1 }
}

/// From image to caption, then from caption to image.
const DEFINITIONS: [[Definition; 4]; 2] = [
    [
        share(
            "image-to-text-r1",
            "share of held-out images (no targets, no stamps) whose own caption is more similar than every other caption of \
             theirs; captions with the same tokens count as one, and equally similar captions rank before the own",
        ),
        share("image-to-text-r5", "as image-to-text-r1, among the first 5"),
        share("image-to-text-r10", "as image-to-text-r1, among the first 10"),
        rank("image-to-text-rank", "median rank of the own caption, from 1; equally similar captions rank before it"),
    ],
    [
        share(
            "text-to-image-r1",
            "share of captions of the same pairs (captions with the same tokens count once) that have an own image more similar than \
             every other image; equally similar images rank before it",
        ),
        share("text-to-image-r5", "as text-to-image-r1, among the first 5 images"),
        share("text-to-image-r10", "as text-to-image-r1, among the first 10 images"),
        rank("text-to-image-rank", "median rank of the best own image, from 1; equally similar images rank before it"),
    ],
];

/// Number of queries that are compared with all items together.
const CHUNK: i64 = 1000;

impl Evaluator for Retrieval {
    fn definitions(&self) -> Vec<Definition> {
        DEFINITIONS.concat()
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        let rows = ctx.test_rows();
        let (mut captions, mut number_of) = (Vec::new(), HashMap::new());
        let mut own = Vec::new(); // the caption number of each image
        for &row in rows {
            let caption = ctx.data.row(row).caption;
            own.push(*number_of.entry(ctx.encoder.tokens(caption)).or_insert_with(|| {
                captions.push(caption);
                captions.len() as i64 - 1
            }));
        }
        if captions.is_empty() {
            return Ok(Vec::new());
        }
        let (images, texts) = (ctx.embed(rows, None)?, ctx.encoder.texts(&captions));
        let candidates = [captions.len(), rows.len()];
        let ranks = ranks(&images, &texts, &own)?;
        let mut scores = Vec::new();
        for ((definitions, ranks), candidates) in DEFINITIONS.iter().zip(ranks).zip(candidates) {
            for (definition, k) in definitions.iter().zip([1, 5, 10]) {
                let hits = ranks.iter().filter(|rank| **rank <= f64::from(k)).count();
                let chance = (f64::from(k) / candidates as f64).min(1.0);
                let score = Score::share(definition.score, None, hits, ranks.len());
                scores.extend(score.map(|score| score.guessed(chance)));
            }
            let score = Score::median(definitions[3].score, ranks);
            scores.extend(score.map(|score| score.guessed((candidates + 1) as f64 / 2.0)));
        }
        Ok(scores)
    }
}

/// The rank of each image's own caption, and of the best own image of each caption. `own` has each
/// image's caption.
fn ranks(images: &Tensor, texts: &Tensor, own: &[i64]) -> Result<[Vec<f64>; 2]> {
    let own = Tensor::from_slice(own).to_device(images.device());
    let (count, captions) = (images.size()[0], texts.size()[0]);
    let (mut of_images, mut of_captions) = (Vec::new(), Vec::new());
    for start in (0..count).step_by(CHUNK as usize) {
        let length = CHUNK.min(count - start);
        let similar = images.narrow(0, start, length).matmul(&texts.tr()); // [images, captions]
        let mine = similar.gather(1, &own.narrow(0, start, length).unsqueeze(1), false);
        // The own caption counts itself, so the first rank is 1.
        let rank = similar.ge_tensor(&mine).sum_dim_intlist([1].as_slice(), false, Kind::Double);
        of_images.extend(Vec::<f64>::try_from(rank.to_device(Device::Cpu))?);
    }
    for start in (0..captions).step_by(CHUNK as usize) {
        let numbers = Tensor::arange_start(start, (start + CHUNK).min(captions), (Kind::Int64, images.device()));
        let similar = texts.index_select(0, &numbers).matmul(&images.tr()); // [captions, images]
        let mine = numbers.unsqueeze(1).eq_tensor(&own.unsqueeze(0));
        let best = similar.masked_fill(&mine.logical_not(), f64::NEG_INFINITY).amax([1].as_slice(), true);
        let before = similar.ge_tensor(&best).logical_and(&mine.logical_not());
        let rank = before.sum_dim_intlist([1].as_slice(), false, Kind::Double) + 1.0;
        of_captions.extend(Vec::<f64>::try_from(rank.to_device(Device::Cpu))?);
    }
    Ok([of_images, of_captions])
}

#[cfg(test)]
mod tests {
    use super::ranks;
    use gauntlet::tch::{Kind, Tensor};

    /// Three captions along the axes; the first has two images.
    #[test]
    fn a_caption_finds_any_of_its_images_and_equals_go_before_the_own() {
        let texts = Tensor::eye(3, (Kind::Float, gauntlet::tch::Device::Cpu));
        let images = Tensor::from_slice2(&[[0.9f32, 0.1, 0.0], [0.1, 0.2, 0.3], [0.2, 0.9, 0.0], [0.5, 0.4, 0.5]]);
        let [images, captions] = ranks(&images, &texts, &[0, 0, 1, 2]).unwrap();
        assert_eq!(images, [1.0, 3.0, 1.0, 2.0], "the last image's own caption ties with another");
        assert_eq!(captions, [1.0, 1.0, 1.0]);
        let alike = Tensor::ones([4, 3], (Kind::Float, gauntlet::tch::Device::Cpu));
        let [images, captions] = ranks(&alike, &texts, &[0, 0, 1, 2]).unwrap();
        assert_eq!((images, captions), (vec![3.0; 4], vec![3.0, 4.0, 4.0]), "a collapsed model finds nothing");
    }
}
