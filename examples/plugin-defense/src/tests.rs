//! The conformance test of every plugin, and a test of this plugin's purpose.

use super::*;
use gauntlet::defense::GivenStep;
use gauntlet::tch::Device;

#[test]
fn it_holds_what_every_plugin_must() {
    gauntlet::conformance::check();
}

#[test]
fn the_pairs_that_fit_least_are_left_out() {
    let similarity = Tensor::from_slice(&[0.3f32, -0.5, 0.9, 0.1]);
    let kept = Trim { share: 0.5, after: 0 }.kept(&similarity);
    assert_eq!(Vec::<i64>::try_from(kept).unwrap(), [2, 0]);
}

/// Two captions of four belong to each other's images, so that CLIP's loss is large.
#[test]
fn pairs_are_left_out_once_the_first_epochs_are_over() {
    let image = Tensor::eye(4, (Kind::Float, Device::Cpu)); // [batch, dimensions], normalised
    let text = Tensor::cat(&[image.narrow(0, 0, 2), image.narrow(0, 2, 2).flip([0])], 0);
    let keys = Tensor::arange(4, (Kind::Int64, Device::Cpu));
    let tokens = Tensor::zeros([4, 1], (Kind::Int64, Device::Cpu));
    let given = GivenStep::new(image, text, Tensor::from(100f32) /* logit_scale */, keys, tokens);
    let mut trim = Trim { share: 0.5, after: 2 };
    let losses = [1, 2, 3].map(|epoch| f64::try_from(trim.loss(&given.step(epoch)).unwrap()).unwrap());
    assert!(losses[0] > 10.0 && losses[1] > 10.0 && losses[2] < 1e-6, "{losses:?}");
}
