//! The plots' data for Chart.js, as JSON within the page. `page.js` adds colours and draws the
//! visible plots.

use super::Story;
use super::marker::Marker;
use maud::{Markup, PreEscaped, html};
use serde::Serialize;

/// All plots, and the files that could not be read; filled while the parts of the page are written.
#[derive(Default)]
pub struct Plots {
    charts: Vec<Chart>,
    /// Sentences for the reader.
    pub problems: Vec<String>,
}

/// One plot.
#[derive(Serialize)]
pub struct Chart {
    /// Titles of the axes.
    pub axes: [&'static str; 2],
    /// Ends of both axes, if they are fixed.
    pub x: Option<[f64; 2]>,
    pub y: Option<[f64; 2]>,
    /// Whether the plot has lines.
    pub lines: bool,
    /// The series of the plot.
    pub series: Vec<Series>,
}

/// Points of one series.
#[derive(Serialize)]
pub struct Series {
    /// Label of the series, for the tooltip.
    pub label: String,
    /// Number of the defense; `None` for a series of none.
    pub defense: Option<usize>,
    pub style: Style,
    pub points: Vec<[f64; 2]>,
    /// Name of each point, if the points have names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// Style of a series.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// One seed.
    Faint,
    /// A mean.
    Full,
    /// A mean that is unreliable.
    Hollow,
    /// The mean of clean pairs.
    Dashed,
    /// A Pareto front.
    Front,
}

#[derive(Serialize)]
struct Drawn<'a> {
    defenses: Vec<Look<'a>>,
    charts: &'a [Chart],
}

#[derive(Serialize)]
struct Look<'a> {
    label: &'a str,
    colour: usize,
    shape: &'static str,
    rotation: u16,
}

impl<'a> Look<'a> {
    fn of(label: &'a str, marker: Marker) -> Look<'a> {
        let (shape, rotation) = marker.style();
        Look { label, colour: marker.colour(), shape, rotation }
    }
}

impl Plots {
    /// The element of a plot in the page, with its heading and a text for screen readers.
    pub fn figure(&mut self, title: Markup, said: &str, chart: Chart) -> Markup {
        self.charts.push(chart);
        html! {
            figure {
                figcaption { (title) }
                div.plot { canvas data-chart=(self.charts.len() - 1) role="img" aria-label=(said) {} }
            }
        }
    }

    /// The value that was read, or its default and a sentence about the error.
    pub fn read<T>(&mut self, read: gauntlet::Result<T>) -> Option<T> {
        read.map_err(|error| self.problems.push(error.chain())).ok()
    }

    /// All plots, as a block of JSON.
    pub fn json(&self, story: &Story) -> Markup {
        let mut defenses: Vec<(&str, Marker)> =
            story.view.defenses().map(|label| (label, story.marker(label))).collect();
        defenses.sort_by_key(|(_, marker)| marker.0);
        let defenses = defenses.into_iter().map(|(label, marker)| Look::of(label, marker)).collect();
        html! { script #plots type="application/json" { (within_script(&Drawn { defenses, charts: &self.charts })) } }
    }
}

/// JSON that cannot end its script block, nor begin a comment in it: characters with a meaning in
/// HTML are escaped.
pub fn within_script(value: &impl Serialize) -> PreEscaped<String> {
    let mut json = serde_json::to_string(value).expect("plain data");
    for (letter, number) in [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")] {
        json = json.replace(letter, number);
    }
    PreEscaped(json)
}

/// A number with the precision that a plot can show.
pub fn round(value: f64) -> f64 {
    let scale = 10f64.powi(4 - value.abs().max(1e-9).log10().ceil() as i32);
    (value * scale).round() / scale
}

/// The legend of the defenses beside plots; each name toggles its defense.
pub fn legend(story: &Story) -> Markup {
    let marked = story.view.defenses().map(|label| (label, story.marker(label)));
    html! {
        ul.legend {
            @for (label, marker) in marked { li data-defense=(marker.0) { (Marker::name(marker, label)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{round, within_script};

    #[test]
    fn json_cannot_leave_its_script() {
        let hostile = ["</script><script>alert(1)</script>", "<!--", "a & b > c"];
        let json = within_script(&hostile).0;
        assert!(!json.contains(['<', '>', '&']), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), hostile);
    }

    #[test]
    fn plots_get_four_digits() {
        assert_eq!(
            [0.123456, 12.3456, 98765.4, -0.000123456, 0.0].map(round),
            [0.1235, 12.35, 98770.0, -0.0001235, 0.0]
        );
    }
}
