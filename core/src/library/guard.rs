//! The guard around every plugin: it turns a panic, or an invalid return value, into an error that
//! names the plugin.
//!
//! [`register!`](crate::register) builds plugins through it, so that its code is in the plugin's
//! own library: a program cannot catch the panic of another runtime. Each role forwards its methods
//! below; a new method needs one more line.

use crate::attack::PrepareContext;
use crate::build;
use crate::data::Dataset;
use crate::data::error::without_frames;
use crate::data::visible;
use crate::defense::{DefenseRole, Inference, Needs, Phase, PlanContext, State, Step};
use crate::evaluator::{Definition, EvalContext, Score};
use crate::recipe::Recipe;
use crate::registry::{Plugin, Role};
use crate::train::trajectory::Probe;
use crate::{Attack, Defense, Edit, Error, Evaluator, Goal, PoisonCtx, Result};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::PathBuf;
use std::sync::Once;
use tch::{Device, Kind, Tensor};

/// A plugin behind its guard. `Said` holds constant answers, which are asked for only once.
pub(super) struct Guarded<T: ?Sized, Said = ()> {
    name: String,
    inner: Box<T>,
    said: Said,
}

/// For [`register!`](crate::register): builds a plugin and puts the guard around it.
pub fn build<T: Role + ?Sized>(name: &str, make: impl FnOnce() -> Result<Box<T>>) -> Result<Box<T>> {
    T::guard(name, catch(name, "deserialize", make)?)
}

/// For [`register!`](crate::register): runs another fallible call into a plugin.
pub fn run<R>(name: &str, method: &str, call: impl FnOnce() -> Result<R>) -> Result<R> {
    catch(name, method, call)
}

/// For [`export_plugins!`](crate::export_plugins): the plugins of this library. The functions that
/// need no instance are called once, so that a panic in them is caught here, where it can be.
pub(super) fn listed<T: Role + ?Sized>() -> Result<Vec<&'static Plugin<T>>> {
    let plugins = T::linked();
    for plugin in &plugins {
        let ask = || {
            let _ = ((plugin.schema)(), (plugin.presets)());
            plugin.complete(&(plugin.defaults)())
        };
        catch(plugin.name, "default", ask)?;
    }
    Ok(plugins)
}

/// Calls into a plugin. A plugin that has panicked is not called again: its error ends the trial.
fn catch<R>(name: &str, method: &str, call: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        Err(refused(name, format!("`{method}` panicked: {}", text.map_or("without a message".into(), without_frames))))
    })
}

/// Makes panics of tch short on standard error, too: without C++ frames. A plugin's library has a
/// hook of its own, so each calls this; a second call changes nothing.
pub fn shorten_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(set_short_hook);
}

fn set_short_hook() {
    let usual = take_hook();
    set_hook(Box::new(move |panic| {
        let Some(text) = panic.payload_as_str().filter(|text| without_frames(text) != *text) else {
            return usual(panic);
        };
        let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
        // `eprintln!` panics if standard error takes nothing, and a second panic aborts.
        let _ = writeln!(std::io::stderr(), "panicked{place}: {}", visible(&without_frames(text)));
        let backtrace = Backtrace::capture(); // where RUST_BACKTRACE asks for one
        if backtrace.status() == BacktraceStatus::Captured {
            let _ = writeln!(std::io::stderr(), "{backtrace}");
        }
    }));
}

/// For [`export_plugins!`](crate::export_plugins): the first call into a library.
pub(super) fn adopt(key: String) {
    shorten_panics();
    build::adopt(key);
}

/// An error about a plugin's behaviour.
fn refused(name: &str, why: impl std::fmt::Display) -> Error {
    Error::plugin(name, why)
}

impl<T: ?Sized, Said> Guarded<T, Said> {
    fn ask<R>(&self, method: &str, call: impl FnOnce(&T) -> Result<R>) -> Result<R> {
        catch(&self.name, method, || call(&self.inner))
    }

    fn tell<R>(&mut self, method: &str, call: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        catch(&self.name, method, || call(&mut self.inner))
    }

    fn refused(&self, why: String) -> Error {
        refused(&self.name, why)
    }
}

// Attacks
// ----------------------------------------------------------------------------------------------------------------

pub(super) fn attack(name: &str, inner: Box<dyn Attack>) -> Result<Box<dyn Attack>> {
    let said = catch(name, "adapted_to", || Ok(inner.adapted_to()))?;
    Ok(Box::new(Guarded { name: name.into(), inner, said }))
}

impl Attack for Guarded<dyn Attack, String> {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        let goal = self.ask("goal", |attack| attack.goal(ctx))?;
        exists(&goal, ctx.data).map_err(|why| self.refused(format!("`goal` returned {why}")))?;
        Ok(goal)
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        // `poison.rs` checks the edits when it applies them.
        self.ask("poison", |attack| attack.poison(ctx, goal))
    }

    fn prepare(&mut self, ctx: &PoisonCtx, context: &PrepareContext) -> Result<()> {
        self.tell("prepare", |attack| attack.prepare(ctx, context))
    }

    fn reads(&self) -> Result<Vec<PathBuf>> {
        self.ask("reads", |attack| attack.reads())
    }

    fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        let stamped = self.ask("stamp", |attack| attack.stamp(canvas, keys))?;
        let images = |tensor: &Tensor| (tensor.size(), tensor.kind(), tensor.device());
        if !stamped.defined() || images(&stamped) != images(canvas) {
            let why = format!("`stamp` returned {} for images that are {}", shape(&stamped), shape(canvas));
            return Err(self.refused(why));
        }
        Ok(stamped)
    }

    fn apply_text_trigger(&self, caption: &str, key: u64) -> Result<String> {
        self.ask("apply_text_trigger", |attack| attack.apply_text_trigger(caption, key))
    }

    fn image(&self, file: &str, size: u32) -> Result<Tensor> {
        let image = self.ask("image", |attack| attack.image(file, size))?;
        let side = i64::from(size);
        if !image.defined() || (image.size(), image.kind()) != (vec![3, side, side], Kind::Uint8) {
            let why = format!("`image` returned {}, not u8 [3, {side}, {side}]", shape(&image));
            return Err(self.refused(why));
        }
        Ok(image)
    }

    fn adapted_to(&self) -> String {
        self.said.clone()
    }
}

/// Checks that a goal names rows and classes of the data.
fn exists(goal: &Goal, data: &Dataset) -> Result<(), String> {
    within(goal.rows().map(|row| row.0).collect(), "row", data.len())?;
    within(goal.classes(), "class", data.classes.len())
}

fn within(numbers: Vec<u32>, what: &str, count: u32) -> Result<(), String> {
    let stray = numbers.into_iter().find(|number| *number >= count);
    stray.map_or(Ok(()), |number| Err(format!("{what} {number}, which does not exist: there are {count}")))
}

/// Describes a tensor for error messages.
fn shape(tensor: &Tensor) -> String {
    match tensor.defined() {
        true => format!("{:?} {:?} on {:?}", tensor.kind(), tensor.size(), tensor.device()),
        false => "an undefined tensor".into(),
    }
}

// Defenses
// ---------------------------------------------------------------------------------------------------------------

pub(super) fn defense(name: &str, inner: Box<dyn Defense>) -> Result<Box<dyn Defense>> {
    let said = (catch(name, "role", || Ok(inner.role()))?, catch(name, "needs", || Ok(inner.needs()))?);
    Ok(Box::new(Guarded { name: name.into(), inner, said }))
}

impl Defense for Guarded<dyn Defense, (DefenseRole, Needs)> {
    fn plan(&mut self, epoch: u32, ctx: &PlanContext) -> Result<Vec<Phase>> {
        self.tell("plan", |defense| defense.plan(epoch, ctx))
    }

    fn role(&self) -> DefenseRole {
        self.said.0
    }

    fn needs(&self) -> Needs {
        self.said.1
    }

    fn recipe(&self, suite: &Recipe, rows: usize) -> Result<Recipe> {
        self.ask("recipe", |defense| defense.recipe(suite, rows))
    }

    fn loss(&mut self, step: &Step) -> Result<Tensor> {
        let loss = self.tell("loss", |defense| defense.loss(step))?;
        // The trainer checks that losses are finite, several at once: reading each would make every
        // step wait for the GPU.
        if !loss.defined() || !loss.size().is_empty() || !loss.is_floating_point() {
            return Err(self.refused(format!("`loss` returned {}, which is not a scalar", shape(&loss))));
        }
        if !loss.requires_grad() {
            return Err(
                self.refused("`loss` returned a scalar without a gradient, so nothing can be learnt from it".into())
            );
        }
        Ok(loss)
    }

    fn state(&self) -> Result<State> {
        self.ask("state", |defense| defense.state())
    }

    fn restore(&mut self, state: State, device: Device) -> Result<()> {
        self.tell("restore", |defense| defense.restore(state, device))
    }

    fn suspicion(&self, canvases: &Tensor, inference: &Inference) -> Result<Option<Tensor>> {
        let suspicion = self.ask("suspicion", |defense| defense.suspicion(canvases, inference))?;
        let Some(found) = &suspicion else { return Ok(None) };
        let images = canvases.size()[0];
        let sound = found.defined() && found.size() == [images] && found.kind() == Kind::Float;
        let why = || self.refused(format!("`suspicion` returned {} for {images} images", shape(found)));
        if sound && i64::try_from(found.isfinite().all()).is_ok_and(|all| all == 1) {
            Ok(suspicion)
        } else {
            Err(why())
        }
    }
}

// Evaluators
// -------------------------------------------------------------------------------------------------------------

pub(super) struct Said {
    definitions: Vec<Definition>,
    fits_on: usize,
    probe: Option<Probe>,
}

pub(super) fn evaluator(name: &str, inner: Box<dyn Evaluator>) -> Result<Box<dyn Evaluator>> {
    let said = Said {
        definitions: catch(name, "definitions", || Ok(inner.definitions()))?,
        fits_on: catch(name, "fits_on", || Ok(inner.fits_on()))?,
        probe: catch(name, "probe", || Ok(inner.probe()))?,
    };
    Ok(Box::new(Guarded { name: name.into(), inner, said }))
}

impl Evaluator for Guarded<dyn Evaluator, Said> {
    fn definitions(&self) -> Vec<Definition> {
        self.said.definitions.clone()
    }

    fn evaluate(&self, ctx: &EvalContext) -> Result<Vec<Score>> {
        let scores = self.ask("evaluate", |evaluator| evaluator.evaluate(ctx))?;
        for score in &scores {
            self.check(score).map_err(|why| self.refused(format!("score `{}` {why}", score.score)))?;
        }
        Ok(scores)
    }

    fn fits_on(&self) -> usize {
        self.said.fits_on
    }

    fn probe(&self) -> Option<Probe> {
        self.said.probe
    }
}

impl Guarded<dyn Evaluator, Said> {
    fn check(&self, score: &Score) -> Result<(), String> {
        let Score { value, interval: [low, high], .. } = *score;
        if !self.said.definitions.iter().any(|definition| definition.score == score.score) {
            let known: Vec<&str> = self.said.definitions.iter().map(|definition| definition.score).collect();
            return Err(format!("is not defined (there are: {})", known.join(", ")));
        }
        let finite = [value, low, high].iter().chain(&score.chance).all(|number| number.is_finite());
        if !finite {
            return Err(format!("is {value} (interval {low} to {high}), which cannot be compared"));
        }
        Ok(())
    }
}
