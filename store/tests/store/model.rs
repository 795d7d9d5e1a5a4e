//! The rules of feedback against a model of a few maps, and many writers at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hone_api::feedback::Signal;
use hone_api::{FeedbackId, InteractionId};
use hone_store::{Appended, Error, InteractionFilter, NewFeedback, PendingAnswer, Store};
use proptest::prelude::*;
use uuid::Uuid;

use crate::fixture::{erase, feedback, interaction, open};

#[derive(Debug, Clone)]
enum Op {
    Register(u8),
    EndPending(u8),
    Append(u8),
    Delete(u8),
    Say { id: u8, source: Option<u8>, key: Option<u8>, body: u8 },
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let id = 0..4_u8;
    prop_oneof![
        2 => id.clone().prop_map(Op::Register),
        2 => id.clone().prop_map(Op::EndPending),
        3 => id.clone().prop_map(Op::Append),
        1 => id.clone().prop_map(Op::Delete),
        8 => (id, prop::option::of(0..2_u8), prop::option::of(0..3_u8), 0..2_u8)
            .prop_map(|(id, source, key, body)| Op::Say { id, source, key, body }),
        1 => Just(Op::Reopen),
    ]
}

/// Who said what under which key: source, key → item, what it spoke of, what it said.
type Keys = HashMap<(Option<u8>, u8), (FeedbackId, u8, u8)>;

#[derive(Default)]
struct Model {
    pending: HashMap<u8, Vec<PendingAnswer>>,
    stored: BTreeSet<u8>,
    feedback: BTreeMap<u8, Vec<FeedbackId>>,
    keys: Keys,
}

fn id_of(number: u8) -> InteractionId {
    InteractionId::from_uuid(Uuid::from_u128(0x7000_8000_0000_0000_0000 + u128::from(number)))
}

async fn play(ops: Vec<Op>) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let mut model = Model::default();
    for op in ops {
        match op {
            Op::Register(number) => {
                let guard = store.register_pending(id_of(number), true);
                model.pending.entry(number).or_default().push(guard);
            }
            Op::EndPending(number) => {
                model.pending.entry(number).or_default().pop();
            }
            Op::Append(number) => {
                let mut record = interaction();
                record.id = id_of(number);
                let outcome = store.append_interaction(record).await;
                assert_eq!(outcome.is_ok(), model.stored.insert(number));
            }
            Op::Delete(number) => {
                let begun = erase(&store, id_of(number)).await;
                let was_stored = model.stored.remove(&number);
                let gone = model.feedback.remove(&number).unwrap_or_default();
                let counts = begun.map_or((0, 0), |it| (it.interactions, it.feedback));
                assert_eq!(counts, (u32::from(was_stored), gone.len() as u32));
                model.keys.retain(|_, (id, ..)| !gone.contains(id));
            }
            Op::Say { id, source, key, body } => {
                say(&store, &mut model, id, source, key, body).await
            }
            Op::Reopen => {
                store.close().await;
                model.pending.clear();
                store = open(folder.path());
            }
        }
        for number in 0..4 {
            let found = store.feedback_for(id_of(number)).await.unwrap();
            let mut expected = model.feedback.get(&number).cloned().unwrap_or_default();
            expected.sort_unstable();
            assert_eq!(found.iter().map(|it| it.id).collect::<Vec<_>>(), expected);
        }
    }
}

async fn say(
    store: &Store,
    model: &mut Model,
    number: u8,
    source: Option<u8>,
    key: Option<u8>,
    body: u8,
) {
    let mut new: NewFeedback = feedback(id_of(number), Signal::Thumbs(body == 0));
    new.feedback.source = source.map(|it| it.to_string());
    new.idempotency_key = key.map(|it| it.to_string());
    let fresh = new.feedback.id;
    let outcome = store.append_feedback(new).await;
    let known = key.and_then(|key| model.keys.get(&(source, key)).copied());
    let open = model.pending.get(&number).is_some_and(|guards| !guards.is_empty());
    match known {
        Some((id, of, said)) if (of, said) == (number, body) => {
            assert_eq!(outcome.unwrap(), Appended { id, duplicate: true });
        }
        Some(_) => assert!(matches!(outcome, Err(Error::IdempotencyMismatch { .. }))),
        None if open || model.stored.contains(&number) => {
            assert_eq!(outcome.unwrap(), Appended { id: fresh, duplicate: false });
            model.feedback.entry(number).or_default().push(fresh);
            if let Some(key) = key {
                model.keys.insert((source, key), (fresh, number, body));
            }
        }
        None => assert!(matches!(outcome, Err(Error::UnknownInteraction(_)))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn feedback_follows_the_rules(ops in prop::collection::vec(op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(play(ops));
    }
}

/// Feedback races with the end of the answer it speaks of: it must never be turned away.
#[tokio::test(flavor = "multi_thread")]
async fn feedback_during_and_right_after_an_answer_always_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let rounds = (0..200).map(|_| {
        let store = store.clone();
        async move {
            let record = interaction();
            let id = record.id;
            let guard = store.register_pending(id, true);
            let finish = async {
                store.append_interaction(record).await.unwrap();
                drop(guard);
            };
            let speak = async {
                for _ in 0..5 {
                    store.append_feedback(feedback(id, Signal::Thumbs(true))).await.unwrap();
                }
            };
            tokio::join!(finish, speak);
        }
    });
    futures_join(rounds).await;
    assert_eq!(store.counts().await.unwrap().feedback["thumbs"], 1000);
}

/// Runs them all at once, each as a task.
async fn futures_join<F>(futures: impl Iterator<Item = F>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for future in futures {
        tasks.spawn(future);
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hundred_writers_were_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let acknowledged = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let writers = (0..100).map(|_| {
        let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
        async move {
            for _ in 0..10 {
                let record = interaction();
                let id = record.id;
                // Some writers meet the closing store.
                if store.append_interaction(record).await.is_ok() {
                    acknowledged.lock().unwrap().insert(id);
                }
            }
        }
    });
    let closing = async {
        while acknowledged.lock().unwrap().len() < 300 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        store.close().await;
    };
    tokio::join!(futures_join(writers), closing);
    let store = open(folder.path());
    let filter = InteractionFilter { limit: 2000, ..InteractionFilter::default() };
    let found = store.interactions(filter).await.unwrap();
    let found: BTreeSet<_> = found.items.iter().map(|it| it.id).collect();
    // Closing drains: what was not acknowledged was not written either.
    assert_eq!(found, *acknowledged.lock().unwrap());
    assert!(found.len() >= 300);
}
