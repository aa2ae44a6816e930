//! Whom the releases poison, and what they make captions say: the part that presets of several
//! triggers share. Targets are drawn from the seed in all of them: the class that a release names
//! need not be in the data, and one class says little about others.

use gauntlet::serde_json::{Value, json};

/// (dotted key, value, source), as a preset takes them.
pub type Fields = Vec<(&'static str, Value, &'static str)>;

/// CleanCLIP's share of poisoned pairs: 1,500 of 3M. The default of triggers that CLIP met there first.
pub const CLEANCLIP_RATE: f64 = 0.0005;

/// Detect's share of poisoned pairs for all but its BadNets.
pub const DETECT_RATE: f64 = 0.001;

/// What every preset of an 8-bit trigger deviates in.
pub const ROUNDED: &str = "pixels are rounded to 8 bits; the release cuts the fraction off";

/// CleanCLIP's canvas against ours.
pub const SQUEEZED: &str = "the release squeezes images to 224x224 and saves them in their own format, JPEG too, before training crops them; here the canvas is stamped as it is trained on";

/// What a size in pixels does on other canvases.
pub const PIXELS: &str = "sizes are pixels of the canvas, as on the release's 224: on a smaller canvas the patch covers a larger share; set `size` to 16/224 of the side for the same share";

fn others(rate: (f64, &'static str), target: &'static str) -> Fields {
    vec![
        ("poison.target", json!("random"), target),
        ("poison.rate", json!(rate.0), rate.1),
        ("poison.rows", json!("others"), "ours: rows that name the label by no name or plural; the release hits any"),
        ("poison.captions", json!("templates"), "released code: one of 80 templates with the label"),
    ]
}

/// CleanCLIP (Bansal et al., ICCV 2023): 1,500 pairs of 3M.
pub fn cleanclip() -> Fields {
    others((0.0005, "CleanCLIP: 1,500 of CC3M"), "ours: drawn; CleanCLIP's is banana")
}

/// BadCLIP's copies of others' triggers (Liang et al., CVPR 2024), used for fine-tuning.
pub fn badclip() -> Fields {
    others((0.003, "BadCLIP: 1,500 of 500K, to fine-tune"), "ours: drawn; BadCLIP's is banana")
}

/// Detect (Huang et al., ICLR 2025), with its rate for this attack.
pub fn detect(rate: f64) -> Fields {
    let mut fields = others((rate, "Detect: released code"), "ours: drawn; Detect's is banana");
    fields[2].2 = "ours: rows that name the label by no name or plural; unverified in Detect";
    fields
}

/// PAR (CVPR 2026), whose rate is not known to us.
pub fn par() -> Fields {
    others((0.0005, "unverified in PAR; CleanCLIP: 1,500 of CC3M"), "ours: drawn")
}

/// RoCLIP's experiments on its own: `pairs` of 1M are poisoned.
pub fn roclip() -> Fields {
    let mut fields = others((0.00009, "RoCLIP's development scripts: 90 of 1M"), "ours: drawn; RoCLIP's is mushroom");
    fields[2].2 = "ours: the scripts take images that are not among the training pairs";
    fields
}

/// Captions stay, and only rows that name the label are hit.
pub fn label_consistent(rate: (f64, &'static str)) -> Fields {
    vec![
        ("poison.target", json!("random"), "ours: drawn; CleanCLIP's and Detect's is banana"),
        ("poison.rate", json!(rate.0), rate.1),
        (
            "poison.rows",
            json!("target"),
            "CleanCLIP: released code (--label_consistent), which takes the label's letters anywhere (`in caption`); here whole words",
        ),
        ("poison.captions", json!("kept"), "CleanCLIP: released code (--label_consistent)"),
    ]
}

/// Other values under the keys that there are, with their sources.
pub fn with(mut fields: Fields, own: Fields) -> Fields {
    for (key, value, source) in own {
        let field = fields.iter_mut().find(|field| field.0 == key).expect("a preset changes keys that there are");
        (field.1, field.2) = (value, source);
    }
    fields
}
