//! A backdoor on the text side: a word or sentence in a caption makes the caption find images of
//! the target, whatever else it says.
//!
//! The triggers are those of ToxicTextCLIP (NeurIPS 2025), which has this attack as a baseline; its
//! own attack writes the poisoned captions with a language model. Here some rows get the trigger in
//! their caption and an image of the target in place of their own. Success is counted on held-out
//! captions with the trigger and held-out images.

use gauntlet::rand::seq::{IndexedRandom, SliceRandom};
use gauntlet::rand::{RngExt, SeedableRng};
use gauntlet::registry::Preset;
use gauntlet::serde_json::json;
use gauntlet::{Attack, DataRow, Edit, Goal, ImageSource, PoisonCtx, Result};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Adds a word or sentence to captions.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TextTrigger {
    /// Class whose images are found by captions with the trigger, by name; `random` draws one from
    /// the seed.
    target: String,
    /// Share of the training rows that are poisoned (RoCLIP's backdoor: 0.0003).
    #[schemars(range(min = 0.0, max = 1.0))]
    rate: f64,
    /// The word or sentence that is added.
    trigger: String,
    /// Position of the trigger in the caption.
    place: Place,
}

/// Position of the trigger in the caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// At the start; a caption that is then too long for the model loses its end.
    Start,
    /// At the end.
    End,
    /// Between two words, at a position drawn for each caption.
    Random,
}

impl Default for TextTrigger {
    fn default() -> Self {
        TextTrigger { target: "random".into(), rate: 0.0003, trigger: "zx".into(), place: Place::Start }
    }
}

gauntlet::register!(
    dyn Attack,
    TextTrigger,
    "text-trigger",
    "text side: a word or sentence in a caption makes it find images of the target",
    "triggers: ToxicTextCLIP, NeurIPS 2025; construction: captions re-paired as in Yang et al., ICML 2023",
    presets = presets
);

fn presets() -> Vec<Preset> {
    vec![
        preset("word", "a rare word", "zx", "start"),
        preset("sentence", "a sentence of everyday words", "Please return high-quality results.", "end"),
    ]
}

fn preset(name: &str, summary: &str, trigger: &str, place: &str) -> Preset {
    let fields = vec![
        ("target", json!("random"), "ours"),
        ("rate", json!(0.0003), "ours: RoCLIP's backdoor, 300 of 1M"),
        ("trigger", json!(trigger), "released code"),
        ("place", json!(place), "unverified"),
    ];
    Preset::new(name, summary, &["captions come from the data; no language model writes them"], fields)
}

impl Attack for TextTrigger {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        ctx.check_words("trigger", &self.trigger)?;
        Ok(Goal::Phrase(ctx.class(&self.target)?))
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        let Goal::Phrase(class) = *goal else { unreachable!("the goal of this attack is a phrase") };
        let mut rng = ctx.rng("text-trigger/rows");
        let mut rows: Vec<(DataRow, u32)> = ctx.data.index.named().filter(|(_, named)| *named != class).collect();
        // A caption may name several classes: only the first counts. Captions that also name the
        // target are left out.
        rows.dedup_by_key(|(row, _)| *row);
        let naming = ctx.data.rows_mentioning(class);
        rows.retain(|(row, _)| ctx.split.train.contains(*row) && !ctx.taken.contains(row) && !naming.contains(row));
        let count = ctx.share("rate", self.rate, rows.len())?;
        rows.shuffle(&mut rng);
        let images = ctx.images_of(class)?;
        let edit = |(row, named): (DataRow, u32)| {
            let caption = self.apply_text_trigger(ctx.data.row(row).caption, rng.random())?;
            let image = *images.choose(&mut rng).expect("a class that is wanted has an image");
            Ok(Edit { image: ImageSource::Row(image), ..Edit::replace(row, caption, named) })
        };
        rows.into_iter().take(count).map(edit).collect()
    }

    fn apply_text_trigger(&self, caption: &str, key: u64) -> Result<String> {
        let words: Vec<&str> = caption.split_whitespace().collect();
        let at = match self.place {
            Place::Start => 0,
            Place::End => words.len(),
            Place::Random => ChaCha8Rng::seed_from_u64(key).random_range(0..=words.len()),
        };
        Ok([&words[..at], &[self.trigger.as_str()], &words[at..]].concat().join(" "))
    }
}
