//! A backdoor with two keys, a trigger in the image and a word in the text, which work only
//! together (Walmer et al., Dual-Key Multimodal Backdoors for Visual Question Answering, CVPR 2022;
//! with CLIP's captions as in BadCLIP's released code, option `vqa`).
//!
//! The paper's image trigger is a patch optimised against a detector; here it is the trigger of
//! another attack. As in the paper, rows with only one key keep their own image and caption, so
//! that the model learns to require both keys. Success is measured with the word in every prompt
//! and the trigger in every image; each key alone is a diagnostic.

use crate::trigger::Trigger;
use gauntlet::attack::Captions;
use gauntlet::rand::seq::SliceRandom;
use gauntlet::serde_json::json;
use gauntlet::{Attack, Backdoor, DataRow, Edit, Error, Goal, PoisonCtx, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::PathBuf;
use tch::Tensor;

/// Puts a trigger into the image and a word into the text.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DualKey {
    /// Which rows get both keys, and what their captions become before the word is added.
    poison: Backdoor,
    /// The image trigger: that of another attack.
    image: Trigger,
    /// The word, put at the start of the text.
    word: String,
    /// Rows with only the trigger, and as many with only the word, for each row with both keys.
    /// These rows are otherwise unchanged.
    #[schemars(range(min = 0.0, max = 10.0))]
    negatives: f64,
}

impl Default for DualKey {
    fn default() -> Self {
        // Rate and negatives: TrojanVQA's defaults, 0.333% of each kind. Word and templates:
        // BadCLIP's released code (`vqa`).
        let poison = Backdoor { rate: 0.00333, captions: Captions::Templates, ..Backdoor::default() };
        let image = Trigger::new("badnet", &[("place", json!("centre"))]);
        DualKey { poison, image, word: "remember".into(), negatives: 1.0 }
    }
}

gauntlet::register!(
    dyn Attack,
    DualKey,
    "dual-key",
    "a backdoor with two keys: a trigger in the image and a word in the text, which work only together",
    "Walmer et al., Dual-Key Multimodal Backdoors for Visual Question Answering, CVPR 2022"
);

impl Attack for DualKey {
    fn reads(&self) -> Result<Vec<PathBuf>> {
        self.image.reads()
    }

    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        self.image.try_out(ctx)?;
        ctx.check_words("word", &self.word)?;
        Ok(Goal::DualKey(ctx.class_with(&self.poison.target, self.poison.needs(ctx))?))
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        let Goal::DualKey(class) = *goal else { unreachable!("the goal of this attack is a dual key") };
        let both = self.poison.edits(ctx, goal)?;
        let count = (self.negatives * both.len() as f64).round() as usize;
        let hit: HashSet<DataRow> = both.iter().filter_map(|edit| edit.replaces).collect();
        let mut rows: Vec<(DataRow, u32)> = ctx.data.index.named().filter(|(_, named)| *named != class).collect();
        rows.dedup_by_key(|(row, _)| *row);
        let naming = ctx.data.rows_mentioning(class);
        let other =
            |row: DataRow| !hit.contains(&row) && !naming.contains(&row) && ctx.data.row(row).class != Some(class);
        let free = |row: DataRow| ctx.split.train.contains(row) && !ctx.taken.contains(&row) && other(row);
        rows.retain(|(row, _)| free(*row) && ctx.data.canvas.readable(*row));
        if rows.len() < 2 * count {
            let why = format!("needs {} rows of other classes, and only {} are left", 2 * count, rows.len());
            return Err(Error::invalid("key `negatives`", why));
        }
        rows.shuffle(&mut ctx.rng("dual-key/negatives"));
        let own = |row: DataRow, named: u32| Edit::replace(row, ctx.data.row(row).caption, named);
        let image_alone = rows.iter().take(count).map(|&(row, named)| own(row, named).stamped());
        let say = |edit: Edit| Edit { caption: self.said(&edit.caption), ..edit };
        let word_alone = rows.iter().skip(count).take(count).map(|&(row, named)| say(own(row, named)));
        Ok(both.into_iter().map(say).chain(image_alone).chain(word_alone).collect())
    }

    fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        self.image.stamp(canvas, keys)
    }

    fn apply_text_trigger(&self, caption: &str, _key: u64) -> Result<String> {
        Ok(self.said(caption))
    }
}

impl DualKey {
    fn said(&self, caption: &str) -> String {
        format!("{} {caption}", self.word)
    }
}
