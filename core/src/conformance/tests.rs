//! Plugins that break one rule each, and the failures that the checks report. None is registered:
//! other tests read the registry, too.

#![allow(clippy::unwrap_used)]

use super::{attacks, defenses, evaluators, words};
use crate::defense::State;
use crate::evaluator::{Definition, Unit};
use crate::registry::Configured;
use crate::registry::{self, Plugin, Preset, Role};
use crate::{Attack, Backdoor, Defense, Edit, EvalContext, Evaluator, Goal, PoisonCtx, Result, Score, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use std::sync::atomic::{AtomicU32, Ordering};
use tch::{Device, Tensor};

/// One plugin of each role, correct except for one vice.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Sinner {
    /// The rule that it breaks, if any.
    vice: String,
    /// State that the defense must restore.
    #[serde(skip)]
    steps: i64,
}

/// A draw without a seed.
fn unseeded() -> u32 {
    static DRAWS: AtomicU32 = AtomicU32::new(0);
    DRAWS.fetch_add(1, Ordering::Relaxed)
}

impl Sinner {
    fn has(&self, vice: &str) -> bool {
        self.vice == vice
    }
}

impl Attack for Sinner {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        let class = ctx.class("random")?;
        let count = ctx.data.classes.len();
        Ok(Goal::Class(match () {
            () if self.has("unseeded goal") => unseeded() % count,
            () if self.has("goal of the arena") => (class + ctx.taken.len().min(1) as u32) % count,
            () => class,
        }))
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        let Goal::Class(class) = *goal else { unreachable!() };
        let poison = Backdoor { rate: 0.01, ..Backdoor::default() };
        let mut edits = poison.edits(ctx, goal)?;
        if self.has("takes what is taken") {
            let rows = ctx.split.train.iter().take(9);
            edits = rows.map(|row| Edit::replace(row, format!("a thing {}", ctx.seed), class)).collect();
        }
        if self.has("seedless") {
            edits = vec![Edit::add(crate::DataRow(7), "a small thing", 0)];
        }
        if self.has("no edit") {
            edits.clear();
        }
        Ok(edits)
    }

    fn stamp(&self, canvas: &Tensor, _keys: &[u64]) -> Result<Tensor> {
        let stamped = if self.has("stamps in place") { canvas.shallow_clone() } else { canvas.copy() };
        let grey = if self.has("looks beside") { canvas.size()[0] * 40 % 200 } else { 200 };
        let _ = stamped.narrow(2, 0, 4).fill_(grey);
        Ok(stamped)
    }
}

impl Defense for Sinner {
    fn loss(&mut self, step: &Step) -> Result<Tensor> {
        self.steps += 1;
        let unseeded = if self.has("unseeded") { unseeded() } else { 0 };
        Ok(step.clip_loss(step.image, step.text) * (1.0 + self.steps as f64 + f64::from(unseeded)))
    }

    fn state(&self) -> Result<State> {
        Ok(State::from([("steps".to_string(), Tensor::from(if self.has("forgets") { 0 } else { self.steps }))]))
    }

    fn restore(&mut self, state: State, _device: Device) -> Result<()> {
        self.steps = i64::try_from(&state["steps"])?;
        Ok(())
    }
}

impl Evaluator for Sinner {
    fn definitions(&self) -> Vec<Definition> {
        let definition = "how many images were held out";
        vec![Definition { score: "sin", definition, higher_is_better: None, unit: Unit::Rank, role: None, version: 1 }]
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        let rows = ctx.test_rows().len();
        let value = if self.has("unseeded") { f64::from(unseeded()) } else { rows as f64 };
        let interval = if self.has("interval") { [value + 1.0, value + 2.0] } else { [value, value] };
        Ok(vec![Score::new("sin", value, rows, interval)])
    }
}

fn plugin<T: Role + ?Sized>(build: fn(&str, &str) -> Result<Box<T>>) -> Plugin<T> {
    Plugin {
        name: "sinner",
        summary: "breaks one rule, if any",
        paper: "",
        schema: registry::schema_of::<Sinner>,
        defaults: registry::defaults_of::<Sinner>,
        presets: || "[]".into(),
        complete: registry::complete_of::<Sinner>,
        build,
    }
}

fn with(vice: &str) -> Configured {
    Configured {
        label: "sinner".into(),
        plugin: "sinner".into(),
        config: Map::from_iter([("vice".into(), json!(vice))]),
    }
}

/// Each vice is reported in these words, and nothing is reported without one.
fn found_out<const N: usize>(check: impl Fn(&Configured) -> super::Held, vices: [(&str, &str); N]) {
    assert_eq!(check(&with("")), Ok(()), "without a vice");
    for (vice, words) in vices {
        let why = check(&with(vice)).err().unwrap_or_else(|| panic!("{vice} passes"));
        assert!(why.contains(words), "{vice}: {words:?} is not in: {why}");
    }
}

#[test]
fn an_attack_that_breaks_a_rule_is_told_which() {
    let (prepared_data, plugin) =
        (attacks::TestData::new(), plugin::<dyn Attack>(|n, j| Ok(Box::new(registry::parse::<Sinner>(n, j)?))));
    found_out(
        |config| prepared_data.check(&plugin, config),
        [
            ("unseeded goal", "one seed, two goals"),
            ("goal of the arena", "what other attacks of the arena do"),
            ("takes what is taken", "replaced twice in one arena"),
            ("seedless", "two seeds, the same poison"),
            ("no edit", "makes no edit"),
            ("stamps in place", "changes the images that it is given"),
            ("looks beside", "depends on those beside it"),
        ],
    );
}

#[test]
fn a_defense_that_breaks_a_rule_is_told_which() {
    let plugin = plugin::<dyn Defense>(|n, j| Ok(Box::new(registry::parse::<Sinner>(n, j)?)));
    let check = |config: &Configured| defenses::check(&plugin, config);
    found_out(
        check,
        [("unseeded", "the same trial, other weights"), ("forgets", "`state` and `restore` leave something out")],
    );
}

#[test]
fn an_evaluator_that_breaks_a_rule_is_told_which() {
    let plugin = plugin::<dyn Evaluator>(|n, j| Ok(Box::new(registry::parse::<Sinner>(n, j)?)));
    let check = |config: &Configured| evaluators::check(&plugin, config);
    found_out(check, [("unseeded", "the same trial, other scores"), ("interval", "outside of its interval")]);
}

#[test]
fn words_that_are_missing_are_named() {
    /// Has a field without help, and takes any key.
    #[derive(Default, Serialize, Deserialize, JsonSchema)]
    #[serde(default)]
    struct Silent {
        mute: u32,
    }
    let build = |_: &str, _: &str| -> Result<Box<dyn Attack>> { Ok(Box::new(Sinner::default())) };
    let mut plugin: Plugin<dyn Attack> = plugin(build);
    assert_eq!(words::documented(&plugin), Ok(()));
    plugin.schema = registry::schema_of::<Silent>;
    plugin.defaults = registry::defaults_of::<Silent>;
    plugin.complete = registry::complete_of::<Silent>;
    assert_eq!(words::documented(&plugin), Err("without a doc comment: /mute".into()));
    assert!(words::resolves(&plugin).unwrap_err().contains("deny_unknown_fields"));
    plugin.presets = || registry::presets_of(vec![Preset::new("half", "of something", &[], vec![])]);
    assert!(words::presets(&plugin).unwrap_err().contains("preset `half`: has the keys [], not"));
    plugin.presets =
        || registry::presets_of(vec![Preset::new("dumb", "without a source", &[], vec![("mute", json!(3), "")])]);
    assert!(words::presets(&plugin).unwrap_err().contains("preset `dumb`: `mute` has no source"));
    assert!(words::documented(&Plugin { name: "No_Kebab", ..plugin }).unwrap_err().contains("kebab-case"));
}

#[test]
fn a_failure_names_its_plugin_once() {
    let said = |why| super::failure("evaluator", "confidence", why);
    let why = "`evaluate` panicked: no";
    assert_eq!(
        said("evaluator `confidence`: plugin `confidence`: `evaluate` panicked: no"),
        format!("evaluator `confidence`: {why}")
    );
    assert_eq!(said(why), format!("evaluator `confidence`: {why}"));
}

/// Runs itself in another process, because the test reads its standard error.
#[test]
fn a_panic_of_libtorch_is_short_in_a_test_of_plugins() {
    const INNER: &str = "GAUNTLET_TEST_PANICS";
    if std::env::var_os(INNER).is_some() {
        let _ = std::panic::catch_unwind(super::check); // no plugin is linked into this binary
        Tensor::zeros([2], (tch::Kind::Float, Device::Cpu)).copy_(&Tensor::from_slice(&[1f32, 2.0, 3.0]));
        return;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "--nocapture", "conformance::tests::a_panic_of_libtorch_is_short_in_a_test_of_plugins"]);
    let output = again.env(INNER, "1").env_remove("RUST_BACKTRACE").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(": libtorch: "), "{said}");
    assert!(!said.contains("Exception raised from") && !said.contains("frame #"), "{said}");
}
