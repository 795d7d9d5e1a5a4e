//! Node and the packages of `tests/compat/node`. CI installs them and requires them; elsewhere their tests step aside.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};

/// Whether there is a Node that has the packages; `false` only where nobody requires them.
///
/// # Errors
/// `HONE_TEST_REQUIRE_CLIENTS` is set and something is missing. `HONE_TEST_WITHOUT_NODE` says that this machine cannot have it.
pub fn is_there() -> Result<bool> {
    let folder = folder();
    let import = "await Promise.all(['ai', 'openai', 'zod'].map((name) => import(name)))";
    let found = node(&folder).args(["--input-type=module", "-e", import]).output();
    if found.as_ref().is_ok_and(|output| output.status.success()) {
        return Ok(true);
    }
    let required = std::env::var_os("HONE_TEST_REQUIRE_CLIENTS").is_some();
    if required && std::env::var_os("HONE_TEST_WITHOUT_NODE").is_none() {
        bail!("node cannot import the packages of {}: {found:?}", folder.display());
    }
    let _ = writeln!(
        std::io::stderr(),
        "left out: install Node 18 or newer and run `npm ci` in {} to run this test",
        folder.display()
    );
    Ok(false)
}

/// Runs a script of `tests/compat/node/`; its standard output.
///
/// # Errors
/// It fails; its words are in the message.
pub fn run(script: &str, arguments: &[&str]) -> Result<String> {
    let output = node(&folder()).arg(script).args(arguments).output()?;
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script} failed:\n{out}\n{err}");
    Ok(out)
}

fn node(folder: &Path) -> Command {
    let mut command = Command::new("node");
    command.current_dir(folder);
    command
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("compat/node")
}
