//! The evaluators that ship with gauntlet, one file each; a new one is a file and a `mod` line.

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

/// Makes the linker keep the registrations: a program that calls nothing of a crate drops it, and
/// its registry is empty.
pub fn link() {}
