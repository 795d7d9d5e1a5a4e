//! The audit trail: whoever changes it behind Hone's back is found.

use std::path::Path;

use hone_store::{Chain, Error, FollowedTrail, Order, Store, follow_trail};
use rusqlite::Connection;

use crate::fixture::{entry, open};

async fn trail_of(folder: &Path, rows: u64) -> Store {
    let store = open(folder);
    for row in 1..=rows {
        let mut entry = entry("thing.done", format!("thing-{row}"));
        entry.reason = "a \"quoted\"\nreason \u{1f980}".to_owned();
        entry.data = serde_json::json!({"level": 0.1 + 0.2, "small": 1e-7, "n": row});
        store.append_audit(entry).await.unwrap();
    }
    store
}

/// Does what only somebody with the file at hand can.
fn tamper(folder: &Path, sql: &str) {
    let connection = Connection::open(folder.join("hone.db")).unwrap();
    connection
        .execute_batch("DROP TRIGGER IF EXISTS audit_is_not_changed; DROP TRIGGER IF EXISTS audit_is_not_deleted;")
        .unwrap();
    connection.execute_batch(sql).unwrap();
}

fn follow(folder: &Path) -> Result<FollowedTrail, Error> {
    follow_trail(&folder.join("hone.db"), None)
}

#[tokio::test]
async fn rows_are_bound_to_each_other_and_read_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = trail_of(folder.path(), 5).await;
    let page = store.audit_page(None, 3, Order::Descending).await.unwrap();
    assert!(page.has_more);
    assert_eq!(page.items.iter().map(|row| row.sequence).collect::<Vec<_>>(), [5, 4, 3]);
    assert_eq!(page.items[0].previous, page.items[1].hash);
    let rest = store.audit_page(Some(3), 3, Order::Descending).await.unwrap();
    assert_eq!((rest.items.len(), rest.has_more), (2, false));
    assert_eq!(rest.items[1].previous, "0".repeat(64));

    // As an outsider does: row by row, in the form in which they are told.
    let all = store.audit_page(None, 9, Order::Ascending).await.unwrap().items;
    let mut chain = Chain::new(Some(&all[2].hash));
    for row in &all {
        let told: hone_api::audit::AuditView =
            serde_json::from_str(&serde_json::to_string(row).unwrap()).unwrap();
        chain.follow(&told).unwrap();
    }
    let (rows, head) = chain.end().unwrap();
    assert_eq!((rows, &head), (5, &all[4].hash));
    assert_eq!(follow(folder.path()).unwrap(), FollowedTrail { rows, head });
    let said = blake3::hash(format!("{}{}", all[0].hash, all[1].content).as_bytes());
    assert_eq!(said.to_hex().as_str(), all[1].hash);
    // A field that says something else than the text under the hash.
    let mut liar = all[0].clone();
    liar.actor = "nobody".to_owned();
    assert!(Chain::new(None).follow(&liar).is_err());
}

#[tokio::test]
async fn what_was_changed_is_named() {
    for (sql, at, says) in [
        ("UPDATE audit SET actor = 'nobody' WHERE sequence = 3", 3, "row 3"),
        ("UPDATE audit SET data = '{}' WHERE sequence = 1", 1, "row 1"),
        ("UPDATE audit SET data = 'no json' WHERE sequence = 5", 5, "row 5"),
        ("UPDATE audit SET hash = zeroblob(32) WHERE sequence = 2", 2, "row 2"),
        ("DELETE FROM audit WHERE sequence = 3", 3, "row 3 is missing"),
        ("DELETE FROM audit WHERE sequence IN (2, 3)", 2, "rows 2 to 3 are missing"),
        ("DELETE FROM audit WHERE sequence = 1", 1, "row 1 is missing"),
        (
            "DELETE FROM audit WHERE sequence = 2; UPDATE audit SET sequence = sequence - 1 WHERE sequence > 2",
            2,
            "row 2",
        ),
        ("DELETE FROM audit WHERE sequence > 3", 5, "its end was cut off"),
        ("DELETE FROM audit; DELETE FROM sqlite_sequence", 5, "its end was cut off"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        trail_of(folder.path(), 5).await.close().await;
        assert_eq!(follow(folder.path()).unwrap().rows, 5);
        tamper(folder.path(), sql);
        let error = follow(folder.path()).unwrap_err();
        assert!(
            matches!(&error, Error::BrokenChain { sequence, .. } if *sequence == at),
            "{sql}: {error}"
        );
        assert!(error.to_string().contains(says), "{sql}: {error}");
        // Going on does not hide it.
        let store = open(folder.path());
        store.append_audit(entry("thing.done", "later")).await.unwrap();
        store.close().await;
        follow(folder.path()).unwrap_err();
    }
}

#[tokio::test]
async fn a_head_that_was_noted_elsewhere_finds_what_nothing_here_tells() {
    let folder = tempfile::tempdir().unwrap();
    trail_of(folder.path(), 3).await.close().await;
    let path = folder.path().join("hone.db");
    let noted = follow(folder.path()).unwrap().head;
    trail_of(folder.path(), 2).await.close().await;
    assert_eq!(follow_trail(&path, Some(&noted.to_uppercase())).unwrap().rows, 5);
    // Somebody with the whole directory at hand cuts off the end, and the note of it.
    tamper(folder.path(), "DELETE FROM audit WHERE sequence > 2; DELETE FROM sqlite_sequence");
    std::fs::remove_file(folder.path().join("audit.head")).unwrap();
    follow(folder.path()).unwrap();
    let error = follow_trail(&path, Some(&noted)).unwrap_err();
    assert!(matches!(error, Error::HeadNotFound { rows: 2, .. }), "{error}");
}

#[tokio::test]
async fn a_note_that_lags_behind_or_is_missing_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let head = folder.path().join("audit.head");
    trail_of(folder.path(), 2).await.close().await;
    let old = std::fs::read_to_string(&head).unwrap();
    trail_of(folder.path(), 2).await.close().await;
    // As a kill between the commit and the note leaves it.
    std::fs::write(&head, &old).unwrap();
    assert_eq!(follow(folder.path()).unwrap().rows, 4);
    open(folder.path()).close().await;
    assert!(std::fs::read_to_string(&head).unwrap().starts_with("4 "), "it is caught up with");
    std::fs::remove_file(&head).unwrap();
    open(folder.path()).close().await;
    assert!(head.exists());
    std::fs::write(&head, "nonsense").unwrap();
    open(folder.path()).close().await;
    assert!(matches!(follow(folder.path()), Err(Error::AuditHead { .. })));
}
