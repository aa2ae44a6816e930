//! Values that PyTorch and scikit-learn computed for the tests of this crate;
//! `tests/golden/defenses.py` makes the file.

use gauntlet::defense::GivenStep;
use gauntlet::golden::Golden;
use tch::{Device, Tensor};

/// Asserts that the value computed from the file's inputs equals the file's `name`, with an error
/// below 2e-5.
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
