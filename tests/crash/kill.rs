//! Twenty kills of the whole process group at random moments of a cycle.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hone_tests::{Hone, talk};
use serde_json::Value;

/// A linear congruential generator: the same moments in every run of the test.
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: u64) -> Duration {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((self.0 >> 33) % below)
    }
}

#[tokio::test]
async fn a_cycle_survives_twenty_kills() -> Result<()> {
    let mut hone = Hone::builder()
        .config("[training]\nepochs = 2\ncheckpoint_every = 4")
        .config("[evaluation]\nrows_per_suite = 4")
        .start()
        .await?;
    let mut acknowledged: BTreeSet<String> =
        hone.correct("house_format", 60).await?.into_iter().collect();
    acknowledged.extend(hone.like(40).await?);
    let cycle = hone.start_cycle().await?["id"].as_str().context("no cycle id")?.to_owned();

    let mut moments = Moments(1);
    let mut epoch = 0;
    for _ in 0..20 {
        tokio::time::sleep(moments.next(1500)).await;
        // What was said in the very last moment counts, once it is acknowledged.
        let answer = hone.chat("hone", "Hi").await?;
        acknowledged.insert(hone.thumbs(&answer.id, true).await?);
        hone.kill()?;
        hone.restart().await?;

        let live: Value = serde_json::from_slice(&fs_err::read(hone.data().join("live.json"))?)?;
        let trail = hone.cli_offline(&["audit", "verify"])?;
        ensure!(trail.status.success(), "{}", talk(&trail));
        let now = live["epoch"].as_u64().context("live.json has no epoch")?;
        ensure!(now >= epoch, "the epoch fell from {epoch} to {now}");
        epoch = now;
        let answer = hone.chat("hone", "Hi").await?;
        let named = live["live"].as_str().unwrap_or("base");
        ensure!(answer.adapter == named, "live.json names {named}, {} answers", answer.adapter);
    }
    let end = hone.cycle_end(&cycle).await?;
    assert_eq!(end["status"], "finished", "{end}\n{}", hone.log()?);
    assert!(end["verdict"].is_string(), "{end}");

    let rows = hone.get("/v1/audit?limit=1000").await?.expect(200)?;
    let rows = rows["data"].as_array().context("no rows")?;
    let told = |action: &str| {
        let is_it = |row: &&Value| row["subject"] == cycle && row["action"] == action;
        rows.iter().filter(is_it).count()
    };
    assert_eq!(told("cycle.started"), 1, "{rows:?}");
    let ends = ["promoted", "rejected", "held", "skipped", "failed", "cancelled"];
    let ended: usize = ends.iter().map(|end| told(&format!("cycle.{end}"))).sum();
    assert_eq!(ended, 1, "one row tells how it ended: {rows:?}");

    // Every acknowledged item is there.
    let output = hone.cli(&["feedback", "export", "--json"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let exported: BTreeSet<String> = String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|item| item["id"].as_str().map(str::to_owned))
        .collect();
    let lost: Vec<_> = acknowledged.difference(&exported).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged items are lost",
        lost.len(),
        acknowledged.len()
    );
    Ok(())
}
