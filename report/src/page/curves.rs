//! Training curves: loss and logit scale of every defense over the epochs, from the trials'
//! `metrics.jsonl`.

use super::Story;
use super::plots::{Chart, Plots, Series, Style, legend, round};
use gauntlet::train::{Metric, metrics};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Maximum number of points of a curve.
pub const POINTS: usize = 60;
/// With more trials than this, only means over seeds are drawn.
const EACH: usize = 120;
/// With more arenas than this, each is folded.
pub const OPEN: usize = 4;

/// Loss and logit scale at a time, in epochs.
type Curve = Vec<(f64, [f64; 2])>;

/// All of these plots.
pub fn section(story: &Story, plots: &mut Plots) -> Markup {
    let trials = story.folder.grid().count();
    let mut parts = Vec::new();
    for arena in story.view.arenas() {
        let figures = figures(story, plots, arena, trials <= EACH);
        if !figures.is_empty() {
            parts.push((arena, figures));
        }
    }
    html! {
        section #curves {
            h2 { "Training" }
            @if parts.is_empty() {
                p { "No trial wrote a metrics.jsonl." }
            } @else {
                p.lead {
                    "The mean over seeds" @if trials <= EACH { ", and each seed faintly" }
                    "; each curve has at most " (POINTS) " means over stretches of equal length. Losses of different defenses may not be "
                    "comparable: check for curves that diverge or do not move."
                }
                (legend(story))
                (folded(&parts))
            }
        }
    }
}

/// The ends of an axis of epochs.
pub fn epochs(story: &Story) -> [f64; 2] {
    [0.0, story.view.suite.recipe.epochs.into()]
}

/// Figures of each arena; folded where there are many.
pub fn folded(parts: &[(&str, Vec<Markup>)]) -> Markup {
    html! {
        @for (arena, figures) in parts {
            details.arena open[parts.len() <= OPEN] {
                summary { "Arena " b { (arena) } }
                div.figures { @for figure in figures { (figure) } }
            }
        }
    }
}

/// The curves of a defense, with the name of each.
type Seeds = Vec<(String, Curve)>;

fn figures(story: &Story, plots: &mut Plots, arena: &str, each: bool) -> Vec<Markup> {
    let mut curves: Vec<(&str, Seeds)> = Vec::new();
    for defense in story.view.defenses() {
        let seeds = seeds(story, plots, arena, defense);
        if !seeds.is_empty() {
            curves.push((defense, seeds));
        }
    }
    if curves.is_empty() {
        return Vec::new();
    }
    let names = ["loss", "logit scale"].into_iter().enumerate();
    names.map(|measure| figure(story, plots, arena, &curves, measure, each)).collect()
}

fn seeds(story: &Story, plots: &mut Plots, arena: &str, defense: &str) -> Seeds {
    let mut seeds = Vec::new();
    for &seed in &story.view.suite.seeds {
        let logged = plots.read(metrics(&story.folder.trial_folder(arena, defense, seed))).unwrap_or_default();
        if !logged.is_empty() {
            seeds.push((format!("seed {seed}"), curve(&logged)));
        }
    }
    seeds
}

/// The plot of a measure: each seed and the mean, or only the mean.
fn figure(
    story: &Story,
    plots: &mut Plots,
    arena: &str,
    curves: &[(&str, Seeds)],
    (measure, name): (usize, &'static str),
    each: bool,
) -> Markup {
    let (mut faint, mut full) = (Vec::new(), Vec::new());
    for (defense, seeds) in curves {
        let place = story.marker(defense).0;
        if each && seeds.len() > 1 {
            let seed = |(name, curve): &(String, Curve)| {
                series(format!("{defense}, {name}"), place, Style::Faint, points(curve, measure))
            };
            faint.extend(seeds.iter().map(seed));
        }
        let mean = mean(seeds.iter().map(|(_, curve)| curve));
        full.push(series(defense.to_string(), place, Style::Full, points(&mean, measure)));
    }
    let series = faint.into_iter().chain(full).collect();
    let said = format!("{arena}: {name} over the epochs of training, a line for each defense");
    let chart = Chart { axes: ["epoch", name], x: Some(epochs(story)), y: None, lines: true, series };
    plots.figure(html! { b { (arena) } " · " (name) }, &said, chart)
}

/// The line of a defense.
pub fn series(label: String, defense: usize, style: Style, points: Vec<[f64; 2]>) -> Series {
    Series { label, defense: Some(defense), style, points, names: Vec::new() }
}

fn points(curve: &Curve, measure: usize) -> Vec<[f64; 2]> {
    thin(curve).into_iter().map(|(time, values)| [time, values[measure]].map(round)).collect()
}

fn curve(logged: &[Metric]) -> Curve {
    let steps = logged.iter().map(|line| line.step).max().unwrap_or(1).max(1);
    let time = |line: &Metric| f64::from(line.epoch - 1) + f64::from(line.step) / f64::from(steps);
    logged.iter().map(|line| (time(line), [line.loss, line.logit_scale])).collect()
}

/// The mean of some curves at each time that any of them has.
fn mean<'a>(curves: impl Iterator<Item = &'a Curve>) -> Curve {
    let mut sums: BTreeMap<u64, (f64, [f64; 2], f64)> = BTreeMap::new();
    for (time, values) in curves.flatten() {
        // Times are positive, so their bits are in their order.
        let (_, sum, count) = sums.entry(time.to_bits()).or_insert((*time, [0.0; 2], 0.0));
        *count += 1.0;
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    sums.into_values().map(|(time, sum, count)| (time, sum.map(|sum| sum / count))).collect()
}

/// At most [`POINTS`] points, each the mean of a stretch.
fn thin(curve: &Curve) -> Curve {
    curve.chunks(curve.len().div_ceil(POINTS).max(1)).map(mean_of_stretch).collect()
}

fn mean_of_stretch(part: &[(f64, [f64; 2])]) -> (f64, [f64; 2]) {
    let of = |pick: fn(&(f64, [f64; 2])) -> f64| part.iter().map(pick).sum::<f64>() / part.len() as f64;
    (of(|point| point.0), [of(|point| point.1[0]), of(|point| point.1[1])])
}

#[cfg(test)]
mod tests {
    use super::{POINTS, mean, thin};

    #[test]
    fn curves_are_averaged_at_equal_times_and_thinned_to_means() {
        let curves = [vec![(0.5, [1.0, 10.0]), (1.0, [3.0, 10.0])], vec![(0.5, [2.0, 20.0])]];
        assert_eq!(mean(curves.iter()), [(0.5, [1.5, 15.0]), (1.0, [3.0, 10.0])]);
        let long = (0..1000).map(|step| (f64::from(step), [f64::from(step), 1.0])).collect();
        let thinned = thin(&long);
        assert!(thinned.len() <= POINTS && thinned[0] == (8.0, [8.0, 1.0]), "{} {:?}", thinned.len(), thinned[0]);
        assert!(thin(&Vec::new()).is_empty());
    }
}
