//! What became of poisoned pairs while models trained: similarity of picture and caption beside clean pairs, from `trajectory.jsonl`.

use super::Story;
use super::curves::{epochs, folded};
use super::plots::{Chart, Plots, Series, Style, legend, round};
use gauntlet::train::trajectory::{self, Moment};
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

/// All of these plots.
pub fn section(story: &Story, plots: &mut Plots) -> Markup {
    let mut parts = Vec::new();
    for arena in story.poisoned() {
        let figures = figures(story, plots, arena);
        if !figures.is_empty() {
            parts.push((arena, figures));
        }
    }
    html! {
        section #trajectory {
            h2 { "Poisoned pairs while training" }
            @if parts.is_empty() {
                p {
                    "Nothing was recorded: the evaluator " code { "trajectory" } " is off unless its key " code { "every" } " is set, as in "
                    code { "[evaluators.trajectory]" } " with " code { "every = 1" } "."
                }
            } @else {
                p.lead {
                    "Means over seeds at the ends of epochs. Similarity: the mean cosine of picture and caption, of poisoned pairs (solid) and of "
                    "clean ones (dashed). Above clean: how often a poisoned pair is more similar than a clean one; at 50% the two cannot be told "
                    "apart, and below it the poison is learned less."
                }
                (legend(story))
                (folded(&parts))
            }
        }
    }
}

/// Similarity, and share of couples, by epoch.
type Line = BTreeMap<u32, [f64; 3]>;

fn figures(story: &Story, plots: &mut Plots, arena: &str) -> Vec<Markup> {
    // By defense, then by attack; clean pairs under no name.
    let mut lines: BTreeMap<(usize, &str), BTreeMap<Option<String>, Line>> = BTreeMap::new();
    for defense in story.board.defenses() {
        for &seed in &story.board.suite.seeds {
            let path = story.folder.trial_folder(arena, defense, seed).join("trajectory.jsonl");
            for moment in plots.read(trajectory::read(&path)).unwrap_or_default() {
                let Moment { epoch, attack, similarity, above_clean, .. } = moment;
                let of_defense = lines.entry((story.marker(defense).0, defense)).or_default();
                let sums = of_defense.entry(attack).or_default().entry(epoch).or_default();
                sums.iter_mut().zip([similarity, above_clean, 1.0]).for_each(|(sum, value)| *sum += value);
            }
        }
    }
    let attacks: BTreeSet<&String> = lines.values().flat_map(|kinds| kinds.keys().flatten()).collect();
    let mut figures = Vec::new();
    for attack in attacks {
        for (measure, name, axis) in [(0, "similarity", "cosine"), (1, "above clean", "share of couples, %")] {
            let mut series = Vec::new();
            for ((place, defense), kinds) in &lines {
                let scale = if measure == 1 { 100.0 } else { 1.0 };
                let points = |line: &Line| {
                    line.iter()
                        .map(|(epoch, sums)| [f64::from(*epoch), round(scale * sums[measure] / sums[2])])
                        .collect()
                };
                let one = |kind: Option<String>, style, what: &str| {
                    let line = kinds.get(&kind)?;
                    let label = format!("{defense}, {what}");
                    Some(Series { label, defense: Some(*place), style, points: points(line), names: Vec::new() })
                };
                series.extend(one(Some(attack.clone()), Style::Full, "poisoned"));
                series.extend(if measure == 0 { one(None, Style::Dashed, "clean") } else { None });
            }
            let title = html! { b { (arena) } " · " (attack) " · " (name) };
            let said = format!("{arena}, {attack}: {name} of poisoned pairs over the epochs, a line for each defense");
            let y = (measure == 1).then_some([0.0, 100.0]);
            figures.push(plots.figure(
                title,
                &said,
                Chart { axes: ["epoch", axis], x: Some(epochs(story)), y, lines: true, series },
            ));
        }
    }
    figures
}
