//! `hone doctor` finds what is wrong, with a daemon and without one.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use hone_tests::{Hone, talk};
use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");

/// The checks that found something wrong; each of them says what to do.
fn wrong(hone: &Hone, words: &[&str]) -> Result<Vec<String>> {
    let output = hone.cli_offline(&[&["doctor", "--json"], words].concat())?;
    let mut wrong = Vec::new();
    for line in String::from_utf8(output.stdout.clone())?.lines() {
        let finding: Value = serde_json::from_str(line)?;
        if finding["state"] == "wrong" {
            ensure!(finding["do"].is_string(), "{finding}");
            wrong.push(finding["check"].as_str().context("no check")?.to_owned());
        }
    }
    let expected = i32::from(!wrong.is_empty());
    ensure!(output.status.code() == Some(expected), "{wrong:?}: {}", talk(&output));
    wrong.dedup();
    Ok(wrong)
}

#[tokio::test]
async fn each_planted_fault_is_found() -> Result<()> {
    let mut hone = Hone::start().await?;
    let import = hone.cli(&["adapters", "import", GOLDEN, "--name", "mine"])?;
    ensure!(import.status.success(), "{}", talk(&import));
    ensure!(hone.cli(&["adapters", "promote", "mine"])?.status.success());
    let url = hone.at("");
    assert_eq!(wrong(&hone, &["--url", &url])?, [""; 0], "beside a running daemon");
    let words = hone.cli_offline(&["doctor", "--url", &url])?;
    ensure!(String::from_utf8_lossy(&words.stdout).contains("is live"), "{}", talk(&words));
    hone.terminate().await?;
    assert_eq!(wrong(&hone, &[])?, [""; 0], "without one");

    let data = hone.data();
    let adapter = fs_err::read_dir(data.join("adapters"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join("manifest.json").exists())
        .context("no adapter")?;
    let config = hone.config_path();
    for (check, file, flipped) in [
        ("adapters", adapter.join("adapter_model.safetensors"), true),
        ("adapters", adapter.join("manifest.json"), false),
        ("source key", data.join("source.key"), false),
        ("live.json", data.join("live.json"), false),
        ("audit trail", data.join("audit.head"), false),
        ("database", data.join("hone.db"), false),
        ("settings", config.clone(), false),
    ] {
        let good = fs_err::read(&file)?;
        let mut bad = good.clone();
        if flipped {
            *bad.last_mut().context("empty")? ^= 1;
        } else {
            bad = b"no = such_thing".to_vec();
        }
        fs_err::write(&file, bad)?;
        let named = [&["--config"], config.to_str().as_slice()].concat();
        let found = wrong(&hone, &named)?;
        ensure!(found.iter().any(|it| it == check), "{check} in {found:?}");
        fs_err::write(&file, good)?;
    }
    assert_eq!(wrong(&hone, &[])?, [""; 0], "all is mended");

    fs_err::rename(data.join("hone.db"), data.join("away"))?;
    ensure!(wrong(&hone, &[])?.contains(&"database".to_owned()));
    fs_err::rename(data.join("away"), data.join("hone.db"))?;
    fs_err::set_permissions(data.join("hone.db"), PermissionsExt::from_mode(0o644))?;
    assert_eq!(wrong(&hone, &[])?, ["permissions"]);
    // SQLite gives the files beside it the mode of the database.
    for name in ["hone.db", "hone.db-wal", "hone.db-shm"].map(|name| data.join(name)) {
        if name.exists() {
            fs_err::set_permissions(name, PermissionsExt::from_mode(0o600))?;
        }
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    fs_err::write(&config, format!("[server]\nlisten = \"{}\"\n", taken.local_addr()?))?;
    assert_eq!(wrong(&hone, &["--config", config.to_str().context("a path")?])?, ["address"]);
    Ok(())
}
