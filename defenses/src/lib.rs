//! The defenses that ship with gauntlet, one file each. To add one, add a file and a `mod` line.
//! `filter.rs` is shared by the defenses that drop rows before training. docs/defenses.md describes
//! each defense.

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
mod neighbours;
mod roclip;
mod safeclip;
mod strip;

/// Makes the linker keep the registrations. Without a call into this crate the linker drops it, and
/// the registry is empty.
pub fn link() {}
