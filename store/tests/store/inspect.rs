//! A database beside its daemon: copied while it is written to, and checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hone_store::{Error, Store, copy, follow_trail, inspect};

use crate::fixture::{entry, interaction, open};

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_one_instant_of_a_database_that_is_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (database, to) = (folder.path().join("hone.db"), folder.path().join("copy/hone.db"));
    std::fs::create_dir(folder.path().join("copy")).unwrap();
    let first = interaction();
    store.append_interaction(first.clone()).await.unwrap();
    store.append_audit(entry("thing.done", 0)).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            let mut rows = 1;
            while !stop.load(Ordering::Relaxed) {
                store.append_interaction(interaction()).await.unwrap();
                store.append_audit(entry("thing.done", rows)).await.unwrap();
                rows += 1;
            }
            rows
        }
    });
    copy(&database, &to).unwrap();
    stop.store(true, Ordering::Relaxed);
    let written = tasks.join_next().await.unwrap().unwrap();
    inspect(&to).unwrap();
    let trail = follow_trail(&to, None).unwrap();
    assert!((1..=written).contains(&trail.rows), "{trail:?}");
    assert!(follow_trail(&database, Some(&trail.head)).unwrap().rows >= trail.rows);
    let copied = Store::open(&to).unwrap();
    assert_eq!(copied.interaction(first.id).await.unwrap(), Some(first));
    let counts = copied.counts().await.unwrap().interactions;
    assert!(counts == trail.rows || counts == trail.rows + 1, "one instant: {counts} {trail:?}");
    assert!(copy(&database, &to).is_err(), "nothing is overwritten");
}

#[tokio::test]
async fn damage_and_a_newer_version_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("hone.db");
    let store = open(folder.path());
    for _ in 0..200 {
        store.append_interaction(interaction()).await.unwrap();
    }
    store.close().await;
    inspect(&database).unwrap();
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    drop(connection);
    assert!(matches!(inspect(&database), Err(Error::Newer { .. })));
    let mut bytes = std::fs::read(&database).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 9000].fill(0x55);
    std::fs::write(&database, &bytes).unwrap();
    for error in [inspect(&database).unwrap_err(), Store::open(&database).unwrap_err()] {
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("hone restore"), "{error}");
    }
}
