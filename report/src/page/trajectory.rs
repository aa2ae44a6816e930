//! The trajectory of poisoned pairs during the training: similarity of image and caption, compared
//! with clean pairs, from `trajectory.jsonl`.

use super::Story;
use super::curves::{epochs, folded, series};
use super::plots::{Chart, Plots, Style, legend, round};
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
            h2 { "Poisoned pairs during training" }
            @if parts.is_empty() {
                p {
                    "Nothing was recorded: the evaluator " code { "trajectory" } " is off unless its key " code { "every" } " is set, as in "
                    code { "[evaluators.trajectory]" } " with " code { "every = 1" } "."
                }
            } @else {
                p.lead {
                    "Means over seeds at the ends of epochs. Similarity: the mean cosine of image and caption, of poisoned pairs (solid) and of "
                    "clean ones (dashed). Above clean: how often a poisoned pair is more similar than a clean one; at 50% the two cannot be "
                    "distinguished, and below it the poison is learned less."
                }
                (legend(story))
                (folded(&parts))
            }
        }
    }
}

/// Sums over seeds by epoch: of similarity, of the share of combinations, and the number of seeds.
type Sums = BTreeMap<u32, [f64; 3]>;

/// By defense, then by attack; clean pairs have an empty name.
type Pairs<'a> = BTreeMap<(usize, &'a str), BTreeMap<Option<String>, Sums>>;

fn figures(story: &Story, plots: &mut Plots, arena: &str) -> Vec<Markup> {
    let pairs = read(story, plots, arena);
    let attacks: BTreeSet<&String> = pairs.values().flat_map(|kinds| kinds.keys().flatten()).collect();
    let mut figures = Vec::new();
    for attack in attacks {
        for shown in [SIMILARITY, ABOVE_CLEAN] {
            figures.push(figure(story, plots, arena, &pairs, attack, shown));
        }
    }
    figures
}

fn read<'a>(story: &Story<'a>, plots: &mut Plots, arena: &str) -> Pairs<'a> {
    let mut pairs = Pairs::new();
    for defense in story.view.defenses() {
        for &seed in &story.view.suite.seeds {
            let path = story.folder.trial_folder(arena, defense, seed).join("trajectory.jsonl");
            for moment in plots.read(trajectory::read(&path)).unwrap_or_default() {
                let Moment { epoch, attack, similarity, above_clean, .. } = moment;
                let of_defense = pairs.entry((story.marker(defense).0, defense)).or_default();
                let sums = of_defense.entry(attack).or_default().entry(epoch).or_default();
                sums.iter_mut().zip([similarity, above_clean, 1.0]).for_each(|(sum, value)| *sum += value);
            }
        }
    }
    pairs
}

/// One of the sums as plotted.
struct Shown {
    place: usize,
    name: &'static str,
    axis: &'static str,
    /// The factor of its values.
    scale: f64,
    ends: Option<[f64; 2]>,
    /// Whether clean pairs have it, too.
    of_clean: bool,
}

const SIMILARITY: Shown =
    Shown { place: 0, name: "similarity", axis: "cosine", scale: 1.0, ends: None, of_clean: true };
const ABOVE_CLEAN: Shown = Shown {
    place: 1,
    name: "above clean",
    axis: "share of combinations, %",
    scale: 100.0,
    ends: Some([0.0, 100.0]),
    of_clean: false,
};

impl Shown {
    fn points(&self, sums: &Sums) -> Vec<[f64; 2]> {
        let mean = |sums: &[f64; 3]| round(self.scale * sums[self.place] / sums[2]);
        sums.iter().map(|(epoch, sums)| [f64::from(*epoch), mean(sums)]).collect()
    }
}

fn figure(story: &Story, plots: &mut Plots, arena: &str, pairs: &Pairs, attack: &String, shown: Shown) -> Markup {
    let mut lines = Vec::new();
    for ((place, defense), kinds) in pairs {
        if let Some(sums) = kinds.get(&Some(attack.clone())) {
            lines.push(series(format!("{defense}, poisoned"), *place, Style::Full, shown.points(sums)));
        }
        if let Some(sums) = kinds.get(&None).filter(|_| shown.of_clean) {
            lines.push(series(format!("{defense}, clean"), *place, Style::Dashed, shown.points(sums)));
        }
    }
    let name = shown.name;
    let title = html! { b { (arena) } " · " (attack) " · " (name) };
    let said = format!("{arena}, {attack}: {name} of poisoned pairs over the epochs, a line for each defense");
    let (axes, x) = (["epoch", shown.axis], Some(epochs(story)));
    plots.figure(title, &said, Chart { axes, x, y: shown.ends, lines: true, series: lines })
}
