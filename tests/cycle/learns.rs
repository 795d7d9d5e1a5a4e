//! A weakness that users corrected is gone after a cycle; nothing stops meanwhile.

use anyhow::{Context, Result, ensure};
use hone_tests::{Hone, workload};
use serde_json::{Value, json};

/// Whether an answer to a `house_format` question is exactly right.
fn right(row: &Value, text: &str) -> bool {
    text.trim() == row["check"]["value"].as_str().unwrap_or_default()
}

async fn accuracy(hone: &Hone, rows: &[Value]) -> Result<f64> {
    let mut passed = 0.0;
    for row in rows {
        let answer = hone.chat_messages("hone", &row["messages"]).await?;
        passed += f64::from(u8::from(right(row, &answer.text)));
    }
    #[allow(clippy::cast_precision_loss, reason = "a few dozen rows")]
    Ok(passed / rows.len() as f64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrections_become_a_better_adapter() -> Result<()> {
    let hone = Hone::builder().config("[evaluation]\nrows_per_suite = 10").start().await?;
    let heldout: Vec<Value> =
        workload::rows("house_format", "heldout")?.into_iter().take(40).collect();
    let before = accuracy(&hone, &heldout).await?;
    hone.correct("house_format", 120).await?;
    hone.like(60).await?;

    let cycle = hone.start_cycle().await?;
    let id = cycle["id"].as_str().context("no id")?;
    // Chat goes on while the cycle trains and evaluates.
    let mut asked = 0;
    let end = loop {
        let view = hone.get(&format!("/v1/cycles/{id}")).await?.expect(200)?;
        if !["queued", "running"].contains(&view["status"].as_str().unwrap_or_default()) {
            break view;
        }
        hone.chat("hone", "922 times 8?").await?;
        asked += 1;
        // A user who types, and leaves the training some time.
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    };
    assert_eq!(end["status"], "finished", "{end}\n{}", hone.log()?);
    assert_eq!(end["verdict"], "promoted", "{end}");
    assert!(asked > 10, "only {asked} answers while the cycle ran");

    let after = accuracy(&hone, &heldout).await?;
    ensure!(after >= before + 0.3, "held-out accuracy went from {before} to {after}: {end}");
    let live = hone.get("/v1/adapters/live").await?.expect(200)?;
    assert_eq!(live["id"], end["candidate"]);
    assert_eq!(live["state"], "live");
    assert_eq!(live["provenance"]["cycle_id"], end["id"]);

    // The rows that judged were not among those that their judge was trained on.
    let cycles = fs_err::read_dir(hone.data().join("runs"))?;
    let folders = cycles.filter_map(|run| Some(run.ok()?.path().join("fold-0/rows.jsonl")));
    let trained = folders.filter(|rows| rows.is_file()).map(fs_err::read_to_string);
    let trained = trained.last().context("no adapter judged")??;
    let snapshot = hone.data().join("snapshots").join(end["snapshot"].as_str().context("no hash")?);
    let rows = fs_err::read_to_string(snapshot.join("rows.jsonl"))?;
    let rows: Vec<Value> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let judged: Vec<&Value> = rows.iter().filter(|row| row["fold"] == 0).collect();
    ensure!(judged.len() >= 40, "{} rows judged", judged.len());
    for row in judged {
        let question = row["messages"][0]["content"].to_string();
        ensure!(!trained.contains(&question), "it was trained on {question}");
    }

    let why = hone.cli(&["why", "live"])?;
    assert!(why.status.success(), "{}", String::from_utf8_lossy(&why.stderr));
    let words = String::from_utf8(why.stdout)?;
    assert!(words.contains("promoted") && words.contains("held-out"), "{words}");

    // The stream of a finished cycle tells the whole story and ends.
    let events = hone.http().get(hone.at(&format!("/v1/cycles/{id}/events"))).send().await?;
    let events = events.error_for_status()?.text().await?;
    for word in ["step_finished", "\"loss\"", "finished"] {
        ensure!(events.contains(word), "{word} is missing in the events");
    }

    // Taken back, the base answers as before, and the adapter can still be asked by its alias.
    hone.post("/v1/adapters/rollback", &json!({})).await?.expect(200)?;
    assert_eq!(hone.chat("hone", "Hi").await?.adapter, "base");
    assert_eq!(hone.chat("hone:previous", "Hi").await?.adapter, end["candidate"]);
    Ok(())
}
