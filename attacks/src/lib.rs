//! The attacks that ship with gauntlet, one file each. To add one, add a file and a `mod` line.
//! Three files are shared by several attacks: `pixels.rs` (canvases as bytes), `releases.rs` (the
//! poisoning settings of released code) and `trigger.rs` (another attack's trigger).

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

/// Makes the linker keep the registrations. Without a call into this crate the linker drops it, and
/// the registry is empty.
pub fn link() {}
