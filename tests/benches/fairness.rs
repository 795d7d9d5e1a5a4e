//! How much a client with 400 connections slows another one down: `cargo bench -p hone --bench fairness`.
//!
//! A polite client (a key of its own) asks one short question after the other, with a pause for thought; alone,
//! and while a greedy one (another key) has 1,000 requests answered over 400 connections, asking again whatever is
//! refused. What matters is the ratio: both sides run on the same machine in the same minute. With `--profile dev` it needs
//! no release build; the decoder is optimised there too.
#![allow(clippy::print_stdout)] // a report

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use hone_tests::{Hone, workload};
use serde_json::{Value, json};

const CONNECTIONS: usize = 400;
const REQUESTS: usize = 1000;
/// Questions of the polite one alone.
const ALONE: usize = 100;
const PAUSE: Duration = Duration::from_millis(200);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let hone = Hone::start().await?;
    let admin = key(&hone, "none", "admin").await?;
    let (greedy, polite) = (key(&hone, &admin, "chat").await?, key(&hone, &admin, "chat").await?);
    let never = AtomicBool::new(false);
    politely(&hone, &polite, 10, &never).await?; // warm
    let alone = politely(&hone, &polite, ALONE, &never).await?;
    let over = AtomicBool::new(false);
    let crowd = async {
        let crowd = greedily(&hone, &greedy).await;
        over.store(true, Ordering::Relaxed);
        crowd
    };
    let (beside, crowd) = tokio::join!(politely(&hone, &polite, usize::MAX, &over), crowd);
    let (beside, crowd) = (beside?, crowd?);
    println!(
        "greedy: {CONNECTIONS} connections, {REQUESTS} answers in {:.1} s, {} refused and asked again",
        crowd.seconds, crowd.refused
    );
    for (label, waits) in [("alone", &alone), ("beside it", &beside)] {
        println!(
            "polite {label:<9}  whole answer p50 {:>6.1} ms  p95 {:>6.1} ms  n={}",
            waits.percentile(50),
            waits.percentile(95),
            waits.0.len()
        );
    }
    println!("  ratio of p95 {:>20.2}", beside.percentile(95) / alone.percentile(95));
    Ok(())
}

async fn key(hone: &Hone, by: &str, scope: &str) -> Result<String> {
    let body = json!({"name": scope, "scopes": [scope]});
    let made = hone.http().post(hone.at("/v1/keys")).bearer_auth(by).json(&body);
    let made: Value = made.send().await?.error_for_status()?.json().await?;
    Ok(made["key"].as_str().context("no key")?.to_owned())
}

/// Milliseconds, ascending.
struct Waits(Vec<f64>);

impl Waits {
    fn percentile(&self, percent: usize) -> f64 {
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

/// Asks one question after the other until there were so many, or until `over`. None may be refused.
async fn politely(hone: &Hone, key: &str, most: usize, over: &AtomicBool) -> Result<Waits> {
    let rows = workload::rows("control_facts", "heldout")?;
    let mut waits = Vec::new();
    for row in rows.iter().cycle().take(most) {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        let (status, body) = ask(hone, key, &row["messages"]).await?;
        ensure!(status == 200, "the polite one is answered {status}: {body}");
        waits.push(begun.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(PAUSE).await;
    }
    ensure!(!waits.is_empty(), "no question was asked");
    waits.sort_by(f64::total_cmp);
    Ok(Waits(waits))
}

struct Crowd {
    seconds: f64,
    refused: usize,
}

/// Has all requests answered over all connections.
async fn greedily(hone: &Hone, key: &str) -> Result<Crowd> {
    let rows = workload::rows("control_facts", "heldout")?;
    let (next, refused, begun) = (AtomicUsize::new(0), AtomicUsize::new(0), Instant::now());
    let connection = async || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= REQUESTS {
                return Ok(());
            }
            loop {
                match ask(hone, key, &rows[number % rows.len()]["messages"]).await? {
                    (200, _) => break,
                    (429, _) => refused.fetch_add(1, Ordering::Relaxed),
                    (status, body) => anyhow::bail!("{status}: {body}"),
                };
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    };
    for ended in join_all((0..CONNECTIONS).map(|_| connection())).await {
        ended?;
    }
    Ok(Crowd { seconds: begun.elapsed().as_secs_f64(), refused: refused.into_inner() })
}

async fn ask(hone: &Hone, key: &str, messages: &Value) -> Result<(u16, String)> {
    let body = json!({"model": "hone", "messages": messages, "temperature": 0, "max_tokens": 96,
        "min_tokens": 48, "ignore_eos": true, "store": false});
    let request = hone.http().post(hone.at("/v1/chat/completions")).bearer_auth(key).json(&body);
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}
