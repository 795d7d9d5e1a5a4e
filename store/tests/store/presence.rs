//! A database that somebody has taken away is noticed before anything is acknowledged.

use hone_api::feedback::Signal;
use hone_store::Error;

use crate::fixture::{entry, feedback, interaction, open};

#[tokio::test]
async fn what_is_not_there_takes_nothing_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let record = interaction();
    store.append_interaction(record.clone()).await.unwrap();
    store.check_presence().unwrap();
    for name in ["hone.db", "hone.db-wal", "hone.db-shm"] {
        let (file, away) = (folder.path().join(name), folder.path().join("away"));
        for replaced in [false, true] {
            std::fs::rename(&file, &away).unwrap();
            if replaced {
                std::fs::copy(&away, &file).unwrap();
            }
            let says = if replaced { "was replaced" } else { "was deleted" };
            let item = feedback(record.id, Signal::Thumbs(true));
            let refusals = [
                store.check_presence().unwrap_err(),
                store.append_feedback(item).await.unwrap_err(),
                store.append_audit(entry("thing.done", "it")).await.unwrap_err(),
            ];
            for error in refusals {
                assert!(matches!(error, Error::Gone { .. }), "{error}");
                let text = error.to_string();
                assert!(text.contains(name) && text.contains(says), "{text}");
                assert!(text.contains("hone restore"), "{text}");
            }
            std::fs::rename(&away, &file).unwrap();
            store.check_presence().unwrap();
            store.append_feedback(feedback(record.id, Signal::Thumbs(true))).await.unwrap();
        }
    }
    store.close().await;
    let store = open(folder.path());
    assert_eq!(store.feedback_for(record.id).await.unwrap().len(), 6);
    assert_eq!(store.audit(9).await.unwrap().len(), 0);
}
