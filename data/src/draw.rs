//! Keyed randomness: every draw is a function of (seed, purpose, key), so the order of threads, the
//! number of loader workers, the device and a restart do not change it. There is no other source of
//! randomness.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator behind every draw: portable and stable across machines.
pub type Rng = ChaCha8Rng;

/// A generator for one purpose and key, e.g. `rng(seed, "augment", &[epoch, row])`.
pub fn rng(seed: u64, purpose: &str, key: &[u64]) -> Rng {
    ChaCha8Rng::from_seed(digest(seed, purpose, key))
}

/// A 64-bit hash of (seed, purpose, key); sorting by it is a keyed permutation.
pub fn hash(seed: u64, purpose: &str, key: &[u64]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest(seed, purpose, key);
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn digest(seed: u64, purpose: &str, key: &[u64]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(&(purpose.len() as u64).to_le_bytes()).update(purpose.as_bytes());
    for part in key {
        hasher.update(&part.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}
