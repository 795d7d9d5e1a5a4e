//! Acknowledged interactions per second, with many writers and with one: `cargo bench -p hone-store`.
//!
//! Each is on disk when it is acknowledged; group commit shares the cost of that between writers.
//! The database lies below the working directory, whose disk is the one measured.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // a report; a failure ends it

use std::time::{Duration, Instant};

use hone_store::Store;

#[path = "../tests/store/fixture.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod fixture;

const WRITERS: usize = 256;
const EACH: usize = 40;
const ALONE: usize = 200;

/// Appends `count` interactions one after the other; how long each took.
async fn append(store: Store, count: usize) -> Vec<Duration> {
    let mut delays = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        store.append_interaction(fixture::interaction()).await.unwrap();
        delays.push(begun.elapsed());
    }
    delays
}

async fn measure(store: &Store, writers: usize, each: usize) {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..writers {
        tasks.spawn(append(store.clone(), each));
    }
    let mut delays: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    let rate = delays.len() as f64 / start.elapsed().as_secs_f64();
    delays.sort_unstable();
    let (half, most) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
    println!("{writers:>4} writers  {rate:>7.0} /s  p50 {half:>8.1?}  p99 {most:>8.1?}");
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let store = fixture::open(folder.path());
    measure(&store, WRITERS, EACH).await;
    measure(&store, 1, ALONE).await;
    store.close().await;
}
