//! The marker of a defense: a colour and a shape, the same in every table and plot. The colours are
//! Okabe and Ito's and two of Paul Tol's, which colour-blind people can distinguish; shapes work
//! without any colour. The baseline is grey.

use maud::{Markup, html};

/// Number of a defense; the baseline is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker(pub usize);

/// Number of colours besides the baseline's; `page.css` defines them as `--d1` to `--d8`.
const COLOURS: usize = 8;
/// A character, and Chart.js's name of the same shape, with its rotation in degrees.
const SHAPES: [(char, &str, u16); 5] =
    [('●', "circle", 0), ('▲', "triangle", 0), ('■', "rect", 0), ('◆', "rectRot", 0), ('▼', "triangle", 180)];

impl Marker {
    /// Number of its colour.
    pub fn colour(self) -> usize {
        if self.0 == 0 { 0 } else { (self.0 - 1) % COLOURS + 1 }
    }

    fn shape(self) -> (char, &'static str, u16) {
        SHAPES[self.0 % SHAPES.len()]
    }

    /// Chart.js's name of the shape, and its rotation in degrees.
    pub fn style(self) -> (&'static str, u16) {
        (self.shape().1, self.shape().2)
    }

    /// A name after its marker.
    pub fn name(self, label: &str) -> Markup {
        html! {
            span.who { span class={ "mark d" (self.colour()) } aria-hidden="true" { (self.shape().0) } " " (label) }
        }
    }
}
