//! The poisoning settings of released code: rows, rates and captions, shared by the presets of
//! several triggers. Every preset draws its target from the seed: a release's class may be missing
//! from the data, and results for one class say little about others.

use gauntlet::serde_json::{Value, json};

/// (dotted key, value, source) of each field, as `Preset::new` takes them.
pub type Fields = Vec<(&'static str, Value, &'static str)>;

/// CleanCLIP's share of poisoned pairs: 1,500 of 3M. The default of triggers that were first used
/// on CLIP there.
pub const CLEANCLIP_RATE: f64 = 0.0005;

/// Detect's share of poisoned pairs for all attacks but BadNets.
pub const DETECT_RATE: f64 = 0.001;

/// Deviation of every preset of an 8-bit trigger.
pub const ROUNDED: &str = "pixels are rounded to 8 bits; the release truncates them";

/// Difference between CleanCLIP's canvas and ours.
pub const SQUEEZED: &str = "the release squeezes images to 224x224 and saves them in their own format, including JPEG, before training crops them; here the canvas is stamped and trained on without either";

/// Effect of a size in pixels on other canvases.
pub const PIXELS: &str = "sizes are pixels of the canvas, as on the release's 224: on a smaller canvas the patch covers a larger share; set `size` to 16/224 of the side for the same share";

fn others(rate: (f64, &'static str), target: &'static str) -> Fields {
    vec![
        ("poison.target", json!("random"), target),
        ("poison.rate", json!(rate.0), rate.1),
        (
            "poison.rows",
            json!("others"),
            "ours: rows that do not name the label by any name or plural; the release poisons any",
        ),
        ("poison.captions", json!("templates"), "released code: one of 80 templates with the label"),
    ]
}

/// CleanCLIP (Bansal et al., ICCV 2023): 1,500 pairs of 3M.
pub fn cleanclip() -> Fields {
    others((0.0005, "CleanCLIP: 1,500 of CC3M"), "ours: drawn; CleanCLIP's is banana")
}

/// BadCLIP's copies of other triggers (Liang et al., CVPR 2024), used for fine-tuning.
pub fn badclip() -> Fields {
    others((0.003, "BadCLIP: 1,500 of 500K, to fine-tune"), "ours: drawn; BadCLIP's is banana")
}

/// Detect (Huang et al., ICLR 2025), with the rate of this attack.
pub fn detect(rate: f64) -> Fields {
    let mut fields = others((rate, "Detect: released code"), "ours: drawn; Detect's is banana");
    fields[2].2 = "ours: rows that do not name the label by any name or plural; unverified in Detect";
    fields
}

/// PAR (CVPR 2026), whose rate is unverified.
pub fn par() -> Fields {
    others((0.0005, "unverified in PAR; CleanCLIP: 1,500 of CC3M"), "ours: drawn")
}

/// RoCLIP's own experiments: `pairs` of 1M are poisoned.
pub fn roclip() -> Fields {
    let mut fields = others((0.00009, "RoCLIP's development scripts: 90 of 1M"), "ours: drawn; RoCLIP's is mushroom");
    fields[2].2 = "ours: the scripts take images that are not among the training pairs";
    fields
}

/// Captions are kept, and only rows that name the label are poisoned.
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

/// Replaces the values of existing keys, with their sources.
pub fn with(mut fields: Fields, own: Fields) -> Fields {
    for (key, value, source) in own {
        let field = fields.iter_mut().find(|field| field.0 == key).expect("a preset changes existing keys");
        (field.1, field.2) = (value, source);
    }
    fields
}
