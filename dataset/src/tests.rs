//! The whole way from labelled interactions to a snapshot.

mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hone_api::chat::{FinishReason, Message, Role};
use hone_api::check::{Check, SuiteRow};
use hone_api::feedback::{Feedback, Signal};
use hone_api::interaction::{Answer, Endpoint, Interaction, SamplingParams, Timings};
use hone_api::{FeedbackId, InteractionId, UnixMillis};
use proptest::prelude::*;

use crate::dedup::Fingerprint;
use crate::{Example, Kind, Labelled, Policy, Reason, Snapshot, Split, build, check_for};

/// An interaction whose id, and so its age, follows from `number`.
fn asked(number: u32, messages: Vec<Message>, answer: &str) -> Labelled {
    let interaction = Interaction {
        id: format!("00000000-0000-7000-8000-{number:012}").parse().unwrap(),
        created_at: UnixMillis(i64::from(number)),
        endpoint: Endpoint::Chat,
        model: "hone".to_owned(),
        adapter_id: None,
        base_digest: "b".to_owned(),
        template_digest: "t".to_owned(),
        messages,
        sampling: SamplingParams::default(),
        prompt_tokens: vec![1],
        answers: vec![Answer {
            text: Some(answer.to_owned()),
            tokens: vec![2],
            logprobs: vec![-0.5],
            finish_reason: FinishReason::Stop,
        }],
        timings: Timings::default(),
        key_id: None,
        user: None,
        source: None,
        metadata: BTreeMap::new(),
        stored: false,
        trainable: true,
    };
    Labelled { interaction, feedback: Vec::new() }
}

fn ask(number: u32, prompt: &str) -> Labelled {
    asked(number, vec![Message::new(Role::User, prompt)], "served")
}

impl Labelled {
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

/// Everything trains, so that one row can be looked at.
fn all_train() -> Policy {
    Policy {
        holdout_percent: 0.0,
        validation_percent: 0.0,
        replay_ratio: 100.0,
        ..Policy::default()
    }
}

/// What one row becomes, beside a correction that makes room for replay.
fn outcome(row: Labelled) -> Result<(Kind, String), Reason> {
    let anchor = ask(999, "anchor question about nothing else").say("x", fix("anchor"));
    let id = row.interaction.id;
    let snapshot = build(&all_train(), &[row, anchor], &BTreeSet::new()).unwrap();
    if snapshot.manifest.waiting.contains(&id) {
        return Ok((Kind::Supervised, "WAITS".to_owned()));
    }
    match snapshot.examples.iter().find(|example| example.id == id) {
        Some(example) => Ok((example.kind, example.reference().to_owned())),
        None => Err(*snapshot.manifest.dropped.keys().next().unwrap()),
    }
}

#[test]
fn votes_and_corrections_decide_what_is_learnt() {
    let taught = |text: &str| Ok((Kind::Supervised, text.to_owned()));
    let replay = || Ok((Kind::Replay, "served".to_owned()));
    let waits = || Ok((Kind::Supervised, "WAITS".to_owned()));
    let q = || ask(1, "q");
    let comment = || Signal::Comment("hm".to_owned());

    assert_eq!(outcome(q().say("a", bad()).say("a", fix("right"))), taught("right"));
    assert_eq!(outcome(q().say("a", fix("right")).say("a", bad())), taught("right"));
    assert_eq!(outcome(q().say("a", Signal::Score(0.2)).say("a", fix("right"))), taught("right"));
    assert_eq!(outcome(q().say("a", fix("right"))), taught("right"));
    assert_eq!(outcome(q().say("a", fix("old")).say("b", fix("new"))), taught("new"));
    assert_eq!(outcome(q().say("a", good())), replay());
    assert_eq!(outcome(q().say("a", Signal::Score(0.5))), replay());
    assert_eq!(outcome(q().say("a", bad())), waits());
    assert_eq!(outcome(q().say("a", Signal::Score(0.49))), waits());
    assert_eq!(outcome(q().say("a", comment())), Err(Reason::NoVerdict));
    // The latest vote of a source counts, unknown sources being one.
    assert_eq!(outcome(q().say("a", bad()).say("a", good())), replay());
    assert_eq!(outcome(q().say("", bad()).say("", good())), replay());
    assert_eq!(outcome(q().say("a", good()).say("a", bad())), waits());
    // Then the majority of the sources.
    let two_to_one = q().say("a", good()).say("b", bad()).say("c", good());
    assert_eq!(outcome(two_to_one), replay());
    assert_eq!(outcome(q().say("a", good()).say("b", bad())), Err(Reason::VotesTied));
    assert_eq!(outcome(q().say("a", good()).say("b", fix("right"))), taught("right"));
    let outvoted = q().say("a", good()).say("b", fix("wrong")).say("c", good());
    assert_eq!(outcome(outvoted), replay());
    // A source that calls the answer good after correcting it takes the correction back.
    assert_eq!(outcome(q().say("a", fix("right")).say("a", good())), replay());
    assert_eq!(outcome(q().say("a", good()).say("a", fix("right"))), taught("right"));
    assert_eq!(outcome(q().say("a", fix(" \n"))), Err(Reason::EmptyDemonstration));
}

#[test]
fn what_is_discarded_teaches_nothing_until_somebody_corrects_it() {
    let q = || ask(1, "q");
    let discard = || Signal::Discard;
    let discarded = || Err(Reason::Discarded);
    assert_eq!(outcome(q().say("a", bad()).say("b", discard())), discarded());
    assert_eq!(outcome(q().say("a", good()).say("b", discard())), discarded());
    assert_eq!(outcome(q().say("a", fix("wrong")).say("b", discard())), discarded());
    assert_eq!(outcome(q().say("a", discard()).say("a", bad())), discarded());
    let revived = q().say("a", fix("wrong")).say("b", discard()).say("c", fix("right"));
    assert_eq!(outcome(revived), Ok((Kind::Supervised, "right".to_owned())));
}

#[test]
fn what_cannot_teach_is_left_out_with_its_reason() {
    let changed = |change: fn(&mut Interaction), signal: Signal| {
        let mut row = ask(1, "q").say("a", signal);
        change(&mut row.interaction);
        outcome(row)
    };
    assert_eq!(changed(|it| it.trainable = false, fix("x")), Err(Reason::NotTrainable));
    assert_eq!(changed(|it| it.messages.clear(), fix("x")), Err(Reason::NoText));
    let cut: fn(&mut Interaction) = |it| it.answers[0].finish_reason = FinishReason::Length;
    assert_eq!(changed(cut, good()), Err(Reason::CutOff));
    assert_eq!(changed(cut, fix("x")), Ok((Kind::Supervised, "x".to_owned())));
    assert_eq!(changed(|it| it.answers[0].text = None, good()), Err(Reason::NoText));
    let twice: fn(&mut Interaction) = |it| it.answers.push(it.answers[0].clone());
    assert_eq!(changed(twice, good()), Err(Reason::SeveralAnswers));
    let invalid = ask(1, "q").say_with("a", fix("x"), &[("check", "{}")]);
    assert_eq!(outcome(invalid), Err(Reason::InvalidCheck));
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
    let snapshot = build(&all_train(), &rows, &BTreeSet::new()).unwrap();
    let seen: Vec<_> =
        snapshot.examples.iter().map(|it| (it.family.as_str(), it.check.clone())).collect();
    assert_eq!(
        seen,
        [
            ("cities", Check::Contains("Oslo".to_owned())),
            ("feedback", Check::FinalNumber(4.0)),
            ("replay", Check::Exact("served".to_owned())),
            ("small talk", Check::Exact("served".to_owned())),
        ]
    );
}

#[test]
fn personal_data_is_replaced_everywhere_but_the_key_is_of_what_was_asked() {
    let prompt = "Mail ann@corp.io about the rug";
    let check = r#"{"type":"contains","value":"ann@corp.io"}"#;
    let row = || ask(1, prompt).say_with("a", fix("I wrote to ann@corp.io."), &[("check", check)]);
    let snapshot = build(&all_train(), &[row()], &BTreeSet::new()).unwrap();
    let example = &snapshot.examples[0];
    assert_eq!(example.prompt()[0].content, "Mail [EMAIL] about the rug");
    assert_eq!(example.reference(), "I wrote to [EMAIL].");
    assert_eq!(example.check, Check::Contains("[EMAIL]".to_owned()));
    assert_eq!(example.key, crate::prompt_key(&[Message::new(Role::User, prompt)]));
    assert_eq!(snapshot.manifest.redacted.values().sum::<usize>(), 2);

    let policy = Policy { redact: false, ..all_train() };
    let as_it_is = build(&policy, &[row()], &BTreeSet::new()).unwrap();
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
        let snapshot = build(&all_train(), &[row], &BTreeSet::new()).unwrap();
        let json = serde_json::to_string(&snapshot.examples).unwrap();
        assert!(json.contains("[EMAIL]") && !json.contains("corp.io"), "{json}");
        assert!(!serde_json::to_string(&snapshot.manifest).unwrap().contains("corp.io"));
    }
}

#[test]
fn of_equal_prompts_the_newest_correction_stays() {
    let rows = [
        ask(1, "Where is it?").say("a", fix("old")),
        ask(2, " where IS it? ").say("a", fix("new")),
        ask(3, "Where is it?").say("a", good()),
        ask(4, "Something else entirely").say("a", good()),
    ];
    let snapshot = build(&all_train(), &rows, &BTreeSet::new()).unwrap();
    let kept: Vec<_> = snapshot.examples.iter().map(Example::reference).collect();
    assert_eq!(kept, ["new", "served"]);
    assert_eq!(snapshot.manifest.dropped, BTreeMap::from([(Reason::ExactDuplicate, 2)]));
}

#[test]
fn replay_follows_the_ratio_and_rows_the_limit() {
    let rows: Vec<_> = (0..300)
        .map(|it| {
            let row = ask(it, &format!("question {it} about {}", it * 7 + 1));
            if it < 100 { row.say("a", fix("x")) } else { row.say("a", good()) }
        })
        .collect();
    let policy = Policy { replay_ratio: 0.5, max_rows: 80, ..Policy::default() };
    let snapshot = build(&policy, &rows, &BTreeSet::new()).unwrap();
    let count = |kind, split| snapshot.manifest.count(kind, split);
    let supervised: usize = [Split::Train, Split::Validation, Split::HeldOut]
        .map(|split| count(Kind::Supervised, split))
        .iter()
        .sum();
    assert_eq!(supervised, 80);
    assert_eq!(snapshot.manifest.dropped[&Reason::OverMaxRows], 20);
    // The oldest twenty corrections went.
    assert!(snapshot.examples.iter().all(|it| it.id >= rows[20].interaction.id));
    for split in [Split::Train, Split::HeldOut] {
        let room = (count(Kind::Supervised, split) as f64 * 0.5).ceil() as usize;
        assert_eq!(count(Kind::Replay, split), room, "{split:?}");
    }
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
    let snapshot = build(&Policy::default(), &rows, &BTreeSet::new()).unwrap();
    let manifest = &snapshot.manifest;
    assert!(manifest.redacted.is_empty(), "{:?}", manifest.redacted);
    assert_eq!(manifest.dropped, BTreeMap::new());
    for name in ["averages", "discounts", "house_format", "northwind", "triage"] {
        let family = &manifest.families[name];
        // Whole clusters move, so the shares are met to within a row or two.
        assert!(family[&Split::HeldOut].abs_diff(80) <= 2, "{name}: {family:?}");
        assert!(family[&Split::Validation].abs_diff(32) <= 2, "{name}: {family:?}");
        assert_eq!(family.values().sum::<usize>(), 400, "{name}: {family:?}");
    }
    assert!(manifest.families["rehearsal"][&Split::HeldOut] >= 118);
    // Templates make similar prompts, but no cluster is large.
    assert!(manifest.clusters > 2000, "{}", manifest.clusters);
    assert!(snapshot.examples.iter().all(|it| it.messages.len() >= 2));
}

#[test]
fn checks_derived_from_the_starters_references_accept_them() {
    // The derived check is of the kind that the workload's author chose wherever the form of the
    // answer tells it.
    for (name, kind) in [("averages", 0), ("discounts", 0), ("triage", 1), ("house_format", 2)] {
        for row in workload(name) {
            match (check_for(&row.reference), kind) {
                (Check::FinalNumber(number), 0) => {
                    assert_eq!(Check::FinalNumber(number), row.check)
                }
                (Check::Regex(pattern), 1) => assert_eq!(Check::Regex(pattern), row.check),
                (Check::Exact(text), 2) => assert_eq!(Check::Exact(text), row.check),
                (other, _) => panic!("{name}: {other:?}"),
            }
        }
    }
}

fn assert_no_leak(snapshot: &Snapshot, policy: &Policy, known: &BTreeSet<String>) {
    let prints: Vec<_> = snapshot.examples.iter().map(|it| Fingerprint::of(it.prompt())).collect();
    for (position, one) in snapshot.examples.iter().enumerate() {
        assert_eq!(
            one.split == Split::HeldOut,
            snapshot.manifest.holdout_keys.contains(&one.key),
            "{one:?}"
        );
        assert!(!known.contains(&one.key) || one.split == Split::HeldOut, "{one:?}");
        for (offset, other) in snapshot.examples[..position].iter().enumerate() {
            if one.split != other.split {
                let similarity = prints[position].similarity(&prints[offset]);
                assert!(similarity < policy.cluster_similarity, "{one:?} {other:?}");
            }
        }
    }
}

#[test]
fn no_similar_prompts_straddle_the_split_of_the_starters_workloads() {
    let policy = Policy::default();
    let snapshot = build(&policy, &starter(), &BTreeSet::new()).unwrap();
    assert_no_leak(&snapshot, &policy, &BTreeSet::new());
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
        let known = BTreeSet::new();
        let policy = Policy::default();
        prop_assert_eq!(
            build(&policy, &rows, &known).unwrap(),
            build(&policy, &shuffled, &known).unwrap()
        );
    }

    /// Cycle after cycle over a log that grows and loses rows, under settings that change: what was
    /// held out once never trains or validates, nor does anything similar to it.
    #[test]
    fn what_was_held_out_never_trains_later(
        log in log(),
        seeds in prop::collection::vec((any::<u64>(), 1..80_u32, 0..4_usize), 1..5),
    ) {
        let rows = labelled(&log);
        let mut ledger = BTreeSet::new();
        for (cycle, (seed, percent, skip)) in seeds.iter().enumerate() {
            let policy = Policy {
                seed: *seed,
                holdout_percent: f64::from(*percent),
                redact: seed % 2 == 0,
                replay_ratio: 0.5,
                ..Policy::default()
            };
            let end = rows.len() * (cycle + 1) / seeds.len();
            let visible = &rows[(*skip).min(end)..end];
            let snapshot = build(&policy, visible, &ledger).unwrap();
            let mut all = ledger.clone();
            all.extend(snapshot.manifest.holdout_keys.iter().cloned());
            assert_no_leak(&snapshot, &policy, &ledger);
            for example in snapshot.split(Split::Train).chain(snapshot.split(Split::Validation)) {
                prop_assert!(!all.contains(&example.key));
            }
            ledger = all;
        }
    }

    #[test]
    fn a_snapshot_reads_back_as_it_was_written(log in log()) {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = build(&Policy::default(), &labelled(&log), &BTreeSet::new()).unwrap();
        let path = snapshot.write(folder.path()).unwrap();
        prop_assert_eq!(&Snapshot::read(&path).unwrap(), &snapshot);
        prop_assert_eq!(snapshot.write(folder.path()).unwrap(), path);
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

fn small() -> Snapshot {
    let rows: Vec<_> = (0..10)
        .map(|it| {
            ask(it, &format!("Add {it} and {}", it * 3)).say("a", fix(&format!("#### {}", it * 4)))
        })
        .chain([ask(10, "Hello there").say("a", good()), ask(11, "Who?").say("a", bad())])
        .collect();
    build(&Policy::default(), &rows, &BTreeSet::new()).unwrap()
}

#[test]
fn the_hash_of_the_same_rows_never_changes() {
    // If this fails on purpose, raise `snapshot::FORMAT`: snapshots on disk keep their names.
    assert_eq!(
        small().manifest.hash,
        "6dcb92515e800528374f81869fec22ae6366306ff004b1b43c80e9ff1ab9ce2b"
    );
}

#[test]
fn the_trainer_finds_messages_kind_and_split() {
    let example = &small().examples[0];
    let json = serde_json::to_value(example).unwrap();
    assert_eq!(json["kind"], "supervised");
    assert!(["train", "validation", "held_out"].contains(&json["split"].as_str().unwrap()));
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
    let rows = path.join("rows.jsonl");
    let text = std::fs::read_to_string(&rows).unwrap();
    std::fs::write(&rows, text.replacen("Add", "Sub", 1)).unwrap();
    let error = Snapshot::read(&path).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    assert_eq!(snapshot.write(folder.path()).unwrap(), path);
    assert_eq!(Snapshot::read(&path).unwrap(), snapshot);
    std::fs::remove_file(&rows).unwrap();
    assert!(Snapshot::read(&path).is_err());
    snapshot.write(folder.path()).unwrap();
    assert_eq!(Snapshot::read(&path).unwrap(), snapshot);
}
