//! What PyTorch and scikit-learn computed for the tests of this crate: `tests/golden/defenses.py` made it.

use gauntlet::data::files::read_safetensors;
use gauntlet::defense::{Embedded, Step};
use gauntlet::model::{Clip, ModelConfig};
use gauntlet::recipe::Precision;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Tensor};

pub type Golden = BTreeMap<String, Tensor>;

/// Asserts that what is computed from the inputs is the file's `name`, to five digits.
pub fn same(name: &str, compute: impl Fn(&Golden) -> Tensor) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/defenses.safetensors");
    let (golden, _) = read_safetensors(Path::new(path)).unwrap();
    let (ours, theirs) = (compute(&golden), &golden[name]);
    assert_eq!(ours.size(), theirs.size(), "{name}");
    let greatest = |tensor: Tensor| f64::try_from(tensor.abs().max()).unwrap();
    let error = greatest(ours - theirs) / greatest(theirs.copy()).max(1.0);
    assert!(error < 2e-5, "{name} is off by {error:.1e}");
}

/// A step on the file's embeddings.
pub struct Given<'a> {
    golden: &'a Golden,
    model: Clip,
    keys: Tensor,
    matches: RefCell<Vec<Tensor>>,
}

impl<'a> Given<'a> {
    pub fn new(golden: &'a Golden) -> Self {
        let model = Clip::new(&ModelConfig::named("tiny").unwrap(), 1, Device::Cpu).unwrap();
        let keys = Tensor::arange(golden["image"].size()[0], (tch::Kind::Int64, Device::Cpu));
        Given { golden, model, keys, matches: RefCell::default() }
    }

    pub fn step<'b>(&'b self, epoch: u32, second: Option<Embedded<'b>>) -> Step<'b> {
        Step {
            epoch,
            image: &self.golden["image"],
            text: &self.golden["text"],
            second,
            logit_scale: &self.golden["scale"],
            keys: &self.keys,
            tokens: &self.keys,
            half_logits: false,
            model: &self.model,
            precision: Precision::Fp32,
            matches: &self.matches,
        }
    }
}
