//! Real Python clients. CI installs them and requires them; elsewhere their tests step aside.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail, ensure};

/// A Python that has these packages, or `None` where nobody requires them.
///
/// # Errors
/// `HONE_TEST_REQUIRE_CLIENTS` is set and a package is missing.
pub fn with_packages(packages: &[&str]) -> Result<Option<PathBuf>> {
    let python = std::env::var_os("HONE_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let import = format!("import {}", packages.join(", "));
    let found = Command::new(&python).args(["-c", &import]).output();
    if found.as_ref().is_ok_and(|output| output.status.success()) {
        return Ok(Some(python.into()));
    }
    if std::env::var_os("HONE_TEST_REQUIRE_CLIENTS").is_some() {
        bail!("{} cannot `{import}`: {found:?}", python.display());
    }
    let _ = writeln!(
        std::io::stderr(),
        "left out: `pip install {}` and set HONE_TEST_PYTHON to run this test",
        packages.join(" ")
    );
    Ok(None)
}

/// Runs a script of `tests/compat/`; its standard output.
///
/// # Errors
/// It fails; its words are in the message.
pub fn run(python: &PathBuf, script: &str, arguments: &[&str]) -> Result<String> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("compat").join(script);
    let output = Command::new(python).arg(&script).args(arguments).output()?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(output.status.success(), "{} failed:\n{out}\n{err}", script.display());
    Ok(out)
}
