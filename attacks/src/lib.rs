//! The attacks that ship with gauntlet, one file each; a new one is a file and a `mod` line.

mod badclip;
mod badnet;
mod dual_key;
mod mm_poison;
mod precomputed;
mod roclip_adaptive;
mod targeted;
mod text_trigger;
mod trigger;

/// Makes the linker keep the registrations: a program that calls nothing of a crate drops it, and its registry is empty.
pub fn link() {}
