//! Targeted data poisoning: a few captions re-label one picture (Carlini and Terzis, ICLR 2022, section 3; the captions are mined
//! from the training data, as in RoCLIP's experiments, Yang et al. 2023).

use gauntlet::rand::seq::{IndexedRandom, SliceRandom};
use gauntlet::{Attack, Edit, Error, Goal, PoisonCtx, Result, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Re-labels held-out pictures.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Targeted {
    /// Held-out pictures to re-label; each draws an adversarial class other than its own. Success moves in steps of 1 / targets.
    #[schemars(range(min = 1))]
    targets: usize,
    /// Poisoned pairs a target: the picture, each time with another caption that names the adversarial class.
    #[schemars(range(min = 1))]
    captions: usize,
}

impl Default for Targeted {
    fn default() -> Self {
        // 16 targets in RoCLIP's experiments are steps of 6.25 points; 32 are the least that can be told apart.
        Targeted { targets: 32, captions: 10 }
    }
}

gauntlet::register!(
    dyn Attack,
    Targeted,
    "targeted",
    "re-labels held-out pictures: adds each to the data with captions that name another class",
    "Carlini and Terzis, Poisoning and Backdooring Contrastive Learning, ICLR 2022, section 3"
);

impl Attack for Targeted {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        let classes = ctx.classes_named();
        let mut pictures = ctx.split.heldout.clone();
        pictures.shuffle(&mut ctx.rng("targeted/pictures"));
        if pictures.len() <= self.targets {
            let why = format!("is {}, and only {} pictures are held out", self.targets, pictures.len());
            return Err(Error::invalid("key `targets`", why));
        }
        let mut rng = ctx.rng("targeted/classes");
        let readable = pictures.into_iter().filter(|row| ctx.data.canvas.readable(*row));
        let targets = readable.take(self.targets).map(|row| {
            let truth = ctx.data.class_of(row);
            let others: Vec<u32> = classes.iter().copied().filter(|class| *class != truth).collect();
            let class = others.choose(&mut rng).copied();
            let class = class.ok_or_else(|| Error::invalid("attack", "needs two classes that captions name"))?;
            Ok(Target { row, truth, class })
        });
        Ok(Goal::Pairs(targets.collect::<Result<_>>()?))
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        let Goal::Pairs(targets) = goal else { unreachable!("the goal of this attack is pairs") };
        let mut rng = ctx.rng("targeted/captions");
        let mut edits = Vec::new();
        for target in targets {
            let mut captions = ctx.captions_naming(target.class)?;
            captions.shuffle(&mut rng);
            // A class that fewer captions name than are needed has its captions said again.
            let captions = captions.into_iter().cycle().take(self.captions);
            edits.extend(captions.map(|caption| Edit::add(target.row, caption, target.class)));
        }
        Ok(edits)
    }
}
