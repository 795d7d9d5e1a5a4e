//! A daemon with TLS, and the commands that talk to it.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hone_tests::{Certificates, Hone, hone_binary};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn commands_trust_the_authority_that_they_are_given() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = Certificates::in_folder(folder.path());
    files.issue()?;
    let hone = Hone::builder().config(&files.config()).authority(&files).start().await?;
    assert_eq!(hone.chat("hone", "922 times 8?").await?.text, "922 * 8 = 7376");
    ensure!(hone.log()?.contains("https://127.0.0.1:"), "{}", hone.log()?);

    let authority = files.authority.to_str().context("a path")?;
    let status = hone.cli(&["status", "--ca", authority])?;
    ensure!(status.status.success(), "{}", said(&status));
    let stranger = Certificates::in_folder(&folder.path().join("other"));
    fs_err::create_dir(folder.path().join("other"))?;
    stranger.issue()?;
    let refused = hone.cli(&["status", "--ca", stranger.authority.to_str().context("a path")?])?;
    assert_eq!(refused.status.code(), Some(1));
    ensure!(said(&refused).contains("--ca"), "{}", said(&refused));
    let plain = hone.at("").replace("https", "http");
    let plain = Command::new(hone_binary()).args(["status", "--url", &plain]).output()?;
    assert_eq!(plain.status.code(), Some(1), "{}", said(&plain));

    // The next connections see the certificate that was renewed.
    files.issue()?;
    for _ in 0..300 {
        if hone.cli(&["status", "--ca", authority])?.status.success() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the new certificate does not serve: {}", hone.log()?)
}

#[test]
fn a_certificate_that_cannot_serve_stops_the_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = Certificates::in_folder(folder.path());
    files.issue()?;
    fs_err::write(&files.key, "no key")?;
    let file = folder.path().join("hone.toml");
    fs_err::write(&file, files.config())?;
    let output = Command::new(hone_binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&file)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()?;
    assert_eq!(output.status.code(), Some(1));
    ensure!(said(&output).contains("tls.key"), "{}", said(&output));
    Ok(())
}
