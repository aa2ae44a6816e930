//! The predictions of an arena's models in the tests of its attacks, from the `cases.jsonl` of one
//! seed's trials.

use super::super::{Story, marker::Marker};
use super::thumbnail;
use gauntlet::evaluator::{Predictions, ScoreRole};
use gauntlet::poison::{PreparedAttack, PreparedData, bytes};
use gauntlet::{ImageSource, Result, draw};
use maud::{Markup, html};
use std::collections::HashSet;

/// The cases that attack success is counted from, in an arena and seed, by defense.
pub struct Answers<'a> {
    by_defense: Vec<(&'a str, Marker, Vec<Predictions>)>,
    /// Names of the scores of attack success.
    successes: HashSet<&'a str>,
}

impl<'a> Answers<'a> {
    /// Reads the cases; defenses whose trial kept none are left out.
    pub fn read(story: &Story<'a>, arena: &str, seed: u64) -> Result<Self> {
        let mut all = Vec::new();
        for defense in story.view.defenses() {
            let cases = Predictions::read(&story.folder.trial_folder(arena, defense, seed))?;
            if !cases.is_empty() {
                all.push((defense, story.marker(defense), cases));
            }
        }
        let successes = story.view.scores.iter().filter(|line| line.role == Some(ScoreRole::Success));
        Ok(Answers { by_defense: all, successes: successes.map(|line| line.score.as_str()).collect() })
    }

    /// Whether any trial kept its cases.
    pub fn any(&self) -> bool {
        !self.by_defense.is_empty()
    }

    /// The cases of each defense that an attack's success is counted from.
    fn of(&self, prepared: &PreparedAttack) -> impl Iterator<Item = (&'a str, Marker, &Predictions)> {
        let is_success = |cases: &&Predictions| {
            cases.attack.as_ref() == Some(&prepared.label) && self.successes.contains(cases.score.as_str())
        };
        self.by_defense
            .iter()
            .filter_map(move |(defense, marker, all)| Some((*defense, *marker, all.iter().find(is_success)?)))
    }

    /// The case of an unstamped image: the target of a targeted attack.
    pub fn case_of(&self, prepared: &PreparedAttack, image: &ImageSource) -> Option<String> {
        let ImageSource::Row(row) = image else { return None };
        let case = prepared.goal.rows().find(|target| target == row)?.to_string();
        self.of(prepared).any(|(.., cases)| cases.case.contains(&case)).then_some(case)
    }

    /// At most so many cases, drawn at random.
    pub fn draw(&self, prepared: &PreparedAttack, seed: u64, shown: usize) -> Vec<String> {
        let Some((.., cases)) = self.of(prepared).next() else { return Vec::new() };
        let mut drawn: Vec<(u64, &String)> =
            (0..).zip(&cases.case).map(|(place, case)| (draw::hash(seed, "report/cases", &[place]), case)).collect();
        drawn.sort_unstable();
        drawn.into_iter().take(shown).map(|(_, case)| case.clone()).collect()
    }

    /// A case as a card: its image as the model gets it, or its caption, and the predictions.
    pub fn card(
        &self,
        prepared_data: &PreparedData,
        prepared: &PreparedAttack,
        case: &str,
        seed: u64,
    ) -> Result<Markup> {
        let size = prepared_data.data.canvas.size();
        let what = if prepared.goal.targets().is_empty() { "stamped" } else { "target" };
        let canvas = prepared.case(case, &prepared_data.data, seed)?.map(|canvas| bytes(&canvas)).transpose()?;
        Ok(html! {
            div.card {
                @match canvas {
                    Some(canvas) => div.images { (thumbnail::shown(what, &canvas, size)?) },
                    None => p.caption { "“" (case) "”" },
                }
                @if let Some(list) = self.list(prepared_data, prepared, case) { (list) }
            }
        })
    }

    /// The true class of a case, the class that the attacker wants, and the prediction of each
    /// defense; `None` if no defense has the case.
    pub fn list(&self, prepared_data: &PreparedData, prepared: &PreparedAttack, case: &str) -> Option<Markup> {
        let found: Vec<(&str, Marker, &Predictions, usize)> = self
            .of(prepared)
            .filter_map(|(defense, marker, cases)| {
                Some((defense, marker, cases, cases.case.iter().position(|name| name == case)?))
            })
            .collect();
        let (.., first, place) = found.first()?;
        let truth = *first.truth.get(*place)?;
        let wanted = prepared.goal.wanted_of(case);
        let is_text = first.taken.is_empty();
        Some(html! {
            p.classes {
                @if let Some(truth) = truth {
                    @if is_text { "shall find " } @else { "truly " }
                    b { (name(prepared_data, truth)) }
                }
                @if let Some(wanted) = wanted { ", wanted " b { (name(prepared_data, wanted)) } }
            }
            ul.answers {
                @for (defense, marker, cases, place) in found {
                    li { (marker.name(defense)) (answer(prepared_data, cases, place, truth)) }
                }
            }
        })
    }
}

fn answer(prepared_data: &PreparedData, cases: &Predictions, place: usize, truth: Option<u32>) -> Markup {
    let hit = cases.hit.get(place) == Some(&1);
    html! {
        @match cases.taken.get(place) {
            Some(taken) if hit => span.fooled { "✗ " (name(prepared_data, *taken)) },
            Some(taken) if Some(*taken) == truth => span.right { "✓ " (name(prepared_data, *taken)) },
            Some(taken) => span.other { "~ " (name(prepared_data, *taken)) },
            None if hit => span.fooled { "✗ finds it" },
            None => span.right { "✓ does not" },
        }
    }
}

fn name(prepared_data: &PreparedData, class: u32) -> String {
    if class < prepared_data.data.classes.len() {
        prepared_data.data.classes.name(class).into()
    } else {
        format!("class {class}")
    }
}
