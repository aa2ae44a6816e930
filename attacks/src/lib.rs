//! The attacks that ship with gauntlet, one file each; a new one is a file and a `mod` line. `pixels.rs`, `releases.rs`
//! and `trigger.rs` are what some share: canvases as bytes, whom published code poisons, and another attack's stamp.

mod badclip;
mod badnet;
mod blended;
mod dual_key;
mod mm_poison;
mod multi_trigger;
mod nashville;
mod precomputed;
mod roclip_adaptive;
mod sig;
mod stripes;
mod targeted;
mod text_trigger;
mod wanet;

#[cfg(test)]
mod golden;
mod pixels;
mod releases;
mod trigger;

/// Makes the linker keep the registrations: a program that calls nothing of a crate drops it, and
/// its registry is empty.
pub fn link() {}
