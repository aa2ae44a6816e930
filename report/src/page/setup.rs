//! The configuration of the run: the keys that each defense changes from the baseline, the identity
//! of the poison, devices and libraries, the whole suite; and the unfinished trials, with their
//! last lines of standard error.

use super::{Story, rows, written_by};
use crate::differing::differing;
use crate::folder::Unfinished;
use crate::lines::{costs, tier};
use crate::notes;
use gauntlet::{Result, Trial};
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of unfinished trials that are shown with their last lines.
const SHOWN: usize = 30;
/// Maximum length of a value of the configuration.
const LETTERS: usize = 160;

/// Trials that were started and have no scores.
pub fn unfinished(unfinished: &[Unfinished]) -> Markup {
    html! {
        @if !unfinished.is_empty() {
            section #unfinished {
                h2 { "Unfinished trials" }
                p.lead { "Started, but without scores: failed, interrupted, or still running. With the last lines of standard error." }
                @for trial in unfinished.iter().take(SHOWN) {
                    @if trial.said.is_empty() {
                        p { (trial.name) span.quiet { " printed nothing" } }
                    } @else {
                        details.more open[unfinished.len() <= 3] { summary { (trial.name) } pre { (trial.said) } }
                    }
                }
                @if unfinished.len() > SHOWN {
                    p {
                        "And " (unfinished.len() - SHOWN) " more: "
                        (unfinished[SHOWN..].iter().map(|trial| trial.name.as_str()).collect::<Vec<_>>().join(", ")) "."
                    }
                }
            }
        }
    }
}

/// Configuration and identities.
pub fn section(story: &Story) -> Result<Markup> {
    let suite = &story.folder.suite;
    let json = serde_json::to_string_pretty(suite).expect("plain data");
    let lines = &story.folder.lines;
    let sets = notes::sets(lines);
    let libraries = notes::libraries(lines);
    Ok(html! {
        section #setup {
            h2 { "Configuration" }
            (facts(story))
            (rows::part(lines))
            h3 { "What each defense changes" }
            (differences(story)?)
            @if !sets.is_empty() { h3 { "Downstream sets" } pre { (sets) } }
            @if !libraries.is_empty() { h3 { "Libraries of plugins" } pre { (libraries) } }
            h3 { "Poison" }
            (digests(story))
            details.more { summary { "The suite, resolved" } pre { (json) } }
        }
    })
}

fn facts(story: &Story) -> Markup {
    let suite = &story.folder.suite;
    let scores = || story.view.scores.iter();
    let seeds = suite.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let facts = [
        ("model", suite.model.clone()),
        ("data", serde_json::to_string(&suite.data).expect("plain data")),
        ("seeds", seeds),
        ("epochs, batch", format!("{}, {}", suite.recipe.epochs, suite.recipe.batch)),
        ("devices", distinct(scores().map(|line| line.device.clone()), ", ")),
        ("precision", distinct(scores().map(|line| line.precision.name().into()), ", ")),
        ("baseline", suite.baseline.clone()),
        ("gate", format!("an attack must add {:.0} points over the clean arena on the baseline", suite.gate * 100.0)),
        ("costly", format!("below {:.0}% of the baseline's accuracy", suite.costly * 100.0)),
        ("tier", distinct(scores().map(|line| tier(line).into()), ", ")),
        ("trials run by", builds(story)),
        ("page written by", written_by()),
    ];
    html! { dl.facts { @for (name, value) in facts { dt { (name) } dd { (value) } } } }
}

/// Every different name once; a dash if there is none.
fn distinct(names: impl Iterator<Item = String>, between: &str) -> String {
    let names: BTreeSet<String> = names.collect();
    if names.is_empty() { "–".into() } else { names.into_iter().collect::<Vec<_>>().join(between) }
}

/// The builds of gauntlet that ran the trials.
fn builds(story: &Story) -> String {
    distinct(costs(&story.folder.lines).map(|cost| format!("gauntlet {}", cost.build())), "; ")
}

/// The keys in which the trials of each defense differ from the baseline's, in the first arena and
/// seed that both have.
fn differences(story: &Story) -> Result<Markup> {
    let baseline = story.view.suite.baseline.as_str();
    let mut rows = Vec::new();
    for defense in story.view.defenses().filter(|defense| *defense != baseline) {
        let keys = pair(story, baseline, defense)?.map(|(ours, theirs)| differing(&ours, &theirs));
        rows.push((defense, keys));
    }
    Ok(html! {
        @if rows.is_empty() { p { "There is only the baseline." } }
        @for (defense, keys) in &rows {
            details.more {
                summary {
                    (story.marker(defense).name(defense))
                    @match keys {
                        Some(keys) => span.quiet { ": " (keys.len()) " keys differ from " (baseline) },
                        None => span.quiet { ": was not started" },
                    }
                }
                @if let Some(keys) = keys {
                    div.scroll tabindex="0" role="region" aria-label={ "configuration of " (defense) } {
                        table.keys {
                            thead { tr { th scope="col" { "key" } th scope="col" { (baseline) } th scope="col" { (defense) } } }
                            tbody {
                                @for key in keys {
                                    tr { th scope="row" { (key.key) } @for value in &key.values { td { (cut(value)) } } }
                                }
                            }
                        }
                    }
                }
            }
        }
    })
}

fn pair(story: &Story, baseline: &str, defense: &str) -> Result<Option<(Trial, Trial)>> {
    for (arena, label, seed) in story.folder.grid() {
        if label == defense
            && let Some(theirs) = story.folder.trial(arena, defense, seed)?
            && let Some(ours) = story.folder.trial(arena, baseline, seed)?
        {
            return Ok(Some((ours, theirs)));
        }
    }
    Ok(None)
}

fn cut(value: &str) -> String {
    let cut: String = value.chars().take(LETTERS).collect();
    if cut.len() < value.len() { cut + "…" } else { cut }
}

/// The poison that was read in each arena and seed.
fn digests(story: &Story) -> Markup {
    let digests: BTreeMap<(&str, u64), &str> =
        story.view.scores.iter().map(|line| ((line.arena.as_str(), line.seed), line.poison_digest.as_str())).collect();
    let arenas: BTreeSet<&str> = digests.keys().map(|(arena, _)| *arena).collect();
    let seeds = &story.view.suite.seeds;
    html! {
        @if digests.is_empty() { p { "No trial has finished." } } @else {
            p.quiet { "The digest that every defense of an arena and seed read: before the dash it covers captions, labels, image sizes, held-out rows, configuration and edits, after it the poisoned pixels. It does not cover clean pixels." }
            div.scroll tabindex="0" role="region" aria-label="digests of the poison" {
                table.keys {
                    thead { tr { th scope="col" { "arena" } @for seed in seeds { th scope="col" { "seed " (seed) } } } }
                    tbody {
                        @for arena in arenas {
                            tr {
                                th scope="row" { (arena) }
                                @for seed in seeds { td { code { (digests.get(&(arena, *seed)).unwrap_or(&"–")) } } }
                            }
                        }
                    }
                }
            }
        }
    }
}
