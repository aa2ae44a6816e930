//! Accuracy against attack success: one plot for each attack of each arena, with the front of the
//! defenses that no other defense beats in both.

use super::Story;
use super::plots::{Chart, Plots, Series, Style, legend, round};
use crate::column::Column;
use crate::view::{Gate, values};
use gauntlet::evaluator::Unit;
use maud::{Markup, html};

/// All of these plots.
pub fn section(story: &Story, plots: &mut Plots) -> Markup {
    let mut figures = Vec::new();
    for arena in story.poisoned() {
        for column in story.successes(arena).iter().filter(|column| column.unit == Unit::Share) {
            figures.extend(figure(story, plots, arena, column));
        }
    }
    html! {
        section #tradeoff {
            h2 { "Accuracy against attack success" }
            @if figures.is_empty() {
                p { "No arena has both yet." }
            } @else {
                p.lead {
                    "Large: the mean of a defense. Small: its seeds. The dotted line is the Pareto front of the means: no defense is both more "
                    "accurate and less often attacked with success than one on it. Hollow: accuracy may be chance, so the defense is not on the front; neither is an oracle, which knows the truth. The "
                    "best corner is the upper left."
                }
                (legend(story))
                div.figures { @for figure in &figures { (figure) } }
            }
        }
    }
}

/// A plot of the defenses that have both scores; `None` if no defense has.
fn figure(story: &Story, plots: &mut Plots, arena: &str, column: &Column) -> Option<Markup> {
    let view = &story.view;
    let (mut seeds, mut means, mut series) = (Vec::new(), Vec::new(), Vec::new());
    for defense in view.defenses() {
        let accuracies = values(&view.accuracies(arena, defense));
        let both = view.values(arena, defense, column).into_iter().zip(accuracies);
        let (names, points): (Vec<String>, Vec<[f64; 2]>) = both
            .zip(&view.suite.seeds)
            .filter_map(|((success, accuracy), seed)| {
                Some((format!("seed {seed}"), [success? * 100.0, accuracy? * 100.0]))
            })
            .unzip();
        if points.is_empty() {
            continue;
        }
        let mean = [0, 1].map(|axis| points.iter().map(|point| point[axis]).sum::<f64>() / points.len() as f64);
        let vacuous = view.marks(arena, defense).vacuous;
        let style = if vacuous { Style::Hollow } else { Style::Full };
        let (label, place) = (defense.to_string(), Some(story.marker(defense).0));
        if points.len() > 1 {
            let points = points.iter().map(|point| point.map(round)).collect();
            seeds.push(Series { label: label.clone(), defense: place, style: Style::Faint, points, names });
        }
        series.push(Series { label, defense: place, style, points: vec![mean.map(round)], names: vec!["mean".into()] });
        if !vacuous && !view.suite.is_oracle(defense) {
            means.push((defense, mean));
        }
    }
    if series.is_empty() {
        return None;
    }
    let best = front(&means.iter().map(|(_, mean)| *mean).collect::<Vec<_>>());
    let said: Vec<&str> = best.iter().map(|place| means[*place].0).collect();
    let said =
        format!("{arena}, {}: accuracy against attack success. On the front: {}.", column.name(), said.join(", "));
    let points = best.iter().map(|place| means[*place].1.map(round)).collect();
    let line = Series { label: "Pareto front".into(), defense: None, style: Style::Front, points, names: Vec::new() };
    let title = html! {
        b { (arena) } " · " (column.name())
        @if !column.adapted_to.is_empty() { " " span.badge.adaptive { "adaptive: " (column.adapted_to) } }
        @if view.gate(arena, column) == Gate::Failed { " " span.badge.failed { "attack failed" } }
    };
    let series = [vec![line], seeds, series].into_iter().flatten().collect();
    let axes = ["attack success, % (lower is better)", "accuracy, %"];
    Some(plots.figure(title, &said, Chart { axes, x: Some([0.0, 100.0]), y: Some([0.0, 100.0]), lines: false, series }))
}

/// Numbers of the points that no other point beats, by rising success. A point is (success,
/// accuracy). One beats another if it has at most the other's success and at least its accuracy,
/// and is not the same point.
pub fn front(points: &[[f64; 2]]) -> Vec<usize> {
    let beats = |a: &[f64; 2], b: &[f64; 2]| a[0] <= b[0] && a[1] >= b[1] && a != b;
    let mut best: Vec<usize> =
        (0..points.len()).filter(|&place| !points.iter().any(|other| beats(other, &points[place]))).collect();
    best.sort_by(|&a, &b| points[a][0].total_cmp(&points[b][0]));
    best
}

#[cfg(test)]
mod tests {
    use super::front;

    #[test]
    fn the_front_is_what_nothing_beats_in_both() {
        // (success, accuracy): the first beats the second, and all beat the last.
        let points = [[10.0, 90.0], [20.0, 80.0], [50.0, 95.0], [0.0, 50.0], [99.0, 40.0]];
        assert_eq!(front(&points), [3, 0, 2]);
        assert_eq!(front(&[[1.0, 1.0], [1.0, 1.0]]), [0, 1], "equal points do not beat each other");
        assert_eq!(front(&[[5.0, 60.0], [5.0, 70.0], [4.0, 70.0]]), [2], "as good in one and better in the other");
        assert!(front(&[]).is_empty());
    }
}
