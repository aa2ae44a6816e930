//! One plugin per role, broken in the way that its key `how` names. `tests/integration/plugins.rs`
//! loads them.

use gauntlet::attack::PrepareContext;
use gauntlet::defense::State;
use gauntlet::evaluator::{Definition, Unit};
use gauntlet::tch::{Kind, Tensor};
use gauntlet::{
    Attack, DataRow, Defense, Edit, Error, EvalContext, Evaluator, Goal, Phase, PlanContext, PoisonCtx, Result, Score,
    Step,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A broken plugin.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Broken {
    /// The fault.
    how: String,
}

impl Default for Broken {
    fn default() -> Self {
        assert!(std::env::var_os("GAUNTLET_BROKEN_DEFAULT").is_none(), "no default today");
        Broken { how: String::new() }
    }
}

gauntlet::register!(dyn Attack, Broken, "attack", "an attack that is broken", "");
gauntlet::register!(dyn Defense, Broken, "defense", "a defense that is broken", "");
gauntlet::register!(dyn Evaluator, Broken, "evaluator", "an evaluator that is broken", "");
gauntlet::export_plugins!();

impl Broken {
    fn panics_in(&self, method: &str) {
        assert!(self.how != format!("panic in {method}"), "{method} gives up");
    }
}

impl Attack for Broken {
    fn goal(&self, _ctx: &PoisonCtx) -> Result<Goal> {
        self.panics_in("goal");
        Ok(match self.how.as_str() {
            "goal" => Goal::Class(4000),
            "panic in apply_text_trigger" => Goal::Phrase(0),
            _ => Goal::Class(0),
        })
    }

    fn prepare(&mut self, ctx: &PoisonCtx, context: &PrepareContext) -> Result<()> {
        if self.how == "ready" {
            let path = context.place(ctx, "ready", self, &[])?;
            std::fs::write(&path, "made ready").map_err(Error::io(&path))?;
        }
        Ok(())
    }

    fn apply_text_trigger(&self, caption: &str, _key: u64) -> Result<String> {
        self.panics_in("apply_text_trigger");
        Ok(caption.to_string())
    }

    fn poison(&self, ctx: &PoisonCtx, _goal: &Goal) -> Result<Vec<Edit>> {
        self.panics_in("poison");
        let first = ctx.free_rows().next().expect("there are rows");
        let row = if self.how == "row" { DataRow(4_000_000) } else { first };
        Ok(vec![Edit::replace(row, "an image", 0).stamped()])
    }

    fn stamp(&self, canvas: &Tensor, _keys: &[u64]) -> Result<Tensor> {
        self.panics_in("stamp");
        Ok(match self.how.as_str() {
            "shape" => canvas.narrow(2, 0, 3),
            "nan" => canvas.to_kind(Kind::Float) * f64::NAN,
            "undefined" => Tensor::new(),
            "abort" => std::process::abort(),
            _ => canvas.copy(),
        })
    }
}

impl Defense for Broken {
    fn plan(&mut self, _epoch: u32, _bench: &PlanContext) -> Result<Vec<Phase>> {
        self.panics_in("plan");
        Ok(vec![Phase::default()])
    }

    fn loss(&mut self, step: &Step) -> Result<Tensor> {
        self.panics_in("loss");
        let loss = step.clip_loss(step.image, step.text);
        Ok(match self.how.as_str() {
            "vector" => loss.unsqueeze(0) * Tensor::from_slice(&[1.0f32, 2.0]),
            "nan" => loss * f64::NAN,
            "gradient" => loss.detach(),
            "undefined" => Tensor::new(),
            // tch's own panic: 2 columns by 3 rows.
            "libtorch" => Tensor::from_slice(&[1.0f32, 2.0]).matmul(&Tensor::from_slice(&[1.0f32, 2.0, 3.0])),
            _ => loss,
        })
    }

    fn state(&self) -> Result<State> {
        self.panics_in("state");
        Ok(State::new())
    }
}

impl Evaluator for Broken {
    fn definitions(&self) -> Vec<Definition> {
        self.panics_in("definitions");
        let definition = "a number that means nothing at all";
        vec![Definition {
            score: "broken",
            definition,
            higher_is_better: None,
            unit: Unit::Share,
            role: None,
            version: 1,
        }]
    }

    fn evaluate(&self, _subject: &EvalContext) -> Result<Vec<Score>> {
        self.panics_in("evaluate");
        let (name, value) = match self.how.as_str() {
            "nan" => ("broken", f64::NAN),
            "undefined" => ("brokn", 0.5),
            _ => ("broken", 0.5),
        };
        Ok(vec![Score::new(name, value, 1, [value, value])])
    }
}
