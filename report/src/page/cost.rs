//! The cost of each defense: means over its trials, and the ratio to the baseline's, over the
//! arenas and seeds that both have.

use super::Story;
use crate::lines::costs;
use gauntlet::results::Cost;
use maud::{Markup, html};
use std::collections::HashMap;

/// A column: its name, its value for a trial, and its digits.
type Measure = (&'static str, fn(&Cost) -> f64, usize);

const MEASURES: [Measure; 7] = [
    // The total cost: the defense's own training and, if it needs one, that of the undefended
    // model.
    ("train, s", |cost| cost.train_seconds + cost.undefended_seconds, 1),
    ("rows trained", |cost| (cost.samples + cost.undefended_samples) as f64, 0),
    ("inference samples", |cost| cost.inference_samples as f64, 0),
    ("evaluate, s", |cost| cost.evaluate_seconds, 1),
    ("CPU, s", |cost| cost.cpu_seconds, 1),
    ("pairs/s", |cost| cost.samples_per_second, 0),
    ("peak memory, MB", |cost| cost.peak_memory as f64 / 1e6, 0),
];

/// The table.
pub fn section(story: &Story) -> Markup {
    let costs: HashMap<&str, &Cost> = costs(&story.folder.lines).map(|cost| (cost.trial.as_str(), cost)).collect();
    let mut devices: Vec<&str> = costs.values().map(|cost| cost.device.as_str()).collect();
    devices.sort_unstable();
    devices.dedup();
    let on_gpu = costs.values().any(|cost| cost.peak_device_memory.is_some());
    html! {
        section #cost {
            h2 { "Cost" }
            @if costs.is_empty() {
                p { "No trial has finished." }
            } @else {
                p.lead {
                    "Means over the trials of a defense; in brackets the ratio to the baseline's. Trials that ran side by side slow each other: "
                    "compare ratios. A defense that needs the undefended model is charged for that one's training, which trials share, in the first \
                     two columns; each view of a row counts. CPU seconds are those of a trial's own process. Devices: " (devices.join(", ")) "."
                }
                div.scroll tabindex="0" role="region" aria-label="cost of each defense" {
                    table.sortable #cost-table {
                        thead {
                            tr {
                                th scope="col" { "defense" }
                                th scope="col" { "trials" }
                                @for (name, ..) in MEASURES { th scope="col" { (name) } }
                                @if on_gpu { th scope="col" { "peak GPU memory, MB" } }
                            }
                        }
                        tbody { @for defense in story.view.defenses() { (row(story, &costs, defense, on_gpu)) } }
                    }
                }
            }
        }
    }
}

fn row(story: &Story, costs: &HashMap<&str, &Cost>, defense: &str, on_gpu: bool) -> Markup {
    let of =
        |arena: &str, defense: &str, seed: u64| costs.get(format!("{arena}/{defense}/seed-{seed}").as_str()).copied();
    let grid = || story.folder.grid().filter(|(_, label, _)| *label == defense);
    let ours: Vec<&Cost> = grid().filter_map(|(arena, _, seed)| of(arena, defense, seed)).collect();
    let baseline = story.view.suite.baseline.as_str();
    let pairs: Vec<(&Cost, &Cost)> =
        grid().filter_map(|(arena, _, seed)| of(arena, defense, seed).zip(of(arena, baseline, seed))).collect();
    let gpu: Vec<f64> =
        ours.iter().filter_map(|cost| cost.peak_device_memory).map(|bytes| bytes as f64 / 1e6).collect();
    html! {
        tr {
            th scope="row" data-value=(defense) { (story.marker(defense).name(defense)) }
            td data-value=(ours.len()) { (ours.len()) }
            @for (_, measure, digits) in MEASURES {
                // Older versions did not count rows.
                @match mean(ours.iter().map(|cost| measure(cost))).filter(|value| *value > 0.0) {
                    None => td.none { "–" },
                    Some(value) => td data-value=(value) {
                        (format!("{value:.digits$}"))
                        @if let Some(ratio) = ratio(&pairs, measure) { " " span.quiet { (format!("(×{ratio:.2})")) } }
                    },
                }
            }
            @if on_gpu {
                @match mean(gpu.into_iter()) {
                    None => td.none { "–" },
                    Some(gpu) => td data-value=(gpu) { (format!("{gpu:.0}")) },
                }
            }
        }
    }
}

fn ratio(pairs: &[(&Cost, &Cost)], measure: fn(&Cost) -> f64) -> Option<f64> {
    let (ours, theirs) = pairs.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + measure(x), b + measure(y)));
    (theirs > 0.0).then_some(ours / theirs)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
