//! Poisoning on the text side: captions that name one class are paired with images of another
//! class, so that a search for the first class finds images of the second (Yang et al., Data
//! Poisoning Attacks Against Multimodal Encoders, ICML 2023: attacks I, II and III).
//!
//! Success is counted by class, on held-out pairs: captions that name the first class, images of
//! the second. The paper fine-tunes CLIP on the poisoned data; here CLIP is pre-trained on it. In
//! the paper's attack I there is one target image, and the rank of that image is measured. Here,
//! too, all captions get one image, but it is a training image, and every held-out image of its
//! class counts as found.

use gauntlet::attack::Relabel;
use gauntlet::rand::seq::{IndexedRandom, SliceRandom};
use gauntlet::registry::Preset;
use gauntlet::serde_json::json;
use gauntlet::{Attack, DataRow, Edit, Error, Goal, ImageSource, PoisonCtx, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Pairs captions of one class with images of another.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MmPoison {
    /// Number of class pairs; captions of the first class of a pair get images of the second.
    #[schemars(range(min = 1))]
    pairs: usize,
    /// Names of the classes, first and second of each pair in turn. Empty: drawn from the seed.
    classes: Vec<String>,
    /// Which images the captions get.
    #[serde(rename = "pictures")]
    images: Images,
    /// Share of the candidate captions that are poisoned. Candidates name the first class and not
    /// the second.
    #[schemars(range(min = 0.0, max = 1.0))]
    ratio: f64,
}

/// Which images the captions of the first class get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Images {
    /// One image of the second class for all captions (attack I).
    One,
    /// Images of the second class, one drawn for each caption (attacks II and III).
    Many,
}

impl Default for MmPoison {
    fn default() -> Self {
        // Ratio: released code's default, all captions of the class.
        MmPoison { pairs: 1, classes: Vec::new(), images: Images::Many, ratio: 1.0 }
    }
}

gauntlet::register!(
    dyn Attack,
    MmPoison,
    "mm-poison",
    "text side: pairs captions of one class with images of another, so that they find those images",
    "Yang et al., Data Poisoning Attacks Against Multimodal Encoders, ICML 2023",
    presets = presets
);

fn presets() -> Vec<Preset> {
    vec![
        preset("attack-1", "the captions of one class all get one image of another", 1, "one"),
        preset("attack-2", "the captions of one class get images of another", 1, "many"),
        preset("attack-3", "the same for two pairs of classes at once", 2, "many"),
    ]
}

fn preset(name: &str, summary: &str, pairs: usize, images: &str) -> Preset {
    let fields = vec![
        ("pairs", json!(pairs), "paper: the attack's own"),
        ("classes", json!([]), "ours: drawn; released code: sheep to aeroplane, and sofa to bird in the third"),
        ("pictures", json!(images), "paper: the attack's own"),
        ("ratio", json!(1.0), "released code's default"),
    ];
    let deviations = [
        "pre-training on the poisoned data, where the paper fine-tunes",
        "success is counted by class",
        "rows are chosen by the words of their captions, which must not name the second class; the release chooses them by label",
    ];
    Preset::new(name, summary, &deviations, fields)
}

impl Attack for MmPoison {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        let classes = if self.classes.is_empty() {
            let mut classes = ctx.eligible(1)?;
            classes.shuffle(&mut ctx.rng("mm-poison/classes"));
            classes.truncate(2 * self.pairs);
            classes
        } else {
            self.classes.iter().map(|name| ctx.data.classes.find(name)).collect::<Result<_>>()?
        };
        if classes.len() != 2 * self.pairs {
            let why = format!(
                "must name {} classes, two for each of the `pairs`, and there are {}",
                2 * self.pairs,
                classes.len()
            );
            return Err(Error::invalid("key `classes`", why));
        }
        if let Some(twice) = (0..classes.len()).find(|&place| classes[..place].contains(&classes[place])) {
            let why = format!("names `{}` twice; a class can appear only once", ctx.data.classes.name(classes[twice]));
            return Err(Error::invalid("key `classes`", why));
        }
        Ok(Goal::Captions(classes.chunks(2).map(|pair| Relabel { from: pair[0], to: pair[1] }).collect()))
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        let Goal::Captions(pairs) = goal else { unreachable!("the goal of this attack is captions") };
        let (mut edits, mut used): (Vec<Edit>, HashSet<DataRow>) = Default::default();
        for Relabel { from, to } in pairs {
            let mut rng = ctx.rng("mm-poison/rows");
            // A caption can name the first classes of two pairs. A caption that names the second
            // class would find its images rightly.
            let named = ctx.data.rows_mentioning(*to);
            let free = ctx.free_rows_naming(*from);
            let mut rows: Vec<DataRow> = free.filter(|row| !used.contains(row) && !named.contains(row)).collect();
            rows.shuffle(&mut rng);
            rows.truncate((self.ratio * rows.len() as f64).round() as usize);
            let mut images: Vec<DataRow> = ctx.images_of(*to)?;
            if self.images == Images::One {
                images = images.choose(&mut rng).copied().into_iter().collect();
            }
            let edit = |row| {
                let image = *images.choose(&mut rng).expect("a class that is wanted has an image");
                Edit { image: ImageSource::Row(image), ..Edit::replace(row, ctx.data.row(row).caption, *from) }
            };
            used.extend(&rows);
            edits.extend(rows.into_iter().map(edit));
        }
        let nothing = || Error::invalid("key `ratio`", "is too small: no caption would be poisoned");
        if edits.is_empty() { Err(nothing()) } else { Ok(edits) }
    }
}
