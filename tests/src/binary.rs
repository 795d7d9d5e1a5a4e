//! Where the binary under test is.

use std::path::PathBuf;

/// What a command said on stderr.
#[must_use]
pub fn talk(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The path of `hone`. Cargo builds it for the end-to-end tests, because they are targets of its package
/// (`cli/Cargo.toml`): no test runs against a stale binary.
///
/// # Panics
/// When it is called from anything but such a test.
#[must_use]
#[allow(clippy::panic, reason = "without a binary there is nothing to test")]
pub fn hone_binary() -> PathBuf {
    // The test is target/<profile>/deps/<test>-<hash>, the binary target/<profile>/hone.
    let test = std::env::current_exe().unwrap_or_default();
    match test.parent().and_then(|deps| deps.parent()).map(|profile| profile.join("hone")) {
        Some(binary) if binary.is_file() => binary,
        _ => panic!("no binary beside {}; run `cargo test -p hone`", test.display()),
    }
}
