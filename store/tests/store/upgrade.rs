//! A database that an earlier version filled is opened, and nothing of it is lost.

use hone_api::interaction::Interaction;

use crate::fixture::{interaction, open};

/// For each version what the one after it added: tables and columns.
const ADDED: [(u32, &[(&str, &str)]); 4] = [
    (8, &[("interactions", "cached_tokens")]),
    (7, &[("interactions", "response")]),
    (
        6,
        &[
            ("interactions", "adapter_digest"),
            ("interactions", "grammar"),
            ("interactions", "computed_by"),
        ],
    ),
    (5, &[("interactions", "tools"), ("answers", "tool_calls")]),
];

/// What is left of an interaction that a version could keep.
fn as_of(version: u32, mut whole: Interaction) -> Interaction {
    whole.cached_tokens = 0;
    if version < 8 {
        whole.response = None;
    }
    if version < 7 {
        (whole.adapter_digest, whole.grammar, whole.computed_by) = (None, None, None);
    }
    if version < 6 {
        whole.tools.clear();
        whole.answers.iter_mut().for_each(|answer| answer.tool_calls.clear());
    }
    whole
}

#[tokio::test]
async fn what_an_earlier_version_wrote_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let whole = interaction();
    let store = open(folder.path());
    store.append_interaction(whole.clone()).await.unwrap();
    store.close().await;
    for (at, (version, _)) in ADDED.iter().enumerate() {
        let file = rusqlite::Connection::open(folder.path().join("hone.db")).unwrap();
        for (table, column) in ADDED[..=at].iter().flat_map(|(_, columns)| *columns) {
            file.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN {column}")).unwrap();
        }
        file.pragma_update(None, "user_version", version).unwrap();
        file.close().unwrap();

        let store = open(folder.path());
        let read = store.interaction(whole.id).await.unwrap();
        assert_eq!(read, Some(as_of(*version, whole.clone())), "version {version}");
        // What comes now is kept whole.
        let new = interaction();
        store.append_interaction(new.clone()).await.unwrap();
        assert_eq!(store.interaction(new.id).await.unwrap(), Some(new));
        store.close().await;
    }
}
