//! The attacks that ship with gauntlet, one file each; a new one is a file and a `mod` line. `pixels.rs` and `releases.rs` are what
//! triggers share: canvases as bytes, and whom published code poisons.

mod badnet;
mod blended;
#[cfg(test)]
mod golden;
mod multi_trigger;
mod nashville;
mod pixels;
mod releases;
mod sig;
mod stripes;
mod targeted;
mod wanet;

/// Makes the linker keep the registrations: a program that calls nothing of a crate drops it, and its registry is empty.
pub fn link() {}
