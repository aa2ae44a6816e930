//! Checks of evaluators: each measures the scores it defines, and equal scores twice, for every
//! kind of goal.

use super::standin::{self, MatchesItself};
use super::{Held, must};
use crate::evaluator::Unit;
use crate::progress::Silent;
use crate::registry::Configured;
use crate::registry::Plugin;
use crate::results::{Line, ScoreLine};
use crate::run::RunContext;
use crate::trial::{Plugins, Trial};
use crate::{Evaluator, Result};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Refuses a score that another evaluator also defines.
pub(super) fn twice(plugin: &Plugin<dyn Evaluator>, scores: &mut HashMap<&'static str, &'static str>) -> Held {
    let Ok(evaluator) = plugin.build(&(plugin.defaults)()) else {
        return Ok(()); // `check` tells why.
    };
    evaluator.definitions().into_iter().try_for_each(|definition| {
        let other = scores.insert(definition.score, plugin.name);
        let why = |other| format!("evaluator `{}`: `{other}` defines `{}`, too", plugin.name, definition.score);
        other.map_or(Ok(()), |other| Err(why(other)))
    })
}

pub(super) fn check(plugin: &Plugin<dyn Evaluator>, config: &Configured) -> Held {
    let build = || plugin.build(&serde_json::to_string(&config.config).expect("plain data"));
    let definitions = build().map_err(|error| error.chain())?.definitions();
    must(!definitions.is_empty(), "it defines no score")?;
    let short = definitions.iter().find(|definition| definition.definition.len() <= 20);
    short.map_or(Ok(()), |short| Err(format!("the definition of `{}` says too little", short.score)))?;

    let home = tempfile::tempdir().expect("a temporary folder");
    let trial = Trial { evaluators: vec![config.clone()], ..standin::trial() };
    let measure = |run: &str| {
        build().and_then(|evaluator| scores(&trial, evaluator, home.path(), run)).map_err(|error| error.chain())
    };
    let once = measure("once")?;
    must(once == measure("again")?, "the same trial, other scores; a draw comes from `ctx.seed`")?;
    once.iter().try_for_each(|score| sensible(score).map_err(|why| format!("score `{}` {why}", score.score)))
}

fn scores(trial: &Trial, evaluator: Box<dyn Evaluator>, home: &Path, run: &str) -> Result<Vec<ScoreLine>> {
    let stop = AtomicBool::new(false);
    let machine = RunContext::new(&Silent, &stop);
    let cast = Plugins { attacks: standin::attacks(), defense: Box::new(MatchesItself), evaluators: vec![evaluator] };
    let lines = trial.run_with(cast, &home.join(run), &home.join("store"), &machine)?;
    Ok(lines.into_iter().filter_map(|line| if let Line::Score(score) = line { Some(score) } else { None }).collect())
}

fn sensible(score: &ScoreLine) -> Held {
    let ScoreLine { value, low, high, n, .. } = *score;
    must(n > 0, "was counted over no case; return no score then")?;
    // An interval that ends at the value may miss it by rounding.
    let slack = 1e-9 * value.abs().max(1.0);
    must(
        (low - slack..=high + slack).contains(&value),
        format!("is {value}, outside of its interval from {low} to {high}"),
    )?;
    let share = score.unit != Unit::Share || (0.0..=1.0).contains(&value);
    must(share, format!("is {value}, but a share is from 0 to 1; give it another unit"))?;
    let about = |attack: &String| standin::attack_labels().contains(attack);
    must(score.attack.iter().all(about), format!("is about {:?}, which is not the label of an attack", score.attack))
}
