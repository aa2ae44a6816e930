//! The evaluators that ship with gauntlet, one file each. To add one, add a file and a `mod` line.

mod attack_success;
mod auroc;
mod downstream_attack;
mod downstream_zero_shot;
mod filtering;
mod linear_probe;
pub mod logistic;
mod per_class;
mod pool_matches;
mod rejection;
mod retrieval;
mod set_classes;
mod trajectory;
mod zero_shot;

/// Makes the linker keep the registrations. Without a call into this crate the linker drops it, and
/// the registry is empty.
pub fn link() {}
