//! A writer is killed in the middle of its work: everything that it was told is on disk must be.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use hone_api::InteractionId;
use hone_store::{InteractionFilter, follow_trail};

use crate::fixture::{entry, interaction, open};

const FOLDER: &str = "HONE_STORE_KILL_TEST";

/// Not a test of its own: the process that gets killed. Prints each acknowledged id.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child of `acknowledged_rows_survive_kill_9`"]
async fn the_writer_that_gets_killed() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let store = open(&folder);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let store = store.clone();
        tasks.spawn(async move {
            loop {
                let record = interaction();
                let id = record.id;
                store.append_interaction(record).await.unwrap();
                // One write call per line, so that the kill cannot cut a line in two.
                std::io::stdout()
                    .lock()
                    .write_all(format!("acknowledged {id}\n").as_bytes())
                    .unwrap();
            }
        });
    }
    tasks.spawn({
        let store = store.clone();
        async move {
            loop {
                store.append_audit(entry("something.done", "it")).await.unwrap();
            }
        }
    });
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn acknowledged_rows_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeSet<InteractionId> = BTreeSet::new();
    for round in 0..4_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "kill::the_writer_that_gets_killed", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok).filter_map(|line| {
            line.split_once("acknowledged ").and_then(|(_, id)| id.parse::<InteractionId>().ok())
        });
        acknowledged.extend(lines.by_ref().take(20));
        std::thread::sleep(Duration::from_millis(30 + 37 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines);

        let store = open(folder.path());
        store.check_integrity().await.unwrap();
        let trail = follow_trail(&folder.path().join("hone.db"), None).unwrap();
        assert!(trail.rows > 0);
        let filter = InteractionFilter { limit: usize::MAX, ..InteractionFilter::default() };
        let page = store.interactions(filter).await.unwrap();
        let found: BTreeSet<_> = page.items.iter().map(|it| it.id).collect();
        assert!(acknowledged.is_subset(&found), "{:?}", acknowledged.difference(&found));
        assert!(page.items.iter().all(|it| it.answers.len() == 2), "an answer was torn off");
        store.close().await;
    }
    assert!(acknowledged.len() >= 80);
}
