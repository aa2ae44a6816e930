//! The page: its head, an explanation, and its parts in order. Style and script are beside this
//! file and are embedded in the page, as is Chart.js (`chartjs/`, MIT). The page loads nothing, and
//! its policy forbids it.

use super::plots::{Plots, legend};
use super::{Story, cost, curves, gallery, glance, scores, setup, tradeoff, trajectory, written_by};
use crate::statistics::seeds::{FOR_INTERVAL, FOR_VERDICT};
use gauntlet::{Progress, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::BTreeSet;

const STYLE: &str = include_str!("page.css");
const PROGRAM: &str = include_str!("page.js");
const CHARTS: &str = include_str!("chartjs/chart.umd.min.js");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// The whole page.
pub fn render(story: &Story, with_gallery: Option<&dyn Progress>) -> Result<String> {
    let mut plots = Plots::default();
    let name = &story.view.suite.name;
    let unfinished = story.folder.unfinished()?;
    let glance = glance::section(story);
    let parts = [
        setup::unfinished(&unfinished),
        glance.clone().unwrap_or_default(),
        scores::section(story),
        tradeoff::section(story, &mut plots),
        curves::section(story, &mut plots),
        trajectory::section(story, &mut plots),
        with_gallery.map(|progress| gallery::section(story, progress)).unwrap_or_default(),
        cost::section(story),
        setup::section(story)?,
    ];
    let links = [
        (!unfinished.is_empty()).then_some(("unfinished", "Unfinished")),
        glance.map(|_| ("glance", "At a glance")),
        Some(("scores", "Scores")),
        Some(("tradeoff", "Trade-off")),
        Some(("curves", "Training")),
        Some(("trajectory", "Poisoned pairs")),
        with_gallery.map(|_| ("gallery", "Gallery")),
        Some(("cost", "Cost")),
        Some(("setup", "Configuration")),
    ];
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                title { (name) " · gauntlet" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header.top {
                    h1 { (name) }
                    p.quiet { (standing(story, unfinished.len())) }
                    nav aria-label="parts of this page" {
                        @for (place, title) in links.into_iter().flatten() { a href={ "#" (place) } { (title) } }
                    }
                }
                main {
                    (how_to_read(story))
                    (problems(story, &plots))
                    @for part in &parts { (part) }
                }
                footer.quiet { "Written by " (written_by()) ". Plots: Chart.js 4.5.1, MIT licence, © 2014-2024 Chart.js Contributors." }
                (plots.json(story))
                script { (PreEscaped(without_map(CHARTS))) }
                script { (PreEscaped(PROGRAM)) }
            }
        }
    };
    Ok(page.into_string())
}

/// Without the line that makes developers' tools load a source map beside the page.
fn without_map(script: &str) -> &str {
    script.split("//# sourceMappingURL").next().unwrap_or(script)
}

/// The state of the suite's run.
fn standing(story: &Story, unfinished: usize) -> String {
    let finished: BTreeSet<&str> = story.view.scores.iter().map(|line| line.trial.as_str()).collect();
    let suite = story.view.suite;
    let all = story.folder.grid().count();
    let mut said = format!(
        "{}, {}, {}: {} of {} finished",
        count(suite.arenas.len() + 1, "arena"),
        count(suite.defenses.len(), "defense"),
        count(suite.seeds.len(), "seed"),
        finished.len(),
        count(all, "trial")
    );
    if unfinished > 0 {
        said += &format!(", {unfinished} started and not finished");
    }
    said + "."
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Files that could not be read, and differences that make numbers hard to compare.
fn problems(story: &Story, plots: &Plots) -> Markup {
    let devices: BTreeSet<&str> = story.view.scores.iter().map(|line| line.device.as_str()).collect();
    html! {
        @if devices.len() > 1 || !plots.problems.is_empty() {
            div.remarks {
                @if devices.len() > 1 {
                    p { "Trained on different devices (" (devices.into_iter().collect::<Vec<_>>().join(", ")) "), which round differently." }
                }
                @for problem in plots.problems.iter().take(10) { p { "Could not be read: " (problem) } }
                @if plots.problems.len() > 10 { p { "And " (plots.problems.len() - 10) " more files." } }
            }
        }
    }
}

fn how_to_read(story: &Story) -> Markup {
    html! {
        details.reading open {
            summary { "How to read this" }
            (legend(story))
            ul {
                li { b { "top1" } " is zero-shot accuracy: ↑ higher is better. Success of attacks (" b { "psr" } ", " b { "asr" } "): ↓ lower is better. "
                    code { "gauntlet describe" } " defines every score. Shares are in %." }
                li { "A cell: the mean over seeds, its 95% interval (docs/statistics.md; from " (FOR_INTERVAL) " seeds on; two: their range), every seed, and "
                    "below an attack's success its " b { "base" } " rate: the same score of the same defense in the clean arena." }
                li {
                    "The line in a cell runs from 0 to 100%. The bar is the interval, dots are seeds, the stroke is the mean, the hollow square the base rate."
                }
                li { b { "attack failed" } ": it raises its success on " (story.view.suite.baseline) " too little over the clean arena, so it gives no verdicts. "
                    b { "vacuous" } ": accuracy may be at most twice chance. " b { "costly" } ": accuracy well below the baseline's. "
                    b { "adaptive" } ": the attack knows the defense's configuration." }
                li { b { "better" } ", " b { "worse" } ", " b { "not distinguishable" } ": compared with " (story.view.suite.baseline)
                    ", by the differences of each seed, with all verdicts of the suite corrected together, and by an exact test of their signs; from "
                    (FOR_VERDICT) " seeds on." }
                li { b { "2 of 8 broken" } ": seeds fall into two camps, 30 points apart or more, so the mean describes neither." }
            }
        }
    }
}
