//! Models by their hub ids, from a hub on loopback.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;
use hone_tests::hub::{COMMIT, Hub};
use hone_tests::{Hone, hone_binary, talk};
use serde_json::Value;

const STARTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/starter");
const REPO: &str = "Some/Starter-1";

/// A hub that has the starter model.
fn hub() -> Result<Hub> {
    let hub = Hub::start(REPO)?;
    for name in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
    ] {
        hub.small(name, &fs_err::read(Path::new(STARTER).join(name))?);
    }
    hub.large("model.safetensors", &fs_err::read(Path::new(STARTER).join("model.safetensors"))?);
    Ok(hub)
}

/// A command with a cache and a data directory in `home`.
fn hone(home: &Path, endpoint: &str, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(hone_binary())
        .args(arguments)
        .arg("--data-dir")
        .arg(home.join("data"))
        .env("HF_HOME", home.join("hf"))
        .env("HF_ENDPOINT", endpoint)
        .env_remove("HF_TOKEN")
        .current_dir(home)
        .output()?;
    Ok(output)
}

#[tokio::test]
async fn a_hub_id_is_served_downloaded_once_and_stays_with_its_commit() -> Result<()> {
    let (hub, cache) = (hub()?, tempfile::tempdir()?);
    hub.cut(3_000_000, 2);
    let builder = Hone::builder().argument("--model").argument(REPO);
    let builder =
        builder.environment("HF_HOME", cache.path()).environment("HF_ENDPOINT", hub.endpoint());
    let mut daemon = builder.start().await?;
    assert_eq!(daemon.chat("Starter-1", "922 times 8?").await?.text, "922 * 8 = 7376");
    let asked = hub.asked();
    assert!(asked.iter().any(|one| one.store && one.range.is_some()), "it went on: {asked:?}");
    let snapshot = cache.path().join("hub/models--Some--Starter-1/snapshots").join(COMMIT);
    assert!(snapshot.join("model.safetensors").is_file() && !snapshot.join("README.md").exists());

    // The next start needs no hub, and whatever `main` is by then, it is the same base.
    hub.refuse(503, "");
    daemon.terminate().await?;
    fs_err::remove_file(cache.path().join("hub/models--Some--Starter-1/refs/main"))?;
    daemon.restart().await?;
    assert_eq!(daemon.chat("Starter-1", "922 times 8?").await?.text, "922 * 8 = 7376");
    assert!(hub.asked().is_empty());
    Ok(())
}

#[test]
fn models_are_pulled_packed_and_listed_ahead() -> Result<()> {
    let (hub, home) = (hub()?, tempfile::tempdir()?);
    let hone = |arguments: &[&str]| hone(home.path(), &hub.endpoint(), arguments);
    let pulled = hone(&["models", "pull", REPO, "--json"])?;
    assert!(pulled.status.success(), "{}", talk(&pulled));
    let pulled: Value = serde_json::from_slice(&pulled.stdout)?;
    assert_eq!(pulled["commit"], COMMIT);
    hub.refuse(401, "GatedRepo");
    let packed = hone(&["models", "pack", REPO])?;
    assert!(packed.status.success(), "{}", talk(&packed));
    assert!(talk(&packed).contains("in q8"), "small: {}", talk(&packed));
    let explicit = hone(&["models", "pack", "starter", "--json"])?;
    assert_eq!(serde_json::from_slice::<Value>(&explicit.stdout)?["format"], "q4");
    let listed = String::from_utf8(hone(&["models", "list"])?.stdout)?;
    assert!(listed.contains(&format!("{REPO}@{COMMIT}")) && listed.contains("starter"), "{listed}");

    let refused = hone(&["models", "pull", REPO])?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(talk(&refused).contains("accept its terms"), "{}", talk(&refused));
    let nobody = hone(&["models", "pack", "Some/Nobody-1"])?;
    assert!(talk(&nobody).contains("Some/Nobody-1"), "{}", talk(&nobody));
    // What lies here goes before the hub, and a path is no id.
    fs_err::create_dir_all(home.path().join("Some/Starter-1"))?;
    drop(hub.asked());
    let folder = hone(&["models", "pack", REPO])?;
    assert!(talk(&folder).contains("config.json"), "{}", talk(&folder));
    let path = hone(&["models", "pack", "./Some/Other-1"])?;
    assert!(talk(&path).contains("a model is a GGUF file, or a folder"), "{}", talk(&path));
    assert!(hub.asked().is_empty());
    Ok(())
}
