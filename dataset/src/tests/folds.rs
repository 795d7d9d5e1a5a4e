//! Folds, older lessons, rehearsal and the rows of a run.

use serde_json::Value;

use super::*;
use crate::mix::{keeping, repeats};

/// Words that no other topic has.
fn topic(number: u32) -> String {
    let word = |mut at: u32| {
        let mut word = String::new();
        for _ in 0..4 {
            word.push(char::from(b'a' + (at % 26) as u8));
            at /= 26;
        }
        word
    };
    (0..12).map(|it| word(number * 12 + it)).collect::<Vec<_>>().join(" ")
}

fn lesson(number: u32) -> Labelled {
    ask(number, &topic(number)).say("a", fix(&format!("right {number}")))
}

fn lessons(count: u32) -> Vec<Labelled> {
    (0..count).map(lesson).collect()
}

fn with_learned(labelled: &[Labelled], learned: &BTreeSet<String>) -> Snapshot {
    let rehearsal = RehearsalSources { unrated: &[], shipped: &[] };
    let inputs = Inputs { labelled, rehearsal, learned, known: &Nothing };
    curate(&roomy(), inputs).unwrap().seal(Vec::new()).unwrap()
}

/// The rows of a run, as the trainer reads them.
fn mixed(snapshot: &Snapshot, mix: Mix) -> Vec<Value> {
    snapshot.mix(mix).iter().map(|row| serde_json::to_value(row).unwrap()).collect()
}

fn question(row: &Value) -> &str {
    row["messages"][0]["content"].as_str().unwrap()
}

fn of_kind<'a>(rows: &'a [Value], kind: &str) -> Vec<&'a str> {
    rows.iter().filter(|row| row["kind"] == kind).map(question).collect()
}

#[test]
fn each_of_few_lessons_is_judged_and_similar_ones_together() {
    let mut rows = lessons(10);
    rows.extend((0..10).map(|it| {
        let prompt = format!("{} today", topic(it));
        ask(100 + it, &prompt).say("a", fix(&format!("today {it}")))
    }));
    let snapshot = build(&Policy::plain(), &rows);
    assert_eq!((snapshot.manifest.judged, snapshot.manifest.folds), (20, 2));
    for it in 0..10 {
        let (one, other) = (&snapshot.examples[it], &snapshot.examples[it + 10]);
        assert_eq!((one.cluster, one.fold), (other.cluster, other.fold));
    }
    assert_no_leak(&snapshot, &Policy::plain());
}

#[test]
fn too_few_lessons_are_not_judged() {
    let manifest = build(&Policy::plain(), &lessons(5)).manifest;
    assert_eq!((manifest.new, manifest.judged, manifest.folds), (5, 0, 0));
}

#[test]
fn older_lessons_are_not_judged_unless_their_answer_changed() {
    let first = build(&roomy(), &lessons(10));
    let learned: BTreeSet<String> = first.examples.iter().map(Example::lesson).collect();
    let mut rows = lessons(20);
    rows[3] = ask(3, &topic(3)).say("a", fix("another answer"));
    let second = with_learned(&rows, &learned);
    let new: Vec<bool> = second.examples.iter().map(|it| !it.older).collect();
    let expected: Vec<bool> = (0..20).map(|it| it == 3 || it >= 10).collect();
    assert_eq!(new, expected);
    assert!(second.examples.iter().all(|it| it.fold.is_some() != it.older));
    assert_eq!((second.manifest.new, second.manifest.judged), (11, 11));
}

#[test]
fn a_lesson_is_its_question_and_answer() {
    let lesson = |row: Labelled| build(&roomy(), &[row]).examples[0].lesson();
    let q = |number| ask(number, "Where is it?");
    let one = lesson(q(1).say("a", fix("In Oslo.")));
    assert_eq!(one, lesson(q(2).say("b", fix("in  oslo."))));
    assert_ne!(one, lesson(q(1).say("a", fix("In Rome."))));
    assert_ne!(one, lesson(ask(1, "Where is he?").say("a", fix("In Oslo."))));
}

#[test]
fn a_run_leaves_a_fold_out_with_all_that_is_like_it() {
    let mut rows = lessons(12);
    let older = ask(50, &format!("{} today", topic(1))).say("a", fix("older"));
    let learned =
        BTreeSet::from([build(&roomy(), std::slice::from_ref(&older)).examples[0].lesson()]);
    rows.push(older);
    rows.push(ask(51, &format!("{} soon", topic(1))).say("a", good()));
    rows.push(ask(52, &topic(60)).say("a", good()));
    let snapshot = with_learned(&rows, &learned);
    let all = mixed(&snapshot, Mix::default());
    let asked = |it: &&Example| it.kind == Kind::Supervised;
    assert_eq!(snapshot.examples.iter().filter(asked).count(), 13);
    for example in snapshot.examples.iter().filter(asked) {
        assert!(of_kind(&all, "supervised").contains(&example.prompt()[0].content.as_str()));
    }
    assert_eq!(of_kind(&all, "replay").len(), 2);

    let fold = snapshot.examples[1].fold;
    let without = mixed(&snapshot, Mix { without_fold: fold, ..Mix::default() });
    for example in snapshot.examples.iter().filter(|it| it.kind == Kind::Supervised) {
        let out = example.fold == fold || example.older;
        let question = example.prompt()[0].content.as_str();
        assert_eq!(out, !of_kind(&without, "supervised").contains(&question), "{example:?}");
    }
    assert_eq!(of_kind(&without, "replay"), [topic(60)]);
}

#[test]
fn few_lessons_are_repeated_and_stand_beside_rehearsal() {
    let mut rows = lessons(20);
    rows.extend((30..130).map(|it| ask(it, &topic(it)).say("a", good())));
    let shipped = (0..400).map(|it| answered(&format!("everyday {it}"))).collect();
    let snapshot = curated(&roomy(), &rows).seal(shipped).unwrap();
    let count = |rehearsal| {
        let rows = mixed(&snapshot, Mix { rehearsal, ..Mix::default() });
        assert!(rows.iter().all(|row| row["split"] == "train"));
        let kinds = ["supervised", "replay", "rehearsal"];
        kinds.map(|kind| of_kind(&rows, kind).len())
    };
    let times = repeats(20);
    assert!(times > 1);
    for rehearsal in [0.5, 1.0] {
        let keeping = keeping(160, rehearsal);
        // Of what keeps, a third are liked answers.
        assert_eq!(count(rehearsal), [20, keeping / 3, keeping - keeping / 3]);
    }
    let [_, liked, rest] = count(1.9);
    assert_eq!(liked, 100, "there are no more");
    assert_eq!(rest, keeping(160, 1.9) - 100, "what there is stands there again");
    let rows = mixed(&snapshot, Mix::default());
    for row in rows.iter().filter(|row| row["kind"] == "supervised") {
        assert_eq!(row["showings"], times);
        let wordings = row["wordings"].as_array().unwrap();
        assert_eq!(wordings.len(), 7);
        assert!(wordings.iter().all(|it| *it != row["messages"][0]["content"]), "{row}");
    }
}

#[test]
fn an_adapters_liked_answers_are_taught_and_not_anchored() {
    let mut rows = lessons(10);
    rows.push(ask(30, "of the base").say("a", good()));
    rows.push(ask(31, "of an adapter").say("a", good()));
    rows[11].interaction.adapter_id =
        Some(serde_json::from_value("ad-00000000-0000-7000-8000-000000000001".into()).unwrap());
    let snapshot = build(&roomy(), &rows);
    let of_base: Vec<bool> = snapshot.examples[10..].iter().map(|it| it.of_base).collect();
    assert_eq!(of_base, [true, false]);
    let rows = mixed(&snapshot, Mix::default());
    assert_eq!(of_kind(&rows, "replay"), ["of the base"]);
    let taught = of_kind(&rows, "supervised");
    assert_eq!(taught.iter().filter(|it| **it == "of an adapter").count(), 1);
}

fn unrated(number: u32, prompt: &str) -> Interaction {
    ask(number, prompt).interaction
}

#[test]
fn rehearsal_is_everyday_traffic_unlike_what_was_corrected() {
    let labelled = [
        ask(1, "What is the average of 3, 5 and 7?").say("a", fix("5")),
        ask(2, "Hello").say("a", bad()),
    ];
    let mut kept_out = unrated(12, "Who painted the ceiling there?");
    kept_out.trainable = false;
    let mut personal = unrated(13, "Please write to ann@corp.io about the weather");
    personal.messages[0].name = Some("ann@corp.io".to_owned());
    let mut talk = unrated(14, "Hello");
    talk.messages.push(Message::new(Role::Assistant, "served"));
    talk.messages.push(Message::new(Role::User, "Which river runs through Vienna?"));
    let traffic = [
        unrated(10, "what is the average of 12, 20 and 4"),
        unrated(11, "What is the capital of France?"),
        unrated(15, "what is the CAPITAL of  France?"),
        kept_out,
        personal,
        talk,
    ];
    let shipped: Vec<Vec<Message>> =
        (0..3).map(|it| vec![Message::new(Role::User, format!("everyday {it}"))]).collect();
    let rehearsal = RehearsalSources { unrated: &traffic, shipped: &shipped };
    let inputs =
        Inputs { labelled: &labelled, rehearsal, learned: &BTreeSet::new(), known: &Nothing };
    let questions = curate(&Policy::plain(), inputs).unwrap().questions;

    let of = |number: usize| questions.iter().find(|it| it.id == Some(traffic[number].id));
    assert!(of(0).is_none(), "like a corrected one");
    assert!(of(1).is_some() != of(2).is_some(), "the same question once");
    assert!(of(3).is_none());
    let json = serde_json::to_string(of(4).unwrap()).unwrap();
    assert!(json.contains("[EMAIL]") && !json.contains("corp.io"), "{json}");
    assert_eq!(of(5).unwrap().bad_turns, [1]);
    assert_eq!(questions.iter().filter(|it| it.id.is_none()).count(), 3);
}
