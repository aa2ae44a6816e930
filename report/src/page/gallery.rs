//! The gallery: a few edits of each attack of each arena, before and after, with the predictions of
//! every defense's model (`gallery/answers.rs`). It needs the data and the store of the run; if
//! they are missing the page says so, and is otherwise complete.

mod answers;
mod thumbnail;

use super::Story;
use super::curves::OPEN;
use answers::Answers;
use gauntlet::data::Dataset;
use gauntlet::poison::{Poisoned, PreparedAttack, PreparedData, bytes};
use gauntlet::registry::Origin;
use gauntlet::run::RunContext;
use gauntlet::{DataRow, Error, ImageSource, Progress, Result, Trial, draw};
use maud::{Markup, html};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Number of edits of each attack, and of test images.
const SHOWN: usize = 4;
/// The same for a suite of more than [`FEW`] attacked arenas.
const SHOWN_OF_MANY: usize = 2;
const FEW: usize = 8;
/// No further arena is drawn once the gallery has this many bytes.
const MOST: usize = 2_000_000;

/// The gallery, or the reason why there is none.
pub fn section(story: &Story, progress: &dyn Progress) -> Markup {
    let store = story.folder.path.join("store");
    let (mut parts, mut left_out, mut size) = (Vec::new(), Vec::new(), 0);
    for arena in story.poisoned() {
        if size > MOST {
            left_out.push(arena);
            continue;
        }
        let part = arena_part(story, arena, &store, progress)
            .unwrap_or_else(|error| Some(html! { p { "Not drawn: " (error.chain()) "." } }));
        size += part.as_ref().map_or(0, |part| part.0.len());
        parts.extend(part.map(|part| (arena, part)));
    }
    html! {
        section #gallery {
            h2 { "The poison, and the models' predictions" }
            @if !has_data(&store) {
                p { "There is no gallery: " (store.display()) " has no images and poison of the run." }
            } @else if parts.is_empty() {
                p { "No poisoned arena has started yet." }
            } @else {
                p.lead {
                    "Random edits of the first seed: the original pair, and the pair that is trained on. Below each, the prediction of the model of each "
                    "defense: " span.fooled { "✗ what the attacker wants" } ", " span.right { "✓ the truth" } ", "
                    span.other { "~ something else" } "."
                }
                @for (arena, part) in &parts {
                    details.arena open[parts.len() <= OPEN] { summary { "Arena " b { (arena) } } (part) }
                }
                @if !left_out.is_empty() { p { "Left out, to keep the page small: " (left_out.join(", ")) "." } }
            }
        }
    }
}

/// The part of an arena; `None` if no trial of it was started.
fn arena_part(story: &Story, arena: &str, store: &Path, progress: &dyn Progress) -> Result<Option<Markup>> {
    let Some(trial) = first_trial(story, arena)? else { return Ok(None) };
    let prepared_data = prepared_data(story, &trial, store, progress)?;
    let answers = Answers::read(story, arena, trial.arena.seed)?;
    let shown = if story.view.suite.arenas.len() > FEW { SHOWN_OF_MANY } else { SHOWN };
    let mut parts = Vec::new();
    for label in &trial.arena.poisoning {
        let Some(prepared) = prepared_data.attacks.iter().find(|prepared| &prepared.label == label) else { continue };
        parts.push(attack_part(&prepared_data, prepared, &answers, trial.arena.seed, shown)?);
    }
    let kept = answers.any();
    Ok(Some(html! {
        @if !kept { p.quiet { "No trial of this arena wrote a cases.jsonl, so the models' predictions are unknown." } }
        @for part in parts { (part) }
    }))
}

fn first_trial(story: &Story, arena: &str) -> Result<Option<Trial>> {
    for (name, defense, seed) in story.folder.grid() {
        if name == arena
            && let Some(trial) = story.folder.trial(arena, defense, seed)?
        {
            return Ok(Some(trial));
        }
    }
    Ok(None)
}

/// Whether a run kept its data in this store. It may have used another one, on a node's own disk:
/// then nothing is made here.
fn has_data(store: &Path) -> bool {
    let entries = std::fs::read_dir(store).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("index-"))
}

/// Data and poison of the trial.
fn prepared_data(story: &Story, trial: &Trial, store: &Path, progress: &dyn Progress) -> Result<PreparedData> {
    if !has_data(store) {
        return Err(Error::invalid(store.display().to_string(), "has no images and poison of the run"));
    }
    trial.libraries.iter().try_for_each(Origin::check)?;
    let stop = AtomicBool::new(false);
    // Images are processed on the CPU, whatever the device of the trial.
    let here = Trial { device: "cpu".into(), ..trial.clone() };
    let prepared_data = here.prepare(store, &RunContext::new(progress, &stop))?;
    let mut trained_on = story
        .view
        .scores
        .iter()
        .filter(|line| (line.arena.as_str(), line.seed) == (&trial.arena.name, trial.arena.seed));
    match trained_on.find(|line| line.poison_digest != prepared_data.poison.digest) {
        None => Ok(prepared_data),
        Some(line) => Err(Error::invalid(
            format!("arena `{}`", trial.arena.name),
            format!(
                "`{}` trained on poison {}, but the poison made here is {}",
                line.trial, line.poison_digest, prepared_data.poison.digest
            ),
        )),
    }
}

/// Edits of an attack, and its test images.
fn attack_part(
    prepared_data: &PreparedData,
    prepared: &PreparedAttack,
    answers: &Answers,
    seed: u64,
    shown: usize,
) -> Result<Markup> {
    let edits = || prepared_data.poison.edits.iter().enumerate().filter(|(_, edit)| edit.attack == prepared.label);
    let mut drawn: Vec<(u64, usize)> =
        edits().map(|(number, _)| (draw::hash(seed, "report/edits", &[number as u64]), number)).collect();
    let all = drawn.len();
    drawn.sort_unstable();
    let numbers: Vec<usize> = drawn.into_iter().take(shown).map(|(_, number)| number).collect();
    let mut tested = Vec::new();
    let mut cards = Vec::new();
    for &number in &numbers {
        // The image of an edit of a targeted attack is the test image itself.
        let case = answers.case_of(prepared, &prepared_data.poison.edits[number].edit.image);
        tested.extend(case.clone());
        cards.push(edit_card(
            prepared_data,
            number,
            case.and_then(|case| answers.list(prepared_data, prepared, &case)),
        )?);
    }
    let tests = answers.draw(prepared, seed, shown - tested.len());
    let tests =
        tests.iter().map(|case| answers.card(prepared_data, prepared, case, seed)).collect::<Result<Vec<_>>>()?;
    let adaptive = prepared.attack.adapted_to();
    Ok(html! {
        h3 {
            (prepared.label) span.quiet { " " (numbers.len()) " of " (all) " edits" }
            @if !adaptive.is_empty() { " " span.badge.adaptive { "adaptive: " (adaptive) } }
        }
        div.cards { @for card in cards { (card) } }
        @if !tests.is_empty() {
            h4 { "At test time" }
            div.cards { @for test in tests { (test) } }
        }
    })
}

fn edit_card(prepared_data: &PreparedData, number: usize, answers: Option<Markup>) -> Result<Markup> {
    let PreparedData { data, poison, .. } = prepared_data;
    let Poisoned { edit, .. } = &poison.edits[number];
    let size = data.canvas.size();
    let after = bytes(&poison.pixels.get(number as i64))?;
    let source = if let ImageSource::Row(row) = edit.image { Some(row) } else { None };
    let rows = [edit.replaces.or(source), edit.replaces, source];
    let [pictured, replaced, source] = rows.map(|row| row.filter(|row| data.contains(*row)));
    let before = pictured.map(|row| canvas(data, row)).transpose()?.filter(|before| *before != after);
    let change = match source {
        Some(row) if edit.stamped => Some(change(&canvas(data, row)?, &after)),
        _ => None,
    };
    let [replaced, source] = [replaced, source].map(|row| row.map(|row| data.row(row).caption));
    Ok(html! {
        div.card {
            div.images {
                @if let Some(before) = &before { (thumbnail::shown("before", before, size)?) span.arrow aria-hidden="true" { "→" } }
                (thumbnail::shown(if before.is_some() { "after" } else { "the image, unchanged" }, &after, size)?)
                @if let Some(change) = &change { (thumbnail::shown("change ×8", change, size)?) }
            }
            p.caption {
                @match (replaced, source) {
                    (Some(caption), _) => del { (caption) },
                    (None, Some(own)) => span.quiet { "a new pair; the image's own caption: " (own) },
                    (None, None) => span.quiet { "a new pair" },
                }
                br; ins { (edit.caption) }
            }
            @if let Some(answers) = answers { (answers) }
        }
    })
}

fn canvas(data: &Dataset, row: DataRow) -> Result<Vec<u8>> {
    bytes(&data.canvas.gather(&[row])?)
}

/// The difference of two images, eight times as strong.
fn change(before: &[u8], after: &[u8]) -> Vec<u8> {
    before.iter().zip(after).map(|(a, b)| a.abs_diff(*b).saturating_mul(8)).collect()
}
