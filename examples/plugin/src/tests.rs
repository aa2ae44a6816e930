//! The conformance test of every plugin, and a test of this plugin's purpose.

use super::*;
use gauntlet::tch::{Device, Kind};

#[test]
fn it_holds_what_every_plugin_must() {
    gauntlet::conformance::check();
}

#[test]
fn the_frame_is_white_and_the_image_within_stays() {
    let black = Tensor::zeros([1, 3, 8, 8], (Kind::Uint8, Device::Cpu));
    let framed = Frame { width: 2, ..Frame::default() }.stamp(&black, &[0]).unwrap();
    let white = i64::try_from(framed.eq(255).sum(Kind::Int64)).unwrap();
    assert_eq!(white, 3 * (8 * 8 - 4 * 4));
    assert!(framed.narrow(2, 2, 4).narrow(3, 2, 4).equal(&black.narrow(2, 2, 4).narrow(3, 2, 4)));
}
