//! Where the binary under test is: built from this tree, with this profile, once a test process.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of `hone`, up to date with the sources.
///
/// # Panics
/// When it does not build; cargo's own words say why.
#[allow(clippy::panic, reason = "without a binary there is nothing to test")]
pub fn hone_binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| match build() {
            Ok(path) => path,
            Err(error) => panic!("cannot build the binary under test: {error:#}"),
        })
        .clone()
}

fn build() -> anyhow::Result<PathBuf> {
    // .../target/<profile>/deps/<test>-<hash>
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(|deps| deps.parent());
    let folder =
        folder.ok_or_else(|| anyhow::anyhow!("{} is not in a target folder", test.display()))?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "hone", "--bin", "hone"]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).status()?;
    anyhow::ensure!(status.success(), "cargo build ended with {status}");
    Ok(folder.join("hone"))
}
