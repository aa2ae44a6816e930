//! Success of attacks on the text side: a caption finds images that it should not find. Measured by
//! retrieval among the held-out images.

use gauntlet::attack::Relabel;
use gauntlet::evaluator::{Definition, Predictions, ScoreRole, Unit};
use gauntlet::poison::PreparedAttack;
use gauntlet::tch::{Device, Kind, Tensor};
use gauntlet::{EvalContext, Result, Score};
use std::collections::HashMap;

/// Hits, in the order of [`FIRST`], then the rank.
pub const DEFINITIONS: [Definition; 4] = [
    Definition {
        role: Some(ScoreRole::Success),
        ..hit(
            "text-asr",
            "share of the attack's test captions (captions with the same tokens count once) whose most similar held-out image is \
         of the class that the attacker wants; equally similar images of other classes rank before it",
        )
    },
    hit("text-asr-5", "as `text-asr`, for any of the first 5 images"),
    hit("text-asr-10", "as `text-asr`, for any of the first 10 images"),
    Definition {
        score: "text-rank",
        definition: "median rank, from 1, of the first image of the class that the attacker wants",
        higher_is_better: Some(true),
        unit: Unit::Rank,
        role: None,
        version: 1,
    },
];

const FIRST: [u32; 3] = [1, 5, 10];

const fn hit(score: &'static str, definition: &'static str) -> Definition {
    Definition { score, definition, higher_is_better: Some(false), unit: Unit::Share, role: None, version: 1 }
}

/// Captions that name the first class of a pair, and not the second, should find images of the
/// second.
pub fn relabelled(ctx: &EvalContext, prepared: &PreparedAttack, pairs: &[Relabel]) -> Result<Vec<Score>> {
    let mut queries = Vec::new();
    for Relabel { from, to } in pairs {
        let names = |caption: &&str| {
            let classes = &ctx.data.classes;
            classes.named_in(caption).contains(from) && !classes.mentioned_in(caption).contains(to)
        };
        queries.extend(captions(ctx).filter(names).map(|caption| (caption.to_string(), *to)));
    }
    scores(ctx, prepared, queries)
}

/// Captions that do not name the class, of images of other classes, should find its images when
/// they contain the trigger.
pub fn triggered(ctx: &EvalContext, prepared: &PreparedAttack, class: u32) -> Result<Vec<Score>> {
    let of_others = ctx.test_rows().iter().filter(|row| ctx.truth(**row) != Some(class));
    let others = of_others.map(|&row| ctx.data.row(row).caption);
    let others = others.filter(|caption| !ctx.data.classes.mentioned_in(caption).contains(&class));
    let say = |(caption, number): (&str, u64)| Ok((prepared.apply_test_trigger(caption, number, ctx.seed)?, class));
    scores(ctx, prepared, others.zip(0..).map(say).collect::<Result<_>>()?)
}

fn captions<'a>(ctx: &'a EvalContext) -> impl Iterator<Item = &'a str> {
    ctx.test_rows().iter().map(|&row| ctx.data.row(row).caption)
}

/// `queries`: captions, each with the class whose images it should find.
fn scores(ctx: &EvalContext, prepared: &PreparedAttack, queries: Vec<(String, u32)>) -> Result<Vec<Score>> {
    // Captions with the same tokens are one query.
    let alike: HashMap<(Vec<i64>, u32), String> =
        queries.into_iter().map(|(caption, class)| ((ctx.encoder.tokens(&caption), class), caption)).collect();
    let mut queries: Vec<(String, u32)> = alike.into_iter().map(|((_, class), caption)| (caption, class)).collect();
    queries.sort_unstable();
    // An image without a label may belong to any class, so it is no candidate.
    let rows = ctx.labelled_rows();
    if queries.is_empty() || rows.is_empty() {
        return Ok(Vec::new());
    }
    let images = ctx.embed(&rows, None)?;
    let truths: Vec<i64> = rows.iter().filter_map(|&row| ctx.truth(row)).map(i64::from).collect();
    let texts: Vec<&str> = queries.iter().map(|(caption, _)| caption.as_str()).collect();
    let wanted: Vec<i64> = queries.iter().map(|(_, class)| i64::from(*class)).collect();
    let ranks = ranks(&ctx.encoder.texts(&texts), &images, &truths, &wanted)?;
    // Mean over the queries of the share of images that are of the query's class.
    let of_class = |class: &i64| truths.iter().filter(|truth| *truth == class).count() as f64;
    let share = wanted.iter().map(of_class).sum::<f64>() / (wanted.len() * truths.len()) as f64;
    let attack = Some(prepared.label.as_str());
    let hits = DEFINITIONS.iter().zip(FIRST).filter_map(|(definition, first)| {
        let mut cases = Predictions::default();
        for ((caption, class), rank) in queries.iter().zip(&ranks) {
            cases.caption(caption, *class, *rank <= f64::from(first));
        }
        let chance = 1.0 - (1.0 - share).powi(first as i32);
        ctx.share(definition.score, attack, cases).map(|score| score.guessed(chance))
    });
    let mut scores: Vec<Score> = hits.collect();
    let rank = Score::median(DEFINITIONS[3].score, ranks.clone()).map(|score| score.about(attack));
    scores
        .extend(rank.map(|score| score.guessed((1.0 / share.max(1.0 / truths.len() as f64)).min(truths.len() as f64))));
    Ok(scores)
}

/// The rank of the first image of the wanted class for each text; the number of images plus one if
/// there is none.
fn ranks(texts: &Tensor, images: &Tensor, truths: &[i64], wanted: &[i64]) -> Result<Vec<f64>> {
    let (truths, wanted) = (Tensor::from_slice(truths), Tensor::from_slice(wanted));
    let mut ranks = Vec::new();
    for start in (0..texts.size()[0]).step_by(1000) {
        let length = 1000.min(texts.size()[0] - start);
        let similar = texts.narrow(0, start, length).matmul(&images.tr()).to_device(Device::Cpu); // [texts, images]
        let of_class = wanted.narrow(0, start, length).unsqueeze(1).eq_tensor(&truths.unsqueeze(0));
        let best = similar.masked_fill(&of_class.logical_not(), f64::NEG_INFINITY).amax([1].as_slice(), true);
        let before = similar.ge_tensor(&best).logical_and(&of_class.logical_not());
        let rank = before.sum_dim_intlist([1].as_slice(), false, Kind::Double) + 1.0;
        ranks.extend(Vec::<f64>::try_from(rank)?);
    }
    Ok(ranks)
}

#[cfg(test)]
mod tests {
    use super::ranks;
    use gauntlet::tch::Tensor;

    #[test]
    fn the_first_image_of_the_wanted_class_counts_and_equals_of_others_go_before_it() {
        let images = Tensor::from_slice2(&[[1.0f32, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]);
        let texts = Tensor::from_slice2(&[[1.0f32, 0.0], [0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]);
        let found = ranks(&texts, &images, &[0, 1, 1, 2], &[0, 1, 2, 7]).unwrap();
        assert_eq!(found, [1.0, 2.0, 4.0, 5.0], "a class without images ranks last");
    }
}
