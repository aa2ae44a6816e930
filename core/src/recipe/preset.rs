//! Presets of the recipe: the training settings of RoCLIP's experiments, as far as paper and
//! released code state them.

use crate::registry::Preset;
use serde_json::json;

/// The presets that `preset = "NAME"` in a suite's `[recipe]` can select.
pub fn presets() -> Vec<Preset> {
    vec![paper(), official()]
}

fn paper() -> Preset {
    let deviations = [
        "the paper's own table of settings was not available; the defaults of the released code replace it",
        "the model is the suite's: the paper trains a ResNet-50 at 224 x 224 pixels on 1,000,000 pairs of Conceptual Captions 3M",
    ];
    let code = "unverified in the paper; released code, parser default";
    Preset::new(
        "roclip-paper",
        "the settings of the paper's experiments, without the mistakes of the released code",
        &deviations,
        vec![
            ("epochs", json!(24), code),
            ("batch", json!(512), code),
            ("learning_rate", json!(5e-5), code),
            ("warmup_steps", json!(10_000), code),
            ("schedule", json!("cosine"), "unverified; the released code's, without its offset of an epoch"),
            ("weight_decay", json!(0.1), code),
            ("decay", json!("open-clip"), "unverified; open_clip's rule"),
            ("betas", json!([0.9, 0.999]), code),
            ("epsilon", json!(1e-8), code),
            ("half_logits", json!(false), "unverified"),
            ("clip_norm", json!(0.0), "unverified; the released code clips none"),
            ("precision", json!("fp32"), "unverified; the released code's towers"),
            ("init", json!(""), "paper, abstract: pre-training"),
            ("checkpoint_steps", json!(0), "unverified; changes no result"),
        ],
    )
}

fn official() -> Preset {
    let deviations = [
        "one process: the release spreads a batch over its GPUs, each with batch norm over its own share and gradients of its own rows",
        "no gradient scaler: multiplying by a power of two changes only values that underflow, and no step is skipped",
        "the logit scale is applied to the images before rounding; the release applies it to the captions in matching epochs",
        "the temperature stays below 100; the release clamps its logarithm to 4.6052, which is 100.003",
        "the model is the suite's: the release trains OpenAI's ResNet-50 at 224 x 224 pixels",
    ];
    let option = "released code, parser default";
    Preset::new(
        "roclip-official",
        "the settings of the released code, with its quirks",
        &deviations,
        vec![
            ("epochs", json!(24), option),
            ("batch", json!(512), "released code, parser default: over all devices"),
            ("learning_rate", json!(5e-5), option),
            ("warmup_steps", json!(10_000), option),
            (
                "schedule",
                json!("cosine-from-epoch-1"),
                "released code (train.py, main.py): step = batches * epoch + index, epochs from 1",
            ),
            ("weight_decay", json!(0.1), option),
            ("decay", json!("by-name"), "released code (main.py): 0 for names with bn, ln, bias or logit_scale"),
            ("betas", json!([0.9, 0.999]), option),
            ("epsilon", json!(1e-8), option),
            ("half_logits", json!(true), "released code (train.py): the model outside of autocast, get_loss within"),
            ("clip_norm", json!(0.0), "released code (train.py): no clipping"),
            ("precision", json!("fp32"), "released code (train.py): the model outside of autocast"),
            ("init", json!(""), "released code, parser default (--pretrained is off)"),
            ("checkpoint_steps", json!(0), "released code (main.py): one at the end of each epoch"),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::from_json;
    use crate::recipe::Recipe;
    use serde_json::Value;

    #[test]
    fn every_field_of_the_recipe_is_in_every_preset_with_a_source() {
        let recipe = serde_json::to_value(Recipe::default()).unwrap();
        for preset in presets() {
            let keys: Vec<&String> = preset.fields.iter().map(|field| &field.key).collect();
            assert_eq!(keys, recipe.as_object().unwrap().keys().collect::<Vec<_>>(), "{}", preset.name);
            assert!(preset.fields.iter().all(|field| !field.source.trim().is_empty()), "{}", preset.name);
            let read: Recipe = from_json(Value::Object(preset.table()), &preset.name).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), Value::Object(preset.table()));
        }
    }

    /// `Recipe::default()` equals the paper's recipe and must not change.
    #[test]
    fn the_default_is_the_papers() {
        let read: Recipe = from_json(Value::Object(paper().table()), "paper").unwrap();
        assert_eq!(read, Recipe::default());
    }
}
