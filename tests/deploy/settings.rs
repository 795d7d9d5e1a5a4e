//! Each setting that `deploy/` makes is one that the daemon has.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use hone_tests::hone_binary;

use crate::files::{path, text, tree, unit};

type Variables = Vec<(String, String)>;

/// `hone config check` with these variables and no others.
fn check(variables: &Variables, arguments: &[&str]) -> Result<Output> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(hone_binary());
    command.env_clear().envs(variables.clone()).current_dir(folder.path());
    Ok(command.args(["config", "check"]).args(arguments).output()?)
}

fn accepted(output: &Output) -> Result<()> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    name.starts_with("HONE__").then(|| (name.to_owned(), value.to_owned()))
}

/// What the image sets.
pub(crate) fn image() -> Result<Variables> {
    let text = text("deploy/Dockerfile")?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("ENV "));
    let variables: Variables = lines.flat_map(str::split_whitespace).filter_map(pair).collect();
    ensure!(!variables.is_empty(), "the image sets nothing");
    Ok(variables)
}

#[test]
fn the_image_alone_is_refused_until_somebody_says_who_checks_callers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(hone_binary());
    command.env_clear().envs(image()?).current_dir(folder.path());
    let refused = command.arg("--data-dir").arg(folder.path().join("data")).output()?;
    let words = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{words}");
    assert!(words.contains("auth.allow_unauthenticated = true"), "{words}");
    Ok(())
}

#[test]
fn compose_sets_what_there_is() -> Result<()> {
    let compose = tree("deploy/compose.yaml")?;
    let own = compose["services"]["hone"]["environment"].as_object().context("no environment")?;
    let mut variables = image()?;
    for (name, value) in own {
        variables.push((name.clone(), value.as_str().context("not a text")?.to_owned()));
    }
    accepted(&check(&variables, &[])?)?;
    // The check can fail: a key that there is not.
    variables.push(("HONE__SERVER__LISTNE".to_owned(), "1".to_owned()));
    ensure!(check(&variables, &[])?.status.code() == Some(2));
    Ok(())
}

#[test]
fn the_unit_sets_what_there_is() -> Result<()> {
    let variables: Variables = unit("Environment")?.iter().filter_map(|text| pair(text)).collect();
    ensure!(!variables.is_empty(), "the unit does not say where the data lie");
    accepted(&check(&variables, &[])?)
}

#[test]
fn the_pod_sets_what_there_is() -> Result<()> {
    let file = path("deploy/kubernetes/hone.toml");
    accepted(&check(&image()?, &["--config", &file.to_string_lossy()])?)
}
