//! The conformance test of every plugin, and a test of this plugin's purpose.

use super::*;

#[test]
fn it_holds_what_every_plugin_must() {
    gauntlet::conformance::check();
}

#[test]
fn a_hit_is_a_class_anywhere_among_those_given() {
    assert_eq!(hits(&[vec![4, 2], vec![1, 3], vec![0, 2]], &[2, 1, 3]), 2);
}
