//! The whole way from labelled interactions to a snapshot.

mod erased;
mod folds;
mod says;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hone_api::chat::{FinishReason, Message, Role};
use hone_api::check::{Check, SuiteRow};
use hone_api::feedback::{Feedback, Signal};
use hone_api::interaction::{Answer, Endpoint, Interaction, Timings};
use hone_api::sampling_params::SamplingParams;
use hone_api::{FeedbackId, InteractionId, UnixMillis};
use proptest::prelude::*;

use crate::dedup::Fingerprint;
use crate::{
    Curated, Example, Inputs, Kind, Labelled, Mix, Nothing, Policy, Reason, Rehearsal,
    RehearsalSources, Snapshot, WaitingReason, curate, infer_check,
};

/// An interaction whose id, and so its age, follows from `number`.
fn asked(number: u32, messages: Vec<Message>, answer: &str) -> Labelled {
    let interaction = Interaction {
        id: format!("00000000-0000-7000-8000-{number:012}").parse().unwrap(),
        created_at: UnixMillis(i64::from(number)),
        endpoint: Endpoint::Chat,
        model: "hone".to_owned(),
        adapter_id: None,
        adapter_digest: None,
        base_digest: "b".to_owned(),
        template_digest: "t".to_owned(),
        messages,
        tools: Vec::new(),
        sampling: SamplingParams::default(),
        response: None,
        grammar: None,
        computed_by: None,
        prompt_tokens: vec![1],
        answers: vec![Answer {
            text: Some(answer.to_owned()),
            tool_calls: Vec::new(),
            tokens: vec![2],
            logprobs: vec![-0.5],
            finish_reason: FinishReason::Stop,
        }],
        timings: Timings::default(),
        key_id: None,
        user: None,
        conversation: None,
        source: None,
        metadata: BTreeMap::new(),
        stored: false,
        cached_tokens: 0,
        trainable: true,
    };
    Labelled { interaction, feedback: Vec::new() }
}

fn ask(number: u32, prompt: &str) -> Labelled {
    asked(number, vec![Message::new(Role::User, prompt)], "served")
}

impl Labelled {
    fn asked_by(mut self, source: &str) -> Self {
        self.interaction.source = Some(source.to_owned());
        self
    }

    fn say(self, source: &str, signal: Signal) -> Self {
        self.say_with(source, signal, &[])
    }

    fn say_with(mut self, source: &str, signal: Signal, tags: &[(&str, &str)]) -> Self {
        let number = self.feedback.len();
        let id: FeedbackId = format!(
            "fb-00000000-0000-7000-{number:04x}-{:012x}",
            self.interaction.id.uuid().as_u128() & 0xffff_ffff_ffff
        )
        .parse()
        .unwrap();
        self.feedback.push(Feedback {
            id,
            inference_id: self.interaction.id,
            signal,
            tags: tags.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            source: (!source.is_empty()).then(|| source.to_owned()),
            created_at: UnixMillis(1000 + number as i64),
        });
        self
    }
}

fn good() -> Signal {
    Signal::Thumbs(true)
}

fn bad() -> Signal {
    Signal::Thumbs(false)
}

fn fix(text: &str) -> Signal {
    Signal::Demonstration(text.to_owned())
}

/// Liked rows find room.
fn roomy() -> Policy {
    Policy { replay_ratio: 100.0, ..Policy::plain() }
}

fn curated(policy: &Policy, labelled: &[Labelled]) -> Curated {
    let rehearsal = RehearsalSources { unrated: &[], shipped: &[] };
    curate(policy, Inputs { labelled, rehearsal, learned: &BTreeSet::new(), known: &Nothing })
        .unwrap()
}

/// A snapshot without rehearsal.
fn build(policy: &Policy, labelled: &[Labelled]) -> Snapshot {
    curated(policy, labelled).seal(Vec::new()).unwrap()
}

/// What became of a row.
#[derive(Debug, PartialEq)]
enum Outcome {
    Taught(String),
    Kept,
    Waits(WaitingReason),
    Out(Reason),
}

/// What one row becomes, beside a correction that makes room for it.
fn outcome(row: Labelled) -> Outcome {
    let anchor = ask(999, "anchor question about nothing else").say("x", fix("anchor"));
    let id = row.interaction.id;
    let snapshot = build(&roomy(), &[row, anchor]);
    if let Some(waiting) = snapshot.manifest.waiting.iter().find(|waiting| waiting.id == id) {
        return Outcome::Waits(waiting.reason);
    }
    match snapshot.examples.iter().find(|example| example.id == id) {
        Some(example) if example.kind == Kind::Supervised => {
            Outcome::Taught(example.reference().to_owned())
        }
        Some(example) => {
            assert_eq!(example.reference(), "served");
            Outcome::Kept
        }
        None => Outcome::Out(*snapshot.manifest.dropped.keys().next().unwrap()),
    }
}

fn taught(text: &str) -> Outcome {
    Outcome::Taught(text.to_owned())
}

#[test]
fn what_cannot_teach_is_left_out_with_its_reason() {
    let changed = |change: fn(&mut Interaction), signal: Signal| {
        let mut row = ask(1, "q").say("a", signal);
        change(&mut row.interaction);
        outcome(row)
    };
    assert_eq!(changed(|it| it.trainable = false, fix("x")), Outcome::Out(Reason::NotTrainable));
    assert_eq!(changed(|it| it.messages.clear(), fix("x")), Outcome::Out(Reason::NoText));
    let cut: fn(&mut Interaction) = |it| it.answers[0].finish_reason = FinishReason::Length;
    assert_eq!(changed(cut, good()), Outcome::Out(Reason::CutOff));
    assert_eq!(changed(cut, fix("x")), taught("x"));
    assert_eq!(changed(|it| it.answers[0].text = None, good()), Outcome::Out(Reason::NoText));
    let twice: fn(&mut Interaction) = |it| it.answers.push(it.answers[0].clone());
    assert_eq!(changed(twice, good()), Outcome::Out(Reason::SeveralAnswers));
    let invalid = ask(1, "q").say_with("a", fix("x"), &[("check", "{}")]);
    assert_eq!(outcome(invalid), Outcome::Out(Reason::InvalidCheck));
}

#[test]
fn family_and_check_come_from_the_tags_or_are_derived() {
    let check = r#"{"type":"contains","value":"Oslo"}"#;
    let mut rows = vec![
        ask(1, "one").say_with("a", fix("It is Oslo."), &[("family", "cities"), ("check", check)]),
        ask(2, "two apples and two pears").say("a", fix("2 + 2\n#### 4")),
        ask(3, "three").say("a", good()),
        ask(4, "four").say("a", good()),
    ];
    rows[3].interaction.metadata.insert("family".to_owned(), "small talk".to_owned());
    let snapshot = build(&roomy(), &rows);
    let seen: Vec<_> =
        snapshot.examples.iter().map(|it| (it.family.as_str(), it.check.clone())).collect();
    assert_eq!(
        seen,
        [
            ("cities", Check::Contains("Oslo".to_owned())),
            ("feedback", Check::FinalNumber(4.0)),
            ("replay", Check::Similar("served".to_owned())),
            ("small talk", Check::Similar("served".to_owned())),
        ]
    );
}

#[test]
fn personal_data_is_replaced_everywhere_but_the_key_is_of_what_was_asked() {
    let prompt = "Mail ann@corp.io about the rug";
    let check = r#"{"type":"contains","value":"ann@corp.io"}"#;
    let row = || ask(1, prompt).say_with("a", fix("I wrote to ann@corp.io."), &[("check", check)]);
    let snapshot = build(&roomy(), &[row()]);
    let example = &snapshot.examples[0];
    assert_eq!(example.prompt()[0].content, "Mail [EMAIL] about the rug");
    assert_eq!(example.reference(), "I wrote to [EMAIL].");
    assert_eq!(example.check, Check::Contains("[EMAIL]".to_owned()));
    assert_eq!(example.key, crate::prompt_key(&[Message::new(Role::User, prompt)]));
    assert_eq!(snapshot.manifest.redacted.values().sum::<usize>(), 2);

    let policy = Policy { redact: false, ..roomy() };
    let as_it_is = build(&policy, &[row()]);
    assert_eq!(as_it_is.examples[0].reference(), "I wrote to ann@corp.io.");
    assert_eq!(as_it_is.examples[0].key, example.key);
}

#[test]
fn personal_data_is_nowhere_in_a_row() {
    let tags = |check: &'static str| [("family", "ann@corp.io"), ("check", check)];
    for check in [
        r#"{"type":"regex","value":"ann@corp.io$"}"#,
        r#"{"type":"json_schema","value":{"const":"ann@corp.io"}}"#,
        r#"{"type":"contains","value":"ann@corp.io"}"#,
    ] {
        let mut row = ask(1, "Who am I?").say_with("a", fix("You are ann@corp.io."), &tags(check));
        row.interaction.messages[0].name = Some("ann@corp.io".to_owned());
        let snapshot = build(&roomy(), &[row]);
        let json = serde_json::to_string(&snapshot.examples).unwrap();
        assert!(json.contains("[EMAIL]") && !json.contains("corp.io"), "{json}");
        assert!(!serde_json::to_string(&snapshot.manifest).unwrap().contains("corp.io"));
    }
}

#[test]
fn of_equal_prompts_the_newest_correction_stays() {
    let mut rows = [
        ask(1, "Where is it?").say("a", fix("old")),
        ask(2, " where IS it? ").say("a", fix("new")),
        ask(3, "Where is it?").say("a", good()),
        ask(4, "Something else entirely").say("a", good()),
    ];
    rows[1].feedback[0].created_at = UnixMillis(24 * 3_600_000);
    let snapshot = build(&roomy(), &rows);
    let kept: Vec<_> = snapshot.examples.iter().map(Example::reference).collect();
    assert_eq!(kept, ["new", "served"]);
    let dropped = BTreeMap::from([(Reason::ExactDuplicate, 1), (Reason::Outvoted, 1)]);
    assert_eq!(snapshot.manifest.dropped, dropped);
}

#[test]
fn liked_rows_follow_the_ratio_and_corrections_the_limit() {
    let rows: Vec<_> = (0..300)
        .map(|it| {
            let row = ask(it, &format!("question {it} about {}", it * 7 + 1));
            if it < 100 { row.say("a", fix(&format!("x{it}"))) } else { row.say("a", good()) }
        })
        .collect();
    let policy = Policy { replay_ratio: 0.5, max_rows: 80, ..Policy::plain() };
    let snapshot = build(&policy, &rows);
    assert_eq!(snapshot.manifest.count(Kind::Supervised), 80);
    assert_eq!(snapshot.manifest.count(Kind::Replay), 40);
    assert_eq!(snapshot.manifest.dropped[&Reason::OverMaxRows], 20);
    assert!(snapshot.manifest.dropped[&Reason::SpareReplay] > 0);
    // The oldest twenty corrections went.
    assert!(snapshot.examples.iter().all(|it| it.id >= rows[20].interaction.id));
}

#[test]
fn of_nearly_equal_prompts_with_the_same_answer_one_stays() {
    let text = (0..200).map(|it| format!("word{}", it % 97)).collect::<Vec<_>>().join(" ");
    let rows = [
        ask(1, &format!("{text} costs 5")).say("a", fix("right")),
        ask(2, &format!("please {text} costs 5")).say("a", fix("right")),
        ask(3, &format!("please {text} costs 6")).say("a", fix("right")),
    ];
    let snapshot = build(&roomy(), &rows);
    let kept: Vec<_> = snapshot.examples.iter().map(|it| it.id).collect();
    assert_eq!(kept, [rows[1].interaction.id, rows[2].interaction.id]);
    assert_eq!(snapshot.manifest.dropped, BTreeMap::from([(Reason::NearDuplicate, 1)]));
}

#[test]
fn a_near_copy_does_not_hide_a_dispute() {
    let text = (0..200).map(|it| format!("word{}", it % 97)).collect::<Vec<_>>().join(" ");
    let near = format!("then {text}");
    let rows = [
        ask(1, &near).say("a", fix("wrong")),
        ask(2, &near).say("b", fix("right")),
        ask(3, &text).say("c", fix("right")),
    ];
    let snapshot = build(&roomy(), &rows);
    let kept: Vec<_> = snapshot.examples.iter().map(|it| (it.id, it.reference())).collect();
    assert_eq!(kept, [(rows[2].interaction.id, "right")]);
    assert_eq!(snapshot.manifest.waiting.len(), 2);
}

/// The starter's workloads as users would leave them: corrections for what the model cannot do,
/// good votes for rehearsal.
fn starter() -> Vec<Labelled> {
    let mut rows = Vec::new();
    for (name, split) in [
        ("averages", "feedback"),
        ("discounts", "feedback"),
        ("house_format", "feedback"),
        ("northwind", "feedback"),
        ("triage", "feedback"),
        ("rehearsal", "rehearsal"),
    ] {
        for row in workload(name).into_iter().filter(|row| row.split == split) {
            let number = u32::try_from(rows.len()).unwrap();
            let labelled = asked(number, row.messages, &row.reference);
            let check = serde_json::to_string(&row.check).unwrap();
            let tags = [("family", name), ("check", check.as_str())];
            rows.push(match split {
                "feedback" => labelled.say_with("u", fix(&row.reference), &tags),
                _ => labelled.say_with("u", good(), &tags),
            });
        }
    }
    rows
}

fn workload(name: &str) -> Vec<SuiteRow> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../model/starter/workloads")
        .join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_starters_workloads_come_through_whole() {
    let rows = starter();
    assert_eq!(rows.len(), 2600);
    let snapshot = build(&Policy::plain(), &rows);
    let manifest = &snapshot.manifest;
    assert!(manifest.redacted.is_empty(), "{:?}", manifest.redacted);
    assert_eq!(manifest.waiting, []);
    let mut taught = 0;
    for name in ["averages", "discounts", "house_format", "northwind", "triage"] {
        // One fact asked for in many ways counts a few times for each group of similar ways.
        let least = if name == "northwind" { 360 } else { 400 };
        let count = manifest.families[name][&Kind::Supervised];
        assert!((least..=400).contains(&count), "{name}: {count}");
        taught += count;
        let rows = snapshot.examples.iter().filter(|it| it.family == name);
        // Whole clusters move, so the shares are met to within a few rows.
        let judged = rows.filter(|it| it.fold == Some(0)).count();
        assert!(judged.abs_diff(count / 3) <= 6, "{name}: {judged} of {count}");
    }
    assert_eq!((manifest.new, manifest.folds, taught / 500), (taught, 1, 3));
    let copies = BTreeMap::from([(Reason::ExactDuplicate, 2000 - taught)]);
    assert_eq!(manifest.dropped, copies);
    assert_eq!(manifest.families["rehearsal"], BTreeMap::from([(Kind::Replay, 600)]));
    // Templates make similar prompts, but no cluster is large.
    assert!(manifest.clusters > 2000, "{}", manifest.clusters);
    assert!(snapshot.examples.iter().all(|it| it.messages.len() >= 2));
    assert_no_leak(&snapshot, &Policy::plain());
}

#[test]
fn checks_derived_from_the_starters_references_accept_them() {
    // The derived check is of the kind that the workload's author chose wherever the form of the
    // answer tells it.
    for (name, kind) in [("averages", 0), ("discounts", 0), ("triage", 1), ("house_format", 2)] {
        for row in workload(name) {
            match (infer_check(&row.reference), kind) {
                (Check::FinalNumber(number), 0) => {
                    assert_eq!(Check::FinalNumber(number), row.check)
                }
                (Check::Regex(pattern), 1) => assert_eq!(Check::Regex(pattern), row.check),
                (Check::Similar(text), 2) => assert_eq!(text, row.reference.trim()),
                (other, _) => panic!("{name}: {other:?}"),
            }
        }
    }
}

/// No judged row has anything similar among the corrections of other folds.
fn assert_no_leak(snapshot: &Snapshot, policy: &Policy) {
    let new: Vec<_> = snapshot.examples.iter().filter(|it| it.kind == Kind::Supervised).collect();
    let prints: Vec<_> = new.iter().map(|it| Fingerprint::of(it.prompt())).collect();
    for (position, one) in new.iter().enumerate() {
        for (offset, other) in new[..position].iter().enumerate() {
            if one.fold != other.fold {
                let similarity = prints[position].similarity(&prints[offset]);
                assert!(similarity < policy.cluster_similarity, "{one:?} {other:?}");
            }
        }
    }
}

/// Rows of a log: few words, so that many prompts are similar or equal.
fn log() -> impl Strategy<Value = Vec<(String, u8)>> {
    prop::collection::vec(("[a-e]( [a-f]){2,9}( [0-9])?", 0..6_u8), 1..60)
}

fn labelled(log: &[(String, u8)]) -> Vec<Labelled> {
    (0..)
        .zip(log)
        .map(|(number, (prompt, feedback))| {
            let row = ask(number, prompt);
            match feedback {
                0 => row.say("a", good()),
                1 => row.say("a", bad()),
                2 => row.say("a", good()).say("b", bad()),
                3 => row.say_with("a", fix("one"), &[("family", "f")]),
                _ => row.say("a", bad()).say("b", fix("two")),
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_order_of_the_rows_does_not_matter(
        (log, order) in log().prop_flat_map(|log| {
            let order: Vec<usize> = (0..log.len()).collect();
            (Just(log), Just(order).prop_shuffle())
        }),
    ) {
        let rows = labelled(&log);
        let mut shuffled: Vec<Labelled> = order.iter().map(|&it| rows[it].clone()).collect();
        for row in &mut shuffled {
            row.feedback.reverse();
        }
        let policy = Policy::plain();
        prop_assert_eq!(curated(&policy, &rows), curated(&policy, &shuffled));
    }

    #[test]
    fn whatever_the_log_no_near_copy_of_a_judged_row_trains(
        log in log(),
        seed in any::<u64>(),
        percent in 0..90_u32,
    ) {
        let policy = Policy { seed, holdout_percent: f64::from(percent), ..Policy::plain() };
        assert_no_leak(&build(&policy, &labelled(&log)), &policy);
    }

    #[test]
    fn a_snapshot_reads_back_as_it_was_written(log in log()) {
        let folder = tempfile::tempdir().unwrap();
        let shipped = (0..5).map(|it| answered(&format!("everyday {it}"))).collect();
        let snapshot = curated(&Policy::plain(), &labelled(&log)).seal(shipped).unwrap();
        let path = snapshot.write(folder.path()).unwrap();
        prop_assert_eq!(&Snapshot::read(&path).unwrap(), &snapshot);
        prop_assert_eq!(snapshot.write(folder.path()).unwrap(), path);
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

/// A shipped question with the base's answer.
fn answered(question: &str) -> Rehearsal {
    let messages =
        vec![Message::new(Role::User, question), Message::new(Role::Assistant, "as ever")];
    Rehearsal { id: None, messages, bad_turns: Vec::new(), unfinished: false }
}

fn small() -> Snapshot {
    let rows: Vec<_> = (0..10)
        .map(|it| {
            ask(it, &format!("Add {it} and {}", it * 3)).say("a", fix(&format!("#### {}", it * 4)))
        })
        .chain([ask(10, "Hello there").say("a", good()), ask(11, "Who?").say("a", bad())])
        .collect();
    curated(&Policy::plain(), &rows).seal(vec![answered("How are you?")]).unwrap()
}

#[test]
fn the_hash_of_the_same_rows_never_changes() {
    // If this fails on purpose, raise `snapshot::FORMAT`: snapshots on disk keep their names.
    assert_eq!(
        small().manifest.hash,
        "c3a761ad4572b928bd9055ceac227c6b3abc518f0d64597d6531d3d7784b49aa"
    );
}

#[test]
fn the_manifest_counts_what_is_there() {
    let manifest = small().manifest;
    let counts = [(Kind::Supervised, 10), (Kind::Replay, 1), (Kind::Rehearsal, 1)];
    assert_eq!(manifest.counts, BTreeMap::from(counts));
    assert_eq!((manifest.new, manifest.judged, manifest.folds), (10, 10, 2));
    assert_eq!((manifest.sources, manifest.waiting.len()), (1, 1));
}

#[test]
fn a_row_on_disk_says_what_it_is() {
    let example = &small().examples[0];
    let json = serde_json::to_value(example).unwrap();
    assert_eq!(json["kind"], "supervised");
    assert!(json["fold"].as_u64().unwrap() < 2);
    assert_eq!((&json["older"], &json["source"]), (&false.into(), &"a".into()));
    assert_eq!(json["messages"][0]["role"], "user");
    assert_eq!(json["messages"][1]["role"], "assistant");
    assert_eq!(json["check"]["type"], "final_number");
    let id: InteractionId = json["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(id, example.id);
}

#[test]
fn damage_is_noticed_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = small();
    let path = snapshot.write(folder.path()).unwrap();
    for (name, from, to) in [("rows.jsonl", "Add", "Sub"), ("rehearsal.jsonl", "ever", "then")] {
        let file = path.join(name);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let error = Snapshot::read(&path).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        assert_eq!(snapshot.write(folder.path()).unwrap(), path);
        assert_eq!(Snapshot::read(&path).unwrap(), snapshot);
        std::fs::remove_file(&file).unwrap();
        assert!(Snapshot::read(&path).is_err());
        snapshot.write(folder.path()).unwrap();
        assert_eq!(Snapshot::read(&path).unwrap(), snapshot);
    }
}
