//! Checks of attacks: the edits depend only on the seed, the goal does not depend on the arena, and
//! each image is stamped independently.

use super::standin::Villain;
use super::{Held, must};
use crate::attack::PrepareContext;
use crate::data::world::World;
use crate::data::{DataConfig, DataRow, Dataset, Split};
use crate::poison::{Poison, PreparedAttack};
use crate::progress::Silent;
use crate::registry::Configured;
use crate::registry::Plugin;
use crate::{Attack, Error, Goal, PoisonCtx, Result};
use std::collections::HashSet;
use std::path::Path;
use tch::{Device, Tensor};

/// The world that attacks are tested on, large enough for small rates to poison something.
pub(super) struct TestData {
    store: tempfile::TempDir,
    data: Dataset,
}

const PAIRS: u32 = 3000;

/// An attack of one seed, with its goal and its edits in its own arena.
struct Done {
    attack: Box<dyn Attack>,
    goal: Goal,
    poison: Poison,
}

impl TestData {
    pub(super) fn new() -> Self {
        let store = tempfile::tempdir().expect("a temporary folder");
        let world = DataConfig::World(World { pairs: PAIRS, ..World::default() });
        let data = Dataset::open(&world, 32, u64::MAX, store.path(), &Silent);
        TestData { data: data.unwrap_or_else(|error| panic!("{}", error.chain())), store }
    }

    pub(super) fn check(&self, plugin: &Plugin<dyn Attack>, config: &Configured) -> Held {
        let attack = || plugin.build(&serde_json::to_string(&config.config).expect("plain data"));
        let chain = |error: Error| error.chain();
        let run = |seed: u64| attack().and_then(|attack| self.run(attack, config, seed)).map_err(chain);
        let (first, same, other) = (run(0)?, run(0)?, run(1)?);
        self.seeds(&first, &same, &other)?;
        self.arenas(&first, config, attack().map_err(chain)?).map_err(chain)??;
        self.stamps(first.attack.as_ref()).map_err(chain)??;
        let say = || first.attack.apply_text_trigger("a small thing", 7).map_err(chain);
        must(say()? == say()?, "`apply_text_trigger` gives two captions for one key")
    }

    fn split(&self, seed: u64) -> Result<Split> {
        self.data.split(0.1, seed)
    }

    /// Poisons in a fresh store, so that nothing made before is read.
    fn run(&self, attack: Box<dyn Attack>, config: &Configured, seed: u64) -> Result<Done> {
        let store = tempfile::tempdir_in(self.store.path()).map_err(Error::io(self.store.path()))?;
        let (split, configs) = (self.split(seed)?, std::slice::from_ref(config));
        let mut prepared_attacks =
            PreparedAttack::all(configs, vec![attack], &self.data, &split, seed, &context(store.path()))?;
        let poison = Poison::open(&context(store.path()), &self.data, &split, seed, configs, &prepared_attacks)?;
        let PreparedAttack { attack, goal, .. } = prepared_attacks.remove(0);
        Ok(Done { attack, goal, poison })
    }

    fn seeds(&self, first: &Done, same: &Done, other: &Done) -> Held {
        must(first.goal == same.goal, "one seed, two goals; all draws come from `ctx.rng`")?;
        let equal = first.poison.edits == same.poison.edits && first.poison.digest == same.poison.digest;
        must(equal, "one seed, two poisons; all draws come from `ctx.rng` and from the keys of `stamp`")?;
        must(!first.poison.edits.is_empty(), format!("`poison` makes no edit of {PAIRS} pairs"))?;
        let differs = first.poison.edits != other.poison.edits && first.poison.digest != other.poison.digest;
        must(differs, "two seeds, the same poison; draw the poisoned rows from `ctx.rng`")
    }

    /// If another attack of the arena has edited rows before, the goal is the same and the attack
    /// leaves those rows alone.
    fn arenas(&self, alone: &Done, config: &Configured, attack: Box<dyn Attack>) -> Result<Held> {
        let split = self.split(0)?;
        let configs = [Villain::taker().configured(), config.clone()];
        let attacks: Vec<Box<dyn Attack>> = vec![Box::new(Villain::taker()), attack];
        let store = tempfile::tempdir_in(self.store.path()).map_err(Error::io(self.store.path()))?;
        let prepared_attacks = PreparedAttack::all(&configs, attacks, &self.data, &split, 0, &context(store.path()))?;
        let taken: HashSet<DataRow> = split.train.iter().step_by(3).collect();
        let goal =
            prepared_attacks[1].attack.goal(&PoisonCtx { data: &self.data, split: &split, seed: 0, taken: &taken })?;
        if goal != alone.goal {
            return Ok(Err(
                "its goal depends on what other attacks of the arena do; draw it from `ctx.rng` alone".into()
            ));
        }
        let both = Poison::open(&context(store.path()), &self.data, &split, 0, &configs, &prepared_attacks);
        both.map(|_| Ok(())).map_err(|error| error.during("after another attack in one arena"))
    }

    fn stamps(&self, attack: &dyn Attack) -> Result<Held> {
        let (rows, keys) = ([3, 1, 4].map(DataRow), [10, 11, 12]);
        let canvas = self.data.canvas.gather(&rows)?;
        let stamped = attack.stamp(&canvas, &keys)?;
        let alone = attack.stamp(&canvas.narrow(0, 2, 1), &keys[2..])?;
        let untouched = equal(&canvas, &self.data.canvas.gather(&rows)?);
        Ok(must(equal(&stamped, &attack.stamp(&canvas, &keys)?), "`stamp` draws beside the keys it is given")
            .and_then(|()| must(untouched, "`stamp` changes the images that it is given; `copy` them first"))
            .and_then(|()| {
                must(
                    equal(&stamped.narrow(0, 2, 1), &alone),
                    "the result of `stamp` for an image depends on those beside it",
                )
            }))
    }
}

/// A context to prepare attacks in.
fn context(store: &Path) -> PrepareContext<'_> {
    PrepareContext { store, device: Device::Cpu, progress: &Silent }
}

fn equal(one: &Tensor, other: &Tensor) -> bool {
    one.size() == other.size() && one.equal(other)
}
