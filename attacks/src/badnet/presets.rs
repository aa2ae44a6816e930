//! The BadNet variants of released code, with a source for every value.

use crate::releases::{self, Fields, PIXELS, ROUNDED, SQUEEZED};
use gauntlet::registry::Preset;
use gauntlet::serde_json::json;

const PLACE: &str = "a random patch can touch the right and lower edge; the release keeps it one pixel away";
const CODE: &str = "CleanCLIP: released code (backdoor/utils.py)";
const CLAMPED: &str =
    "noise outside the pixel range is clamped; the release converts it to bytes, where it wraps around";
const UNUSED: &str = "not used by this pattern";

/// CleanCLIP's three variants, Detect's, and the label-consistent one.
pub fn presets() -> Vec<Preset> {
    let cleanclip = [PIXELS, SQUEEZED, PLACE, ROUNDED, CLAMPED];
    let detect = [
        "the test patch is at a random place, as in training; the release centres it in its test",
        "the canvas is stamped; the release stamps before the crop in training and after it in test",
        PIXELS,
    ];
    let consistent =
        (0.001, "Detect: clean label, limited by the images available; CleanCLIP poisons as many as it can");
    vec![
        preset(
            "cleanclip",
            "CleanCLIP's `random`: noise drawn for each image, at a random place",
            &cleanclip,
            releases::cleanclip(),
            stamp("noise", "random"),
        ),
        preset(
            "cleanclip-yellow",
            "CleanCLIP's `yellow`: a plain patch, at a random place",
            &cleanclip[..4],
            releases::cleanclip(),
            stamp("yellow", "random"),
        ),
        preset(
            "cleanclip-corners",
            "CleanCLIP's `random` at `four_corners`: noise drawn for each image, in all corners",
            &[PIXELS, SQUEEZED, ROUNDED, CLAMPED],
            releases::cleanclip(),
            stamp("noise", "corners"),
        ),
        preset(
            "detect",
            "Detect's BadNets: a grid of white pixels, at a random place",
            &detect,
            releases::detect(0.0001),
            detect_stamp(),
        ),
        preset(
            "label-consistent",
            "CleanCLIP's label-consistent attack: its noise on images of the target, which keep their captions",
            &cleanclip,
            releases::label_consistent(consistent),
            stamp("noise", "random"),
        ),
    ]
}

fn stamp(pattern: &str, place: &str) -> Fields {
    vec![
        ("size", json!(16), "CleanCLIP: released code, patch_size"),
        ("pattern", json!(pattern), CODE),
        ("square", json!(2), UNUSED),
        ("place", json!(place), CODE),
        ("pattern_seed", json!(0), UNUSED),
    ]
}

fn detect_stamp() -> Fields {
    vec![
        ("size", json!(16), "Detect: released code (cc3m_badnets.py)"),
        ("pattern", json!("grid"), "Detect: released code (cc3m_badnets.py)"),
        ("square", json!(2), UNUSED),
        ("place", json!("random"), "Detect: released code (cc3m_badnets.py), in training"),
        ("pattern_seed", json!(0), UNUSED),
    ]
}

fn preset(name: &str, summary: &str, deviations: &[&str], poison: Fields, stamp: Fields) -> Preset {
    Preset::new(name, summary, deviations, [poison, stamp].concat())
}
