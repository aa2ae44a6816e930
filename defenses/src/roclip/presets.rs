//! RoCLIP as the paper describes it and as its code was released: a source for every value, and our
//! deviations. The learning rate, weight decay and precision that belong to them are presets of the
//! recipe (`train/preset.rs` in core).
//!
//! "Released code" is the authors' public repository. Its pool is the memory bank of the library
//! `lightly` at the version that its environment pins (1.2.39). "Paper" is the text of NeurIPS
//! 2023: we used only the abstract and figure 1, and the rest is marked unverified.

use gauntlet::registry::Preset;
use gauntlet::serde_json::{Value, json};

/// The presets `paper` and `official`.
pub fn presets() -> Vec<Preset> {
    vec![paper(), official()]
}

fn paper() -> Preset {
    let deviations = [
        "images are augmented from the canvas (resized and cropped to the model's size), not from the full image",
        "the constants of the augmentation and EDA's strength are the released code's; synonyms are WordNet's, or the embedded world's own",
    ];
    let code = "unverified in the paper; released code (augment_image.py)";
    let mut fields = vec![
        ("every", json!(3), "unverified; the authors' training log has 3"),
        ("first", json!(0), "unverified"),
        ("matched_to", json!("nearest"), "paper, figure 1: the most similar caption"),
        ("pool", json!(0.02), "unverified; released code: 2.18% of 1M"),
        ("pool_start", json!("captions"), "paper, figure 1: a pool of random captions"),
        ("look_up", json!("before-push"), "unverified; released code"),
        ("overflow", json!("wrap-around"), "unverified: first in, first out"),
        ("update_in_plain_epochs", json!(false), "unverified; released code"),
        ("checkpoint_pool", json!(true), "ours: resuming must not change the result"),
        ("text_tower", json!("frozen"), "unverified; embeddings kept in a pool carry no gradient"),
        ("augment", json!(true), "paper, figure 1: augments all images and captions"),
        ("captions", json!("per-epoch"), "unverified; figure 1: augments all captions"),
    ];
    fields.splice(11..11, augmentation_fields([code; 7]));
    Preset::new("paper", "as the paper describes it, without the mistakes of the released code", &deviations, fields)
}

fn official() -> Preset {
    let deviations = [
        "a process has one pool; the release has one on each device, each with its own noise until captions have replaced it",
        "images are augmented from the canvas (resized and cropped to the model's size), not from the full image",
        "images are not rounded between the operations; the release rounds to 8 bits after each, and rotates hue in 8 bits",
        "EDA inserts and swaps as its paper says where its release differs, and uses the embedded world's synonyms there; each draw is keyed by seed and row, not by the order of rows",
        "a caption without letters is left unchanged; the release crashes on it",
        "learning rate, weight decay and half precision belong to the recipe: [recipe] preset = \"roclip-official\"",
        "plain CLIP has no augmentation in the release either: use the defense `clip` without keys",
    ];
    let augmentation = [
        "released code (augment_image.py): RandomResizedCrop's default",
        "released code (augment_image.py): before the crop",
        "released code (augment_image.py): RandomApply",
        "released code (augment_image.py): ColorJitter",
        "released code (augment_image.py): RandomGrayscale",
        "released code (augment_image.py): GaussianBlur's default sigma, last, always",
        "released code (augment_image.py): kernel of 21 pixels",
    ];
    let mut fields = vec![
        ("every", json!(2), "released code, parser default (--break_epoch)"),
        ("first", json!(0), "released code (main.py, train.py): epochs from 1, multiples of K"),
        ("matched_to", json!("nearest"), "released code (train.py, get_loss)"),
        ("pool", json!(21845), "released code, parser default (--memory_bank_size)"),
        ("pool_start", json!("raw-noise"), "lightly 1.2.39: normalises a copy and drops it"),
        ("look_up", json!("before-push"), "released code (train.py, get_loss)"),
        ("overflow", json!("drop-rest"), "lightly 1.2.39 (memory bank, dequeue and enqueue)"),
        ("update_in_plain_epochs", json!(false), "released code (train.py, get_loss)"),
        ("checkpoint_pool", json!(false), "released code (main.py): the pool is not saved"),
        ("text_tower", json!("zero-gradient"), "released code (train.py, get_loss): 0 times the loss of own captions"),
        ("augment", json!(true), "released code (README): --cross_aug"),
        ("captions", json!("static"), "released code (data.py): edited when the data set is opened"),
    ];
    fields.splice(11..11, augmentation_fields(augmentation));
    Preset::new("official", "the released code, with its quirks", &deviations, fields)
}

/// The release's augmentation at any image size: lengths that it has in pixels of 224 are shares of
/// the side here.
fn augmentation_fields(sources: [&'static str; 7]) -> impl Iterator<Item = (&'static str, Value, &'static str)> {
    let values = [
        ("augmentation.crop_area", json!([0.08, 1.0])),
        ("augmentation.flip", json!(0.5)),
        ("augmentation.jitter", json!(0.8)),
        ("augmentation.jitter_strength", json!([0.5, 0.5, 0.5, 0.1])),
        ("augmentation.grayscale", json!(0.2)),
        ("augmentation.blur", json!([0.1 / 224.0, 2.0 / 224.0])),
        ("augmentation.blur_reach", json!(10.0 / 224.0)),
    ];
    values.into_iter().zip(sources).map(|((key, value), source)| (key, value, source))
}
