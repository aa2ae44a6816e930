//! The defenses that ship with gauntlet, one file each; a new one is a file and a `mod` line.
//! `filter.rs` is what those share that drop rows before training. docs/defenses.md has a paragraph
//! on each.

mod augmentation_control;
mod cleanclip;
mod clip;
mod clip_score;
mod dao;
mod exposure_control;
mod filter;
mod fine_tune;
#[cfg(test)]
mod golden;
mod local_outlier;
mod roclip;
mod safeclip;
mod strip;

/// Makes the linker keep the registrations: a program that calls nothing of a crate drops it, and
/// its registry is empty.
pub fn link() {}
