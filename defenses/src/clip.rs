//! Plain CLIP: no defense, the baseline that every table needs.

use gauntlet::Defense;
use gauntlet::defense::DefenseRole;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Plain CLIP.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Clip {}

gauntlet::register!(
    dyn Defense,
    Clip,
    "clip",
    "no defense: trains on every image with its own caption, without augmentation",
    "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021"
);

impl Defense for Clip {
    fn role(&self) -> DefenseRole {
        DefenseRole::Undefended
    }
}
