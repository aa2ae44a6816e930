//! Targeted data poisoning: a few captions re-label one image (Carlini and Terzis, ICLR 2022,
//! section 3). By default the captions are mined from the training data, as in RoCLIP's experiments
//! (Yang et al. 2023).

use gauntlet::rand::seq::{IndexedRandom, SliceRandom};
use gauntlet::rand::{RngExt, SeedableRng};
use gauntlet::registry::Preset;
use gauntlet::serde_json::json;
use gauntlet::{Attack, DataRow, Edit, Error, Goal, PoisonCtx, Result, Target};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use tch::{Kind, Tensor};

/// Re-labels held-out images.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Targeted {
    /// Number of held-out images to re-label. Each draws an adversarial class that is not its own
    /// and that its caption does not name. Success moves in steps of 1 / targets.
    #[schemars(range(min = 1))]
    targets: usize,
    /// Poisoned pairs per target: the image with another caption each time that names the
    /// adversarial class (Carlini and Terzis: from 3 on; RoCLIP's and SafeCLIP's data: 30 to 512).
    #[schemars(range(min = 1))]
    captions: usize,
    /// Source of those captions.
    say: Say,
    /// Which copy of the image goes with each caption.
    copies: Copies,
    /// The held-out images to re-label, by their keys: for a table, the path as the table has it;
    /// for a sample of a shard, its name without the extension. They must be held out in every
    /// seed, so name a `validation` source. Replaces `targets`; empty: drawn from the seed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = []))]
    images: Vec<String>,
    /// The adversarial class of all targets, by name; empty: one is drawn for each target.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("default" = ""))]
    class: String,
}

/// Source of a target's captions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Say {
    /// Training captions that name the adversarial class; each is used once before any is repeated.
    Mined,
    /// The data set's prompts for the adversarial class.
    Templates,
}

/// Which copies of a target are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Copies {
    /// The target image itself each time; a search for duplicates finds it.
    Exact,
    /// Near-duplicates: each is another crop of at least 90% of the side, stretched to the full
    /// size, between 10% darker and 10% brighter. Ours: no paper prescribes one.
    Near,
}

impl Default for Targeted {
    fn default() -> Self {
        // RoCLIP's 16 targets give steps of 6.25 points; 32 are the fewest that can be told apart.
        let (images, class) = Default::default();
        Targeted { targets: 32, captions: 10, say: Say::Mined, copies: Copies::Exact, images, class }
    }
}

gauntlet::register!(
    dyn Attack,
    Targeted,
    "targeted",
    "re-labels held-out images: adds each to the data with captions that name another class",
    "Carlini and Terzis, Poisoning and Backdooring Contrastive Learning, ICLR 2022, section 3",
    presets = presets
);

fn presets() -> Vec<Preset> {
    let ours = "ours: one of 16 targets is 6.25 points";
    let fewest = vec![
        ("targets", json!(32), ours),
        ("captions", json!(3), "abstract: 3 of 3 million pairs"),
        ("say", json!("mined"), "unverified; the abstract has captions that contain the label"),
        ("copies", json!("exact"), "unverified"),
    ];
    let roclip = vec![
        ("targets", json!(16), "the abstract's 93.75% are 15 of 16"),
        ("captions", json!(100), "released notebook (create_poison.ipynb): num"),
        (
            "say",
            json!("mined"),
            "released notebook: training captions in which the class is a word, also within a longer name",
        ),
        ("copies", json!("exact"), "released notebook: rows of one image"),
    ];
    vec![
        Preset::new("carlini", "the fewest captions that the paper shows to suffice", &[], fewest),
        Preset::new(
            "roclip",
            "the targeted attack of RoCLIP's released notebook",
            &[
                "a target's class is drawn for each; the notebook has one target for each of eight named classes",
                "captions in which the class is part of a longer name of another class are not mined; the notebook takes them",
            ],
            roclip,
        ),
    ]
}

impl Attack for Targeted {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        let classes = match self.class.as_str() {
            "" => ctx.eligible(if self.say == Say::Mined { self.captions } else { 0 })?,
            name => vec![ctx.data.classes.find(name).map_err(|error| error.during("key `class`"))?],
        };
        let mut rng = ctx.rng("targeted/classes");
        let mut targets = Vec::new();
        for row in self.rows(ctx)? {
            if targets.len() == self.wanted() {
                break;
            }
            // An image whose caption names every class has no false label left.
            let others: Vec<u32> = classes.iter().copied().filter(|class| may_become(ctx, row, *class)).collect();
            let Some(class) = others.choose(&mut rng).copied() else { continue };
            targets.push(Target { row, truth: ctx.data.class_of(row), class });
        }
        match targets.len() {
            0 => Err(Error::invalid(
                "attack",
                "needs at least two classes that captions name; if pairs have no labels, set `classes` in the suite",
            )),
            there if there < self.wanted() => {
                let why = format!("only {there} held-out images have a class that they neither belong to nor name");
                Err(Error::invalid(self.key(), format!("asks for {}; {why}", self.wanted())))
            }
            _ => Ok(Goal::Pairs(targets)),
        }
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        let Goal::Pairs(targets) = goal else { unreachable!("the goal of this attack is pairs") };
        let mut rng = ctx.rng("targeted/captions");
        let (mut edits, mut pools) = (Vec::new(), HashMap::<u32, Vec<String>>::new());
        for target in targets {
            let mut captions = match pools.entry(target.class) {
                Entry::Occupied(pool) => pool.get().clone(),
                Entry::Vacant(pool) => pool.insert(self.captions_of(ctx, target.class)?).clone(),
            };
            captions.shuffle(&mut rng);
            if ctx.data.named_apart && self.say == Say::Mined && captions.len() < self.captions {
                let (name, there) = (ctx.data.classes.name(target.class), captions.len());
                let why = format!(
                    "is {}, but only {there} different training captions name `{name}` and no other class",
                    self.captions
                );
                return Err(Error::invalid("key `captions`", why));
            }
            // If too few captions name a class, its captions are repeated.
            let captions = captions.into_iter().cycle().take(self.captions);
            let edit =
                |caption| Edit { stamped: self.copies == Copies::Near, ..Edit::add(target.row, caption, target.class) };
            edits.extend(captions.map(edit));
        }
        Ok(edits)
    }

    /// Stamps near-duplicates only; the targets themselves are tested unchanged.
    fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        if self.copies == Copies::Exact {
            return Ok(canvas.shallow_clone());
        }
        let copies = keys.iter().zip(0..).map(|(key, number)| near(&canvas.narrow(0, number, 1), *key));
        Ok(Tensor::cat(&copies.collect::<Vec<_>>(), 0))
    }
}

/// Whether the row's label and caption both differ from the class.
fn may_become(ctx: &PoisonCtx, row: DataRow, class: u32) -> bool {
    ctx.data.class_of(row) != Some(class) && !ctx.data.mentions(row, class)
}

impl Targeted {
    /// All captions that a target of this class may get.
    fn captions_of(&self, ctx: &PoisonCtx, class: u32) -> Result<Vec<String>> {
        Ok(match self.say {
            Say::Mined => ctx.captions_naming(class)?.into_iter().map(String::from).collect(),
            Say::Templates => ctx.data.classes.prompts(class).collect(),
        })
    }

    /// The number of targets.
    fn wanted(&self) -> usize {
        if self.images.is_empty() { self.targets } else { self.images.len() }
    }

    /// The key that sets the number of targets.
    fn key(&self) -> &'static str {
        if self.images.is_empty() { "key `targets`" } else { "key `images`" }
    }

    /// Held-out rows that may be targets, in the order in which they are tried.
    fn rows(&self, ctx: &PoisonCtx) -> Result<Vec<DataRow>> {
        if !self.images.is_empty() {
            return self.named(ctx);
        }
        let mut rows = ctx.split.heldout.clone();
        rows.shuffle(&mut ctx.rng("targeted/pictures"));
        if rows.len() <= self.targets {
            let why = format!("is {}, but only {} images are held out", self.targets, rows.len());
            return Err(Error::invalid("key `targets`", why));
        }
        rows.retain(|row| ctx.data.canvas.readable(*row));
        Ok(rows)
    }

    fn named(&self, ctx: &PoisonCtx) -> Result<Vec<DataRow>> {
        let mut rows: HashMap<&str, Vec<DataRow>> = self.images.iter().map(|key| (key.as_str(), Vec::new())).collect();
        if rows.len() < self.images.len() {
            return Err(Error::invalid("key `images`", "names an image twice"));
        }
        for &row in &ctx.split.heldout {
            if let Some(rows) = rows.get_mut(ctx.data.row(row).key) {
                rows.push(row);
            }
        }
        let one = |key: &String| {
            let wrong = |why: &str| Err(Error::invalid(format!("key `images`: `{key}`"), why));
            match rows[key.as_str()][..] {
                [] => wrong("is not the key of a held-out row; a training row cannot be a target"),
                [row] if ctx.data.canvas.readable(row) => Ok(row),
                [_] => wrong("cannot be decoded"),
                _ => wrong("is the key of several held-out rows; it must identify one image"),
            }
        };
        self.images.iter().map(one).collect()
    }
}

/// A near-duplicate of one image u8 `[1, 3, S, S]`.
fn near(image: &Tensor, key: u64) -> Tensor {
    let side = image.size()[3];
    let mut rng = ChaCha8Rng::seed_from_u64(key);
    let part = side - rng.random_range(1..=(side / 10).max(1));
    let (top, left) = (rng.random_range(0..=side - part), rng.random_range(0..=side - part));
    let crop = image.narrow(2, top, part).narrow(3, left, part).to_kind(Kind::Float);
    let whole = crop.upsample_bilinear2d([side, side], false, None, None) * rng.random_range(0.9..1.1);
    whole.round().clamp(0.0, 255.0).to_kind(Kind::Uint8)
}
