//! Shared by the filters: defenses that score every pair once, before the first epoch, with the
//! undefended model of the same data (the reference model), drop the most suspicious share and
//! train on the rest. By default they train for as many steps as the other defenses, so the
//! remaining rows are used more often; `steps = "fewer"` trains for as many epochs, and thus fewer
//! steps.

use gauntlet::defense::{EmbeddedPairs, Needs, State, Undefended};
use gauntlet::{Phase, PlanContext, Result, RowNumber};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tch::{Kind, Tensor};

/// How long a model is trained on the remaining rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Steps {
    /// As many steps as on all rows.
    #[default]
    Equal,
    /// As many epochs as on all rows.
    Fewer,
}

/// The remaining rows; `None` before they are chosen.
#[derive(Debug, Default)]
pub struct Kept(Option<Arc<Vec<RowNumber>>>);

pub const NEEDS: Needs = Needs { undefended: Undefended::Reference, clean_pairs: 0.0 };

impl Kept {
    /// The phase of any epoch. Rows are scored in chunks of about `chunk` rows, drawn from all;
    /// `suspicion` returns f32 `[rows]` for a chunk.
    pub fn plan(
        &mut self,
        ctx: &PlanContext,
        (drop, steps): (f64, Steps),
        chunk: usize,
        suspicion: impl Fn(&EmbeddedPairs) -> Tensor,
    ) -> Result<Vec<Phase>> {
        if self.0.is_none() {
            // Row numbers are already random: rows with adjacent numbers are unrelated.
            let (rows, chunks) = (ctx.rows(), (ctx.rows() / chunk.max(1)).max(1));
            let (numbers, bound) = (ctx.numbers(), |chunk: usize| rows * chunk / chunks);
            let look = |chunk: usize| Ok(suspicion(&ctx.embed_undefended(&numbers[bound(chunk)..bound(chunk + 1)])?));
            let all = Tensor::cat(&(0..chunks).map(look).collect::<Result<Vec<_>>>()?, 0);
            let kept = least(&all, drop)?;
            ctx.report(&all, &kept)?;
            self.0 = Some(Arc::new(kept));
        }
        let steps = (steps == Steps::Equal).then_some(ctx.rows() / ctx.batch());
        Ok(vec![Phase { rows: self.0.clone(), steps, ..Phase::default() }])
    }

    pub fn state(&self) -> State {
        self.0.iter().map(|kept| ("kept".to_string(), RowNumber::tensor(kept))).collect()
    }

    pub fn restore(&mut self, mut state: State) -> Result<()> {
        self.0 = match state.remove("kept") {
            Some(rows) => Some(Arc::new(RowNumber::of_tensor(&rows)?)),
            None => None,
        };
        Ok(())
    }
}

/// All rows except the share `drop` with the highest suspicion.
fn least(suspicion: &Tensor, drop: f64) -> Result<Vec<RowNumber>> {
    let suspicion = Vec::<f32>::try_from(suspicion.to_kind(Kind::Float))?;
    let mut rows: Vec<RowNumber> = (0..suspicion.len()).map(RowNumber::at).collect();
    rows.sort_by(|a, b| suspicion[a.place()].total_cmp(&suspicion[b.place()]));
    rows.truncate(suspicion.len() - (drop * suspicion.len() as f64).round() as usize);
    rows.sort_unstable();
    Ok(rows)
}
