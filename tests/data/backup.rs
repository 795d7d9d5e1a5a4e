//! A backup of a daemon under load becomes a daemon that answers the same.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use hone_tests::{Hone, talk};
use serde_json::{Value, json};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_restored_and_answers_the_same() -> Result<()> {
    let mut hone = Hone::start().await?;
    let import = hone.cli(&["adapters", "import", GOLDEN, "--name", "mine"])?;
    ensure!(import.status.success(), "{}", talk(&import));
    let promoted = hone.cli(&["adapters", "promote", "mine"])?;
    ensure!(promoted.status.success(), "{}", talk(&promoted));
    let question = "What is the capital of France?";
    let before = hone.chat("hone", question).await?;
    hone.thumbs(&before.id, true).await?;

    let stop = AtomicBool::new(false);
    let load = async || -> Result<u32> {
        let mut said = 0;
        while !stop.load(Ordering::Relaxed) {
            let answer = hone.chat("hone", "Hi").await?;
            hone.thumbs(&answer.id, false).await?;
            let way = if said % 2 == 0 { "rollback" } else { "mine/promote" };
            hone.post(&format!("/v1/adapters/{way}"), &json!({})).await?;
            said += 1;
        }
        hone.post("/v1/adapters/mine/promote", &json!({})).await?.expect(200)?;
        Ok(said)
    };
    let to = hone.data().with_file_name("copy");
    let backups = async || -> Result<()> {
        let mut made = Vec::new();
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        for name in ["one", "two.tar", "three"] {
            fs_err::create_dir_all(&to)?;
            let target = to.join(name);
            let target = target.to_str().context("a path")?;
            made.push(tokio::task::block_in_place(|| {
                hone.cli_offline(&["backup", target, "--json"])
            })?);
        }
        stop.store(true, Ordering::Relaxed);
        for output in made {
            ensure!(output.status.success(), "{}", talk(&output));
            let manifest: Value = serde_json::from_slice(&output.stdout)?;
            ensure!(manifest["audit"]["rows"].as_u64() > Some(0), "{manifest}");
        }
        Ok(())
    };
    let (said, backed_up) = tokio::join!(load(), backups());
    backed_up?;
    ensure!(said? > 0);

    // Into a directory that a daemon has, or that is not empty: no.
    let archive = to.join("two.tar");
    let archive = archive.to_str().context("a path")?;
    let held = hone.cli_offline(&["restore", archive])?;
    ensure!(talk(&held).contains("another daemon"), "{}", talk(&held));
    hone.terminate().await?;
    let full = hone.cli_offline(&["restore", archive])?;
    ensure!(talk(&full).contains("is not empty"), "{}", talk(&full));

    for name in ["one", "two.tar", "three"] {
        fs_err::rename(hone.data(), hone.data().with_file_name(format!("before-{name}")))?;
        let from = to.join(name);
        let restored = hone.cli_offline(&["restore", from.to_str().context("a path")?])?;
        ensure!(restored.status.success(), "{}", talk(&restored));
        hone.restart().await?;
        let again = hone.chat("mine", question).await?;
        assert_eq!((&again.text, &again.adapter), (&before.text, &before.adapter), "{name}");
        let live: Value = serde_json::from_slice(&fs_err::read(hone.data().join("live.json"))?)?;
        let named = live["live"].as_str().unwrap_or("base");
        assert_eq!(hone.chat("hone", "Hi").await?.adapter, named);
        let kept = hone.get(&format!("/v1/interactions/{}", before.id)).await?.expect(200)?;
        assert_eq!(kept["feedback"].as_array().map(Vec::len), Some(1), "{kept}");
        let verified = hone.cli_offline(&["audit", "verify"])?;
        ensure!(verified.status.success(), "{}", talk(&verified));
        let doctor = hone.cli_offline(&["doctor", "--url", &hone.at("")])?;
        ensure!(doctor.status.success(), "{}", talk(&doctor));
        hone.terminate().await?;
    }
    Ok(())
}
