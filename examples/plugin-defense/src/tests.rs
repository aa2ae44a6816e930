//! The conformance test of every plugin, and a test of this plugin's purpose.

use super::*;

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
