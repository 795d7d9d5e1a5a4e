//! What goes in comes out, also after a restart; what is deleted is gone.

use std::collections::BTreeMap;

use hone_api::chat::FinishReason;
use hone_api::cycle::{CycleEvent, CycleStatus, CycleView, Step, Trigger, Verdict};
use hone_api::feedback::Signal;
use hone_api::interaction::{Endpoint, Interaction};
use hone_api::{AdapterId, CycleId, InteractionId, UnixMillis};
use hone_store::{AuditEntry, Error, GateTest, Order, Store};
use serde_json::json;

use crate::fixture::{entry, erase, feedback, interaction, open};

#[tokio::test]
async fn interactions_and_feedback_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let full = interaction();
    let mut bare = interaction();
    bare.endpoint = Endpoint::Completion;
    (bare.adapter_id, bare.key_id, bare.user, bare.source) = (None, None, None, None);
    bare.messages.clear();
    bare.prompt_tokens.clear();
    (bare.stored, bare.trainable) = (false, false);
    for record in [&full, &bare] {
        store.append_interaction(record.clone()).await.unwrap();
    }
    let items: Vec<_> = [
        Signal::Thumbs(false),
        Signal::Score(0.1),
        Signal::Demonstration("so \"ist\" es\n".to_owned()),
        Signal::Comment(String::new()),
        Signal::Discard,
    ]
    .map(|signal| feedback(full.id, signal))
    .to_vec();
    for item in &items {
        let appended = store.append_feedback(item.clone()).await.unwrap();
        assert_eq!((appended.id, appended.duplicate), (item.feedback.id, false));
    }
    // With a reader open, and one at work.
    let (read, ()) = tokio::join!(store.labelled(), store.close());
    assert_eq!(read.unwrap().len(), 1);
    let names = std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["hone.db"], "the log is folded in and gone");

    let store = open(folder.path());
    assert_eq!(store.interaction(full.id).await.unwrap(), Some(full.clone()));
    assert_eq!(store.interaction(bare.id).await.unwrap(), Some(bare.clone()));
    assert_eq!(store.interaction(InteractionId::new()).await.unwrap(), None);
    let expected: Vec<_> = items.iter().map(|item| item.feedback.clone()).collect();
    assert_eq!(store.feedback_for(full.id).await.unwrap(), expected);
    assert_eq!(store.feedback(None, 10, Order::Ascending).await.unwrap().items, expected);
    let page = store.feedback(Some(expected[1].id), 1, Order::Ascending).await.unwrap();
    assert_eq!((page.items, page.has_more), (vec![expected[2].clone()], true));
    let page = store.feedback(Some(expected[2].id), 1, Order::Descending).await.unwrap();
    assert_eq!((page.items, page.has_more), (vec![expected[1].clone()], true));
    let counts = store.counts().await.unwrap();
    assert_eq!(counts.interactions, 2);
    assert_eq!(counts.feedback["demonstration"], 1);
    assert_eq!(counts.feedback.values().sum::<u64>(), 5);
    store.check_integrity().await.unwrap();
}

#[tokio::test]
async fn an_item_whose_key_is_its_id_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let record = interaction();
    store.append_interaction(record.clone()).await.unwrap();
    // It came without a key, or with another one, and comes back from an export.
    let mut first = feedback(record.id, Signal::Thumbs(true));
    first.idempotency_key = Some("k".to_owned());
    store.append_feedback(first.clone()).await.unwrap();
    let mut again = first.clone();
    again.idempotency_key = Some(first.feedback.id.to_string());
    let appended = store.append_feedback(again.clone()).await.unwrap();
    assert_eq!((appended.id, appended.duplicate), (first.feedback.id, true));
    again.feedback.signal = Signal::Thumbs(false);
    let other = store.append_feedback(again).await;
    assert!(matches!(other, Err(Error::IdempotencyMismatch { .. })));
    assert_eq!(store.counts().await.unwrap().feedback["thumbs"], 1);
}

#[tokio::test]
async fn labelled_rows_and_failures_are_those_that_may_teach() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let records: Vec<_> = (0..4).map(|_| interaction()).collect();
    for (number, record) in records.iter().enumerate() {
        let mut record = record.clone();
        record.trainable = number != 3;
        store.append_interaction(record).await.unwrap();
    }
    let say = |number: usize, signal: Signal, at: i64| {
        let mut item = feedback(records[number].id, signal);
        item.feedback.created_at = UnixMillis(at);
        store.append_feedback(item)
    };
    say(1, Signal::Thumbs(false), 10).await.unwrap();
    say(1, Signal::Demonstration("x".to_owned()), 20).await.unwrap();
    say(0, Signal::Score(0.9), 20).await.unwrap();
    say(3, Signal::Thumbs(false), 20).await.unwrap();

    let labelled = store.labelled().await.unwrap();
    let ids: Vec<_> = labelled.iter().map(|(record, items)| (record.id, items.len())).collect();
    assert_eq!(ids, [(records[0].id, 1), (records[1].id, 2)]);
    assert_eq!(store.failures_since(UnixMillis(0)).await.unwrap(), 1);
    assert_eq!(store.failures_since(UnixMillis(10)).await.unwrap(), 1);
    assert_eq!(store.failures_since(UnixMillis(20)).await.unwrap(), 0);
    say(0, Signal::Thumbs(false), 30).await.unwrap();
    assert_eq!(store.failures_since(UnixMillis(0)).await.unwrap(), 2);
    assert_eq!(store.failures_since_up_to(UnixMillis(0), 1).await.unwrap(), 1);
    say(0, Signal::Demonstration("y".to_owned()), 40).await.unwrap();
    say(3, Signal::Demonstration("z".to_owned()), 40).await.unwrap();
    let corrected =
        async |since, most| store.corrected_since_up_to(UnixMillis(since), most).await.unwrap();
    assert_eq!(corrected(0, 9).await, 2, "one of them may not teach");
    assert_eq!(corrected(0, 1).await, 1);
    assert_eq!((corrected(20, 9).await, corrected(40, 9).await), (1, 0));
}

#[tokio::test]
async fn unrated_chats_are_whole_alone_and_the_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let one = |change: fn(&mut Interaction)| {
        let mut record = interaction();
        record.answers.truncate(1);
        let tools = std::mem::take(&mut record.tools);
        change(&mut record);
        if record.model == "with tools" {
            record.tools = tools;
        }
        record
    };
    let good = [one(|_| ()), one(|_| ()), one(|_| ())];
    let bad = [
        one(|it| it.trainable = false),
        one(|it| it.endpoint = Endpoint::Completion),
        one(|it| it.answers.push(it.answers[0].clone())),
        one(|it| it.answers[0].text = None),
        one(|it| it.answers[0].finish_reason = FinishReason::Length),
        one(|it| it.answers.clear()),
        one(|it| it.model = "with tools".to_owned()),
    ];
    for record in good.iter().chain(&bad) {
        store.append_interaction(record.clone()).await.unwrap();
    }
    store.append_feedback(feedback(good[1].id, Signal::Comment("hm".into()))).await.unwrap();
    assert_eq!(store.unrated(9).await.unwrap(), [good[2].clone(), good[0].clone()]);
    assert_eq!(store.unrated(1).await.unwrap(), [good[2].clone()]);
}

#[tokio::test]
async fn a_test_of_the_gate_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let test = |at: i64| GateTest {
        cycle_id: CycleId::new(),
        at: UnixMillis(at),
        alpha: 0.025,
        p: 0.5,
        promoted: false,
    };
    let (late, early) = (test(20), test(10));
    for one in [late, early, late] {
        store.record_gate_test(one).await.unwrap();
    }
    let again = GateTest { p: 0.001, promoted: true, ..early };
    store.record_gate_test(again).await.unwrap();
    store.close().await;
    assert_eq!(open(folder.path()).gate_tests().await.unwrap(), [again, late]);
}

#[tokio::test]
async fn an_id_is_given_once_and_unknown_ids_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let record = interaction();
    store.append_interaction(record.clone()).await.unwrap();
    let again = store.append_interaction(record.clone()).await;
    assert!(matches!(again, Err(Error::Duplicate(id)) if id == record.id.to_string()));
    let item = feedback(record.id, Signal::Thumbs(true));
    store.append_feedback(item.clone()).await.unwrap();
    assert!(matches!(store.append_feedback(item).await, Err(Error::Duplicate(_))));

    let unknown = InteractionId::new();
    let error = store.append_feedback(feedback(unknown, Signal::Thumbs(true))).await.unwrap_err();
    assert!(error.to_string().contains(&unknown.to_string()), "{error}");
    let error = store.set_metadata(unknown, BTreeMap::new(), entry("changed", unknown)).await;
    assert!(matches!(error, Err(Error::UnknownInteraction(_))));
    assert_eq!(erase(&store, unknown).await, None);
}

#[tokio::test]
async fn an_answer_that_could_not_be_stored_is_not_called_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let record = interaction();
    let id = record.id;
    rusqlite::Connection::open(folder.path().join("hone.db"))
        .unwrap()
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON interactions
             BEGIN SELECT RAISE(ABORT, 'as a full disk would'); END",
        )
        .unwrap();
    let pending = store.register_pending(id, true);
    assert!(store.append_interaction(record).await.is_err());
    drop(pending);
    let error = store.append_feedback(feedback(id, Signal::Thumbs(true))).await.unwrap_err();
    assert!(matches!(error, Error::Lost(lost) if lost == id), "{error}");
}

#[tokio::test]
async fn metadata_can_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut record = interaction();
    store.append_interaction(record.clone()).await.unwrap();
    record.metadata = BTreeMap::from([("topic".to_owned(), "rugs".to_owned())]);
    for _ in 0..2 {
        let told = entry("interaction.metadata_changed", record.id);
        store.set_metadata(record.id, record.metadata.clone(), told).await.unwrap();
    }
    assert_eq!(store.audit(9).await.unwrap().len(), 1, "the second time changed nothing");
    assert_eq!(store.interaction(record.id).await.unwrap(), Some(record));
}

#[tokio::test]
async fn a_deleted_interaction_leaves_no_byte_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let secrets = ["the code of Ann is 4931", "the code of Bob is 7720"];
    let mut record = interaction();
    record.messages[1].content = secrets[0].to_owned();
    let kept = interaction();
    for it in [&record, &kept] {
        store.append_interaction(it.clone()).await.unwrap();
        let fix = Signal::Demonstration(secrets[1].to_owned());
        if it.id == record.id {
            store.append_feedback(feedback(it.id, fix)).await.unwrap();
        }
    }
    let bytes = || -> Vec<u8> {
        let files = std::fs::read_dir(folder.path()).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    };
    let holds =
        |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|it| it == text.as_bytes());
    assert!(secrets.iter().all(|secret| holds(&bytes(), secret)));

    let begun = erase(&store, record.id).await.unwrap();
    assert_eq!((begun.interactions, begun.feedback), (1, 1));
    assert_eq!(store.interaction(record.id).await.unwrap(), None);
    assert_eq!(store.feedback_for(record.id).await.unwrap(), []);
    assert_eq!(store.interaction(kept.id).await.unwrap(), Some(kept));
    assert!(!secrets.iter().any(|secret| holds(&bytes(), secret)));
}

fn cycle() -> CycleView {
    CycleView::queued(Trigger::Failures, UnixMillis(1))
}

#[tokio::test]
async fn cycles_and_their_events_go_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut cycles: Vec<_> = (0..3).map(|_| cycle()).collect();
    for it in &cycles {
        store.insert_cycle(it.clone()).await.unwrap();
    }
    assert!(matches!(store.insert_cycle(cycles[0].clone()).await, Err(Error::Duplicate(_))));
    // Who asked for a cycle is noted with it, or not at all.
    let asked = || AuditEntry::now("ann".to_owned(), "cycle.asked_for", cycles[0].id, "by hand");
    let twice = store.insert_asked_cycle(cycles[0].clone(), asked()).await;
    assert!(matches!(twice, Err(Error::Duplicate(_))));
    assert!(store.audit(1).await.unwrap().is_empty());
    assert!(matches!(store.update_cycle(cycle()).await, Err(Error::UnknownCycle(_))));
    cycles[0] = CycleView {
        status: CycleStatus::Finished,
        step: Step::Promote,
        verdict: Some(Verdict::Promoted),
        reason: Some("better".to_owned()),
        snapshot: Some("5e".to_owned()),
        candidate: Some(AdapterId::new()),
        champion: Some(AdapterId::new()),
        outcomes: BTreeMap::from([(Step::Select, json!({"rows": 3})), (Step::Train, json!(null))]),
        finished_at: Some(UnixMillis(9)),
        ..cycles[0].clone()
    };
    cycles[1].status = CycleStatus::Running;
    for it in &cycles {
        store.update_cycle(it.clone()).await.unwrap();
    }
    let event = |message: &str| CycleEvent {
        cycle_id: cycles[1].id,
        sequence: 77,
        at: UnixMillis(2),
        step: Step::Train,
        kind: "progress".to_owned(),
        message: message.to_owned(),
        data: json!({"loss": 0.25}),
    };
    assert_eq!(store.append_event(event("one")).await.unwrap().sequence, 1);
    store.close().await;

    let store = open(folder.path());
    let second = store.append_event(event("two")).await.unwrap();
    assert_eq!(second, CycleEvent { sequence: 2, ..event("two") });
    let all = store.events(cycles[1].id, 0).await.unwrap();
    assert_eq!(all.iter().map(|it| it.message.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(store.events(cycles[1].id, 1).await.unwrap(), [second]);
    assert_eq!(store.events(cycles[0].id, 0).await.unwrap(), []);
    let stray = CycleEvent { cycle_id: CycleId::new(), ..event("x") };
    assert!(matches!(store.append_event(stray).await, Err(Error::UnknownCycle(_))));

    assert_eq!(store.cycle(cycles[0].id).await.unwrap(), Some(cycles[0].clone()));
    assert_eq!(store.cycle(CycleId::new()).await.unwrap(), None);
    assert_eq!(store.unfinished_cycles().await.unwrap(), cycles[1..]);
    let newest = store.cycles(None, 2, Order::Descending).await.unwrap();
    assert_eq!(
        (newest.items.as_slice(), newest.has_more),
        (&[cycles[2].clone(), cycles[1].clone()][..], true)
    );
    let rest = store.cycles(Some(cycles[1].id), 2, Order::Descending).await.unwrap();
    assert_eq!((rest.items.as_slice(), rest.has_more), (&cycles[..1], false));
    let oldest = store.cycles(Some(cycles[0].id), 1, Order::Ascending).await.unwrap();
    assert_eq!((oldest.items.as_slice(), oldest.has_more), (&cycles[1..2], true));
}

#[tokio::test]
async fn a_cycle_ends_with_its_last_event_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut ended = cycle();
    store.insert_cycle(ended.clone()).await.unwrap();
    ended.status = CycleStatus::Finished;
    let last = |cycle_id| CycleEvent {
        cycle_id,
        sequence: 0,
        at: UnixMillis(2),
        step: Step::Select,
        kind: "finished".to_owned(),
        message: String::new(),
        data: json!({}),
    };
    let stray =
        store.end_cycle(ended.clone(), last(CycleId::new()), entry("cycle.failed", ended.id)).await;
    assert!(matches!(stray, Err(Error::UnknownCycle(_))));
    assert_eq!(store.cycle(ended.id).await.unwrap().unwrap().status, CycleStatus::Queued);
    assert_eq!(
        store
            .end_cycle(ended.clone(), last(ended.id), entry("cycle.failed", ended.id))
            .await
            .unwrap()
            .sequence,
        1
    );
    assert_eq!(store.audit(9).await.unwrap().len(), 1);
    assert_eq!(store.cycle(ended.id).await.unwrap(), Some(ended));
}

#[tokio::test]
async fn what_is_said_of_an_answer_without_text_is_kept_without_text() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut bare = interaction();
    bare.messages.clear();
    bare.prompt_tokens.clear();
    let say = |text: &str| feedback(bare.id, Signal::Demonstration(text.to_owned()));
    let answering = store.register_pending(bare.id, false);
    store.append_feedback(say("early")).await.unwrap();
    store.append_interaction(bare.clone()).await.unwrap();
    drop(answering);
    store.append_feedback(say("late")).await.unwrap();
    let kept = store.feedback_for(bare.id).await.unwrap();
    let empty = Signal::Demonstration(String::new());
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|item| item.signal == empty && item.tags["family"] == "f"));
}

#[tokio::test]
async fn the_audit_trail_cannot_be_altered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let entry = |subject: &str| AuditEntry {
        at: UnixMillis(3),
        actor: "daemon".to_owned(),
        action: "adapter.promoted".to_owned(),
        subject: subject.to_owned(),
        reason: "gain of 40 points".to_owned(),
        data: json!({"epoch": 2}),
    };
    for subject in ["one", "two", "three"] {
        store.append_audit(entry(subject)).await.unwrap();
    }
    assert_eq!(store.audit(2).await.unwrap(), [entry("three"), entry("two")]);
    store.close().await;
    let raw = rusqlite::Connection::open(folder.path().join("hone.db")).unwrap();
    for sql in ["UPDATE audit SET reason = ''", "DELETE FROM audit"] {
        assert!(raw.execute(sql, []).unwrap_err().to_string().contains("append only"));
    }
}

#[tokio::test]
async fn damage_in_the_file_is_reported_as_damage() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let ids: Vec<_> = (0..200).map(|_| interaction()).collect();
    for record in &ids {
        store.append_interaction(record.clone()).await.unwrap();
    }
    store.close().await;
    let path = folder.path().join("hone.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[4096 * 3..half].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let broken = match Store::open(&path) {
        Err(error) => error,
        Ok(store) => store.check_integrity().await.unwrap_err(),
    };
    assert!(matches!(broken, Error::Corrupt { .. }), "{broken}");
    assert!(broken.to_string().contains("backup"), "{broken}");
}

#[tokio::test]
async fn after_close_calls_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.close().await;
    store.close().await;
    assert!(matches!(store.append_interaction(interaction()).await, Err(Error::Closed)));
    assert!(matches!(store.labelled().await, Err(Error::Closed)));
}
