//! Plots: what Chart.js is to draw, as JSON within the page. `page.js` gives it colours and draws what is looked at.

use super::Story;
use super::marker::Marker;
use maud::{Markup, PreEscaped, html};
use serde::Serialize;

/// Everything that is drawn, and what could not be read; filled while the parts of the page are written.
#[derive(Default)]
pub struct Plots {
    charts: Vec<Chart>,
    /// Sentences for the reader.
    pub problems: Vec<String>,
}

/// One plot.
#[derive(Serialize)]
pub struct Chart {
    /// What is along the axes.
    pub axes: [&'static str; 2],
    /// Ends of both axes, where they are fixed.
    pub x: Option<[f64; 2]>,
    pub y: Option<[f64; 2]>,
    /// Whether it is one of lines.
    pub lines: bool,
    /// What is drawn.
    pub series: Vec<Series>,
}

/// Points that belong together.
#[derive(Serialize)]
pub struct Series {
    /// What they are, for whoever points at one.
    pub label: String,
    /// Place of the defense; none for what belongs to none.
    pub defense: Option<usize>,
    pub style: Style,
    pub points: Vec<[f64; 2]>,
    /// Name of each point, where they have one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// One seed.
    Faint,
    /// A mean.
    Full,
    /// A mean that is not to be relied on.
    Hollow,
    /// The mean of what others are compared with.
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
    /// The place of a plot in the page, with what is written above it and what it says to those who cannot see it.
    pub fn figure(&mut self, title: Markup, said: &str, chart: Chart) -> Markup {
        self.charts.push(chart);
        html! {
            figure {
                figcaption { (title) }
                div.plot { canvas data-chart=(self.charts.len() - 1) role="img" aria-label=(said) {} }
            }
        }
    }

    /// What was read, or nothing and a sentence about why.
    pub fn read<T>(&mut self, read: gauntlet::Result<T>) -> Option<T> {
        read.map_err(|error| self.problems.push(error.chain())).ok()
    }

    /// All of them, as a block of JSON.
    pub fn json(&self, story: &Story) -> Markup {
        let mut defenses: Vec<(&str, Marker)> =
            story.board.defenses().map(|label| (label, story.marker(label))).collect();
        defenses.sort_by_key(|(_, marker)| marker.0);
        let defenses = defenses.into_iter().map(|(label, marker)| Look::of(label, marker)).collect();
        html! { script #plots type="application/json" { (within_script(&Drawn { defenses, charts: &self.charts })) } }
    }
}

/// JSON that cannot end the block it lies in, nor begin a comment there: what HTML gives a meaning
/// to is spelt by number.
pub fn within_script(value: &impl Serialize) -> PreEscaped<String> {
    let mut json = serde_json::to_string(value).expect("plain data");
    for (letter, number) in [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")] {
        json = json.replace(letter, number);
    }
    PreEscaped(json)
}

/// A number with as many digits as a plot can show.
pub fn round(value: f64) -> f64 {
    let scale = 10f64.powi(4 - value.abs().max(1e-9).log10().ceil() as i32);
    (value * scale).round() / scale
}

/// The defenses, to be read beside plots; each turns what it names off and on.
pub fn legend(story: &Story) -> Markup {
    let marked = story.board.defenses().map(|label| (label, story.marker(label)));
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
