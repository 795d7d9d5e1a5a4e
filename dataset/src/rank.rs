//! An order by chance that never changes.

/// A number that looks random and depends on nothing but its arguments.
pub(crate) fn rank(seed: u64, salt: &str, name: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("hone dataset 2026 rank");
    hasher.update(&seed.to_le_bytes());
    hasher.update(salt.as_bytes());
    hasher.update(b"\n");
    hasher.update(name.as_bytes());
    *hasher.finalize().as_bytes()
}
