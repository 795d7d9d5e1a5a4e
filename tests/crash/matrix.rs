//! The kill matrix: every fail point, at its first hit, its second, and so on until the deed is done un-killed.
//!
//! After each kill the daemon is started again, does again what was cut off, and the promises are checked: the
//! database is whole (I1), what was acknowledged is there (I2), `live.json` and the files it names are what
//! their checksums say (I3), the daemon is ready in time (I4) and answers with what the pointer names (I5), nothing
//! half written is left (I6), each cycle ended once (I7), and the audit trail's chain is unbroken (I8).
//!
//! `HONE_KILLS=all` takes every hit; without it hits beyond the fourth are taken at ever larger steps.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hone_tests::Hone;

use crate::scenario::{Acknowledged, PLANTED, Scenario, World, pointer};

/// Points by the deeds that reach them.
const MATRIX: [(Scenario, &[&str]); 5] = [
    (
        Scenario::FirstStart,
        &[
            "migrate.begin",
            "migrate.end",
            "pack.write",
            "rename.done",
            "file.fsync",
            "file.renamed",
        ],
    ),
    (Scenario::Write, &["store.enqueue", "store.begin", "store.commit", "store.ack"]),
    (
        Scenario::Cycle,
        &[
            "dataset.row",
            "child.spawn",
            "train.step",
            "train.export",
            "import.stage",
            "import.verify",
            "manifest.write",
            "file.tmp",
            "file.fsync",
            "file.renamed",
            "rename.done",
            "eval.item",
            "eval.report",
            "cycle.save",
        ],
    ),
    (
        Scenario::Operate,
        &[
            "import.stage",
            "audit.intend",
            "file.tmp",
            "file.fsync",
            "file.renamed",
            "file.dirsync",
            "rename.done",
            "rename.dirsync",
            "slots.swapped",
            "audit.done",
            "gc.mark",
            "gc.unlink",
        ],
    ),
    (Scenario::Erase, &["erase.row", "file.fsync", "file.renamed", "erase.run", "erase.receipt"]),
];

/// The time that a start may take: loading the tiny model takes none.
const READY: Duration = Duration::from_secs(5);
/// Up to here each hit is tried.
const EACH: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_point_can_be_killed_at() -> Result<()> {
    let world = World::new().await?;
    let all = std::env::var("HONE_KILLS").is_ok_and(|kills| kills == "all");
    let mut kills = 0;
    for (scenario, points) in MATRIX {
        for point in points {
            let mut hit = 1;
            loop {
                let at = format!("{point}:{hit}");
                let killed = play(&world, scenario, &at)
                    .await
                    .with_context(|| format!("{scenario:?}, killed at {at}"))?;
                if !killed {
                    break;
                }
                kills += 1;
                hit += if all || hit < EACH { 1 } else { hit };
            }
            ensure!(hit > 1, "{scenario:?} never comes to {point}");
        }
    }
    // For whoever runs it by hand.
    let _ = writeln!(std::io::stderr(), "{kills} kills");
    ensure!(kills > 100, "only {kills} kills");
    Ok(())
}

/// Whether the point was reached as often as that, and the process killed there.
async fn play(world: &World, scenario: Scenario, at: &str) -> Result<bool> {
    let mut hone = world.before(scenario)?;
    hone.set_environment("HONE_KILL_AT", Some(at));
    let mut acknowledged = Acknowledged::default();
    if hone.restart().await.is_ok() {
        // A call without an answer is what a kill looks like from outside; whether it was one is asked below.
        let played = scenario.play(&hone, &mut acknowledged).await;
        // A connection that breaks off is seen a little before the process is gone.
        let mut patience = if played.is_err() { 40 } else { 0 };
        while patience > 0 && !hone.has_ended()? {
            tokio::time::sleep(Duration::from_millis(50)).await;
            patience -= 1;
        }
        if !hone.has_ended()? {
            hone.terminate().await?;
            played?;
        }
    }
    // Also one on the way to the end.
    let killed = !hone.log()?.trim_end().ends_with("stopped");
    hone.set_environment("HONE_KILL_AT", None);
    let began = Instant::now();
    hone.restart().await.context("it does not come back")?;
    ensure!(began.elapsed() < READY, "ready after {:?} (I4)", began.elapsed());
    check(&hone, &acknowledged).await.context("right after the start")?;
    scenario.play(&hone, &mut acknowledged).await.context("done again")?;
    check(&hone, &acknowledged).await.context("after it was done again")?;
    let audit = hone.cli(&["audit", "verify", "--json"])?;
    ensure!(audit.status.success(), "{} (I8)", String::from_utf8_lossy(&audit.stderr));
    hone.terminate().await?;
    settled(&hone)?;
    Ok(killed)
}

async fn check(hone: &Hone, acknowledged: &Acknowledged) -> Result<()> {
    for id in &acknowledged.interactions {
        hone.get(&format!("/v1/interactions/{id}")).await?.expect(200).context("I2")?;
    }
    let said = hone.get("/v1/feedback?limit=1000").await?.expect(200)?;
    let said = said["data"].as_array().context("no list")?;
    let said: BTreeSet<&str> = said.iter().filter_map(|item| item["id"].as_str()).collect();
    for id in &acknowledged.feedback {
        ensure!(said.contains(id.as_str()), "{id} was acknowledged and is gone (I2)");
    }
    let named = match hone.data().join("live.json").exists() {
        true => pointer(&hone.data())?["live"].as_str().unwrap_or("base").to_owned(),
        false => "base".to_owned(),
    };
    let answer = hone.chat("hone", "Hi").await?;
    ensure!(answer.adapter == named, "live.json names {named}, {} answers (I5)", answer.adapter);
    if acknowledged.erased {
        let found = hone_tests::files::holding(&hone.data(), PLANTED)?;
        ensure!(found.is_empty(), "what was erased is in {found:?}");
    }
    let cycles = hone.get("/v1/cycles?limit=100").await?.expect(200)?;
    for cycle in cycles["data"].as_array().context("no list")? {
        let id = cycle["id"].as_str().context("no id")?;
        if !["queued", "running"].contains(&cycle["status"].as_str().unwrap_or_default()) {
            let events =
                hone.http().get(hone.at(&format!("/v1/cycles/{id}/events"))).send().await?;
            let events = events.error_for_status()?.text().await?;
            let ends = ["finished", "failed", "cancelled"]
                .map(|kind| events.matches(&format!("\"kind\":\"{kind}\"")).count());
            ensure!(ends.iter().sum::<usize>() == 1, "{id} ended {ends:?} times (I7)");
        }
    }
    Ok(())
}

/// The files of a daemon that has ended.
fn settled(hone: &Hone) -> Result<()> {
    let doctor = hone.cli(&["doctor", "--json"])?;
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(doctor.status.success(), "{said}{} (I1, I3)", String::from_utf8_lossy(&doctor.stderr));
    let left = unfinished(&hone.data())?;
    ensure!(left.is_empty(), "{left:?} are left half written (I6)");
    Ok(())
}

/// Files and folders that are written aside before they get their names.
fn unfinished(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name.ends_with(".tmp") {
            found.push(path.display().to_string());
        } else if path.is_dir() {
            found.extend(unfinished(&path)?);
        }
    }
    Ok(found)
}
