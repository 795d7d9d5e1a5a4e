//! What is kept for how long.

use hone_api::UnixMillis;
use hone_api::cycle::{CycleEvent, CycleStatus, CycleView, Step, Trigger};
use hone_api::feedback::Signal;
use hone_store::{Expired, Expiry, InteractionFilter, Store};

use crate::fixture::{feedback, interaction, open};

async fn ids(store: &Store) -> Vec<hone_api::InteractionId> {
    let all = InteractionFilter { limit: 5000, ..InteractionFilter::default() };
    store.interactions(all).await.unwrap().items.iter().map(|it| it.id).collect()
}

#[tokio::test]
async fn old_answers_go_unless_somebody_said_something_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut kept = Vec::new();
    for at in 0..4 {
        let mut one = interaction();
        one.created_at = UnixMillis(at * 100);
        store.append_interaction(one.clone()).await.unwrap();
        kept.push(one.id);
    }
    let mut said = feedback(kept[0], Signal::Thumbs(false));
    said.feedback.created_at = UnixMillis(50);
    store.append_feedback(said).await.unwrap();

    assert_eq!(store.expire(Expiry::default()).await.unwrap(), Expired::default());
    let young = Expiry { interactions: Some(UnixMillis(201)), ..Expiry::default() };
    let gone = store.expire(young).await.unwrap();
    assert_eq!(gone, Expired { interactions: 2, ..Expired::default() });
    assert_eq!(ids(&store).await, [kept[0], kept[3]]);

    // With its feedback goes what kept it.
    let both = Expiry { feedback: Some(UnixMillis(51)), ..young };
    let gone = store.expire(both).await.unwrap();
    assert_eq!(gone, Expired { interactions: 1, feedback: 1, ..Expired::default() });
    assert_eq!(ids(&store).await, [kept[3]]);
}

#[tokio::test]
async fn a_log_that_is_too_large_loses_its_oldest_answers() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for _ in 0..1500 {
        let mut one = interaction();
        one.messages[1].content = "x".repeat(2000);
        store.append_interaction(one).await.unwrap();
    }
    let before = ids(&store).await;
    let most = Expiry { bytes: Some(3 << 20), ..Expiry::default() };
    let gone = store.expire(most).await.unwrap();
    let left = ids(&store).await;
    assert!(gone.interactions >= 500 && !left.is_empty() && !gone.too_large, "{gone:?}");
    assert_eq!(left, before[gone.interactions..], "the newest stay");

    for id in &left {
        store.append_feedback(feedback(*id, Signal::Thumbs(true))).await.unwrap();
    }
    let none = Expiry { bytes: Some(1), ..Expiry::default() };
    assert_eq!(
        store.expire(none).await.unwrap(),
        Expired { too_large: true, ..Expired::default() }
    );
    assert_eq!(ids(&store).await, left, "what somebody spoke of stays");
}

#[tokio::test]
async fn events_of_a_cycle_that_runs_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for status in [CycleStatus::Finished, CycleStatus::Running] {
        let cycle = CycleView { status, ..CycleView::queued(Trigger::Manual, UnixMillis(1)) };
        store.insert_cycle(cycle.clone()).await.unwrap();
        for at in [1, 9] {
            let event = CycleEvent {
                cycle_id: cycle.id,
                sequence: 0,
                at: UnixMillis(at),
                step: Step::Select,
                kind: "progress".to_owned(),
                message: String::new(),
                data: serde_json::json!({}),
            };
            store.append_event(event).await.unwrap();
        }
        let old = Expiry { events: Some(UnixMillis(5)), ..Expiry::default() };
        store.expire(old).await.unwrap();
        let left = store.events(cycle.id, 0).await.unwrap().len();
        assert_eq!(left, if status == CycleStatus::Finished { 1 } else { 2 });
    }
}
