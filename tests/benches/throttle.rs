//! How long chat waits while a cycle trains: `cargo bench -p hone --bench throttle`.
//!
//! Four clients stream answers, first one after the other without a pause, then with a pause for
//! thought; without training, and while the trainer is at work on the same cores. What matters is the
//! ratio: both sides run on the same machine in the same minute.
#![allow(clippy::print_stdout)] // a report

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use hone_tests::{Hone, workload};
use serde_json::{Value, json};

const CLIENTS: usize = 4;
const SPAN: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // So many epochs that the trainer is at work for as long as is measured.
    let hone = Hone::builder().config("[training]\nepochs = 100\npatience = 100").start().await?;
    hone.correct("triage", 200).await?;
    hone.like(200).await?;
    for pause in [Duration::ZERO, Duration::from_millis(200)] {
        measure(&hone, pause, SPAN / 5).await?; // warm
        let alone = measure(&hone, pause, SPAN).await?;
        let cycle = hone.start_cycle().await?;
        let path = format!("/v1/cycles/{}", cycle["id"].as_str().context("no id")?);
        until_training(&hone, &path).await?;
        let beside = measure(&hone, pause, SPAN).await?;
        let view = hone.get(&path).await?.expect(200)?;
        ensure!(view["step"] == "train", "training ended too early: {view}");
        hone.post(&format!("{path}/cancel"), &json!({})).await?;
        hone.cycle_end(cycle["id"].as_str().context("no id")?).await?;
        println!("{CLIENTS} clients, {pause:?} between two questions");
        alone.print("no training");
        beside.print("while training");
        println!("  ratio of p95 {:>22.2}", beside.percentile(95) / alone.percentile(95));
    }
    Ok(())
}

async fn until_training(hone: &Hone, path: &str) -> Result<()> {
    for _ in 0..600 {
        let view = hone.get(path).await?.expect(200)?;
        if view["step"] == "train" {
            // The process has started and read its rows.
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("no training within 12 seconds")
}

/// Times to the first token, in milliseconds, ascending.
struct Waits(Vec<f64>);

impl Waits {
    fn percentile(&self, percent: usize) -> f64 {
        self.0[(self.0.len() - 1) * percent / 100]
    }

    fn print(&self, label: &str) {
        let (half, most, n) = (self.percentile(50), self.percentile(95), self.0.len());
        println!("  {label:<15} first token p50 {half:>6.1} ms  p95 {most:>6.1} ms  n={n}");
    }
}

async fn measure(hone: &Hone, pause: Duration, span: Duration) -> Result<Waits> {
    let rows = workload::rows("control_facts", "heldout")?;
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let client = async || -> Result<Vec<f64>> {
        let mut waits = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let row = &rows[next.fetch_add(1, Ordering::Relaxed) % rows.len()];
            waits.push(first_token(hone, &row["messages"]).await?.as_secs_f64() * 1e3);
            tokio::time::sleep(pause).await;
        }
        Ok(waits)
    };
    let clients = futures_util::future::try_join_all((0..CLIENTS).map(|_| client()));
    let end = async {
        tokio::time::sleep(span).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (waits, ()) = tokio::join!(clients, end);
    let mut waits: Vec<f64> = waits?.into_iter().flatten().collect();
    waits.sort_by(f64::total_cmp);
    Ok(Waits(waits))
}

/// Streams one answer to its end; the time to its first piece of text.
async fn first_token(hone: &Hone, messages: &Value) -> Result<Duration> {
    let body = json!({
        "model": "hone", "messages": messages, "temperature": 0, "max_tokens": 128,
        "stream": true, "store": false,
    });
    let begun = Instant::now();
    let request = hone.http().post(hone.at("/v1/chat/completions")).json(&body);
    let mut stream = request.send().await?.error_for_status()?.bytes_stream();
    let (mut seen, mut first, mut ended) = (Vec::new(), None, false);
    while let Some(bytes) = stream.next().await {
        seen.extend_from_slice(&bytes?);
        let text = String::from_utf8_lossy(&seen);
        // The chunk that names the role has an empty text.
        let said = text.split("\"content\":\"").skip(1).any(|rest| !rest.starts_with('"'));
        if first.is_none() && said {
            first = Some(begun.elapsed());
        }
        ended = text.contains("data: [DONE]");
    }
    ensure!(ended, "a stream broke off: {}", String::from_utf8_lossy(&seen));
    first.context("an answer without text")
}
