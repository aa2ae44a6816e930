//! What PyTorch and scikit-learn computed for the tests of this crate: `tests/golden/defenses.py` made it.

use gauntlet::defense::GivenStep;
use gauntlet::golden::Golden;
use tch::{Device, Tensor};

/// Asserts that what is computed from the inputs is the file's `name`, to five digits.
pub fn same(name: &str, compute: impl Fn(&Golden) -> Tensor) {
    let golden = Golden::of_tests("defenses");
    let (ours, theirs) = (compute(&golden), &golden[name]);
    assert_eq!(ours.size(), theirs.size(), "{name}");
    let greatest = |tensor: Tensor| f64::try_from(tensor.abs().max()).unwrap();
    let error = greatest(ours - theirs) / greatest(theirs.copy()).max(1.0);
    assert!(error < 2e-5, "{name} is off by {error:.1e}");
}

/// A step on the file's embeddings.
pub fn given(golden: &Golden) -> GivenStep {
    let [image, text, scale] = ["image", "text", "scale"].map(|name| golden[name].shallow_clone());
    let keys = Tensor::arange(image.size()[0], (tch::Kind::Int64, Device::Cpu));
    GivenStep::new(image, text, scale, keys.shallow_clone(), keys)
}
