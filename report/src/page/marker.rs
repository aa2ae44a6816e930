//! How a defense is drawn: a colour and a shape, the same in every table and plot. Colours are
//! Okabe and Ito's and two of Paul Tol's, which colour-blind people tell apart; shapes tell them
//! apart without any colour. The baseline is grey.

use maud::{Markup, html};

/// Place of a defense, the baseline 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker(pub usize);

/// Besides the baseline's; `page.css` has them as `--d1` to `--d8`.
const COLOURS: usize = 8;
/// A letter, and the same as Chart.js draws it: name and rotation in degrees.
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

    /// Its shape as Chart.js names it, and by how many degrees it is turned.
    pub fn style(self) -> (&'static str, u16) {
        (self.shape().1, self.shape().2)
    }

    /// A name behind its mark.
    pub fn name(self, label: &str) -> Markup {
        html! {
            span.who { span class={ "mark d" (self.colour()) } aria-hidden="true" { (self.shape().0) } " " (label) }
        }
    }
}
