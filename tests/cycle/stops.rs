//! Stopping in the middle of training: by SIGTERM, which the cycle survives, and by cancelling it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hone_tests::Hone;
use serde_json::{Value, json};

async fn with_feedback() -> Result<Hone> {
    let hone = Hone::builder()
        // No checkpoint but the one at the stop.
        .config("[training]\nepochs = 1\ncheckpoint_every = 100000")
        .config("[evaluation]\nrows_per_suite = 2")
        .upgraded()
        .start()
        .await?;
    hone.correct("triage", 60).await?;
    Ok(hone)
}

/// The files of this name in the training runs of all cycles.
fn run_files(hone: &Hone, name: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for cycle in fs_err::read_dir(hone.data().join("runs"))? {
        let Ok(runs) = fs_err::read_dir(cycle?.path()) else { continue };
        for run in runs {
            files.push(run?.path().join(name));
        }
    }
    Ok(files.into_iter().filter(|file| file.is_file()).collect())
}

/// Starts a cycle and waits until it has trained for some steps.
async fn in_training(hone: &Hone) -> Result<String> {
    let id = hone.start_cycle().await?["id"].as_str().context("no cycle id")?.to_owned();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(120) {
        for log in run_files(hone, "progress.jsonl")? {
            let log = fs_err::read_to_string(log).unwrap_or_default();
            if log.matches("\"phase\":\"train\"").count() >= 2 {
                return Ok(id);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("no training within two minutes: {}", hone.log()?)
}

/// What the kernel says of a process, `what` being a file below `/proc/<pid>`.
fn kernel_says(pid: u32, what: &str) -> Result<String> {
    Ok(fs_err::read_to_string(format!("/proc/{pid}/{what}"))?.trim().to_owned())
}

/// The processes that a process has started.
fn children(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in fs_err::read_dir(format!("/proc/{pid}/task"))? {
        let list = fs_err::read_to_string(thread?.path().join("children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(found)
}

#[tokio::test]
async fn the_training_process_goes_first_and_leaves_no_core() -> Result<()> {
    let hone = with_feedback().await?;
    let id = in_training(&hone).await?;
    let daemon = hone.pid().context("not running")?;
    let [child] = children(daemon)?[..] else { bail!("{:?}", children(daemon)?) };
    assert_eq!(kernel_says(child, "oom_score_adj")?, "900");
    let own = fs_err::read_to_string("/proc/self/oom_score_adj")?;
    assert_eq!(kernel_says(daemon, "oom_score_adj")?, own.trim(), "the daemon's is left alone");
    for pid in [daemon, child] {
        let limits = kernel_says(pid, "limits")?;
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
        let soft = core.and_then(|line| line.split_whitespace().next());
        ensure!(soft.is_some_and(|soft| ["0", "1"].contains(&soft)), "{limits}");
    }
    hone.post(&format!("/v1/cycles/{id}/cancel"), &json!({})).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_stopped_daemon_goes_on_with_its_cycle() -> Result<()> {
    let mut hone = with_feedback().await?;
    let id = in_training(&hone).await?;
    ensure!(hone.terminate().await? == Some(0), "{}", hone.log()?);
    hone.restart().await?;
    let end = hone.cycle_end(&id).await?;
    assert_eq!(end["status"], "finished", "{end}\n{}", hone.log()?);
    let mut resumed = 0;
    for outcome in run_files(&hone, "outcome.json")? {
        let outcome: Value = serde_json::from_slice(&fs_err::read(outcome)?)?;
        resumed += u32::from(outcome["resumed_at"].as_u64().is_some_and(|at| at >= 2));
    }
    assert_eq!(resumed, 1, "the run that was stopped went on: {end}");
    Ok(())
}

#[tokio::test]
async fn a_cancelled_cycle_makes_room_for_the_next() -> Result<()> {
    let hone = with_feedback().await?;
    let first = in_training(&hone).await?;
    let second = hone.start_cycle().await?;
    assert_eq!(second["status"], "queued");
    let second = second["id"].as_str().context("no cycle id")?;
    for id in [second, &first] {
        hone.post(&format!("/v1/cycles/{id}/cancel"), &json!({})).await?.expect(200)?;
        assert_eq!(hone.cycle_end(id).await?["status"], "cancelled");
    }
    hone.post(&format!("/v1/cycles/{first}/cancel"), &json!({})).await?.expect(409)?;
    let live: Value = hone.get("/v1/adapters").await?.expect(200)?;
    assert_eq!(live["data"].as_array().map(Vec::len), Some(0), "{live}");
    let third = hone.run_cycle().await?;
    assert_eq!(third["status"], "finished", "{third}\n{}", hone.log()?);
    Ok(())
}
