//! What waits for a person.

use super::*;
use crate::{WaitingReason, waiting};

const DAY: i64 = 24 * 3_600_000;

/// Everything that waits, by number, with its reason.
fn waits(rows: &[Labelled]) -> Vec<(i64, WaitingReason)> {
    let number = |id: InteractionId| {
        let row = rows.iter().find(|row| row.interaction.id == id).unwrap();
        row.interaction.created_at.0
    };
    let waiting = waiting(&Policy::plain(), rows, &Nothing).unwrap();
    waiting.iter().map(|it| (number(it.id), it.reason)).collect()
}

fn contradicted(rows: &[Labelled]) -> Vec<i64> {
    let found = waits(rows);
    assert!(found.iter().all(|(_, reason)| *reason == WaitingReason::Contradiction));
    found.into_iter().map(|(number, _)| number).collect()
}

#[test]
fn a_bad_answer_waits_until_it_is_corrected_or_discarded() {
    let rows = [
        ask(5, "five").say("a", bad()),
        ask(1, "one").say("a", bad()),
        ask(2, "two").say("a", bad()).say("b", fix("right")),
        ask(3, "three").say("a", bad()).say("a", Signal::Discard),
        ask(4, "four").say("a", good()),
    ];
    let reason = WaitingReason::NoCorrection;
    assert_eq!(waits(&rows), [(1, reason), (5, reason)]);
}

#[test]
fn corrections_that_contradict_each_other_wait() {
    let q = |number: u32| ask(number, "How much is it?");
    assert_eq!(contradicted(&[q(1).say("a", fix("5")).say("b", fix("6"))]), [1]);
    // The same question, asked again; also in other letters.
    let again = ask(2, "how much  IS it?").say("b", fix("6"));
    let both = [q(1).say("a", fix("5")), again];
    assert_eq!(contradicted(&both), [1, 2]);
    assert_eq!(build(&Policy::plain(), &both).examples, []);
    let other = ask(2, "How many are there?").say("b", fix("6"));
    assert!(contradicted(&[q(1).say("a", fix("5")), other]).is_empty());
    // With other courtesy around it, and with answers that agree or do not.
    let greeted = |text| ask(2, "Hello! How much is it? Thanks, Ben.").say("b", fix(text));
    assert_eq!(contradicted(&[q(1).say("a", fix("5")), greeted("It is 6.")]), [1, 2]);
    let both = [q(1).say("a", fix("5")), greeted("It is 5.")];
    assert!(contradicted(&both).is_empty());
    assert_eq!(build(&Policy::plain(), &both).examples.len(), 2, "both wordings teach");
    // Who says two things within an hour is asked which she means.
    assert_eq!(contradicted(&[q(1).say("a", fix("5")), q(2).say("a", fix("6"))]), [1, 2]);
}

#[test]
fn who_changes_her_mind_or_is_outvoted_contradicts_nobody() {
    let q = || ask(1, "How much is it?");
    let mut another_day = ask(2, "How much is it?").say("a", fix("6"));
    another_day.feedback[0].created_at = UnixMillis(DAY);
    let two = |text: &str| q().say("a", fix("It is 5.")).say("b", fix(text));
    for rows in [
        vec![q().say("a", fix("5")).say("a", fix("6"))],
        vec![q().say("a", fix("5")), another_day],
        vec![two("it  is 5.")],
        vec![two("6").say("c", fix("It is 5."))],
        vec![two("6").say("b", good()).say("c", bad())],
        vec![two("6").say("c", Signal::Discard)],
        vec![two("6").asked_by("b")],
    ] {
        assert_eq!(waits(&rows), [], "{rows:?}");
    }
    assert_eq!(contradicted(&[two("6").say("c", fix("7"))]), [1]);
    let half = two("6").say("c", fix("It is 5.")).say("d", fix("6"));
    assert_eq!(contradicted(&[half]), [1], "half of them is no majority");
}

#[test]
fn a_flood_of_one_source_waits_while_the_others_teach() {
    let words = ["apple", "stone", "river", "cloud", "lamp", "chair", "glass"];
    let prompt = |it: u32| {
        let word = |place: u32| words[(it / 7_u32.pow(place) % 7) as usize];
        format!("{} with {} and {} of {it}", word(0), word(1), word(2))
    };
    let by = |it: u32, source: &str| {
        ask(it, &prompt(it)).asked_by(source).say(source, fix(&format!("answer {it}")))
    };
    let mut rows: Vec<Labelled> = (0..100).map(|it| by(it, "flood")).collect();
    rows.extend((100..120).map(|it| by(it, ["a", "b", "c", "d"][it as usize % 4])));
    let snapshot = build(&Policy::plain(), &rows);
    let taught: BTreeSet<_> = snapshot.examples.iter().filter_map(|it| it.source.clone()).collect();
    assert_eq!(taught, ["a", "b", "c", "d"].map(str::to_owned).into());
    assert_eq!(snapshot.examples.len(), 20);
    let found = waits(&rows);
    assert!(found.iter().all(|(_, reason)| *reason == WaitingReason::SourceOverCap));
    assert!(found.iter().map(|(number, _)| *number).eq(0..100));
    assert_eq!(snapshot.manifest.dropped, BTreeMap::from([(Reason::SourceOverCap, 100)]));
    // Alone she is the owner.
    assert_eq!(build(&Policy::plain(), &rows[..100]).examples.len(), 100);
}

#[test]
fn a_flood_outvotes_nobody() {
    let mut rows: Vec<Labelled> =
        (0..60).map(|it| ask(it, "How much is it?").say("flood", fix("wrong"))).collect();
    rows.push(ask(60, "How much is it?").say("a", fix("right")));
    rows.push(ask(61, "Something else").say("b", good()));
    let snapshot = build(&Policy::plain(), &rows);
    let taught: Vec<_> = snapshot.examples.iter().map(Example::reference).collect();
    assert_eq!(taught, ["right", "served"]);
}

/// Knows one sum.
struct Sum;

impl crate::Known for Sum {
    fn is_right(&self, prompt: &[Message], answer: &str) -> Option<bool> {
        (prompt[0].content == "2 + 2?").then(|| answer.contains('4'))
    }
}

#[test]
fn what_is_said_once_against_the_base_and_a_control_waits() {
    let waits = |rows: &[Labelled]| -> Vec<WaitingReason> {
        let waiting = waiting(&Policy::plain(), rows, &Sum).unwrap();
        waiting.into_iter().map(|one| one.reason).collect()
    };
    let served =
        |number, prompt: &str, text| asked(number, vec![Message::new(Role::User, prompt)], text);
    let right = |number| served(number, "2 + 2?", "It is 4.");
    let five = || fix("It is 5.");
    let held = [WaitingReason::ContradictsBase];
    assert_eq!(waits(&[right(1).say("a", five())]), held);
    assert!(waits(&[right(1).say("a", five()).say("a", five())]).is_empty(), "said again");
    assert!(waits(&[right(1).say("a", five()), right(2).say("b", five())]).is_empty());
    assert!(waits(&[right(1).say("a", fix("4, dear."))]).is_empty(), "in other words");
    assert!(waits(&[served(1, "2 + 2?", "It is 3.").say("a", five())]).is_empty(), "wrong before");
    assert!(waits(&[served(1, "3 + 3?", "It is 4.").say("a", five())]).is_empty(), "no control");
    let mut adapted = right(1).say("a", five());
    adapted.interaction.adapter_id = Some(hone_api::AdapterId::new());
    assert!(waits(&[adapted]).is_empty(), "not the base's answer");
}
