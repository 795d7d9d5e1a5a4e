//! What waits for a person.

use super::*;
use crate::{WaitingReason, waiting};

/// The numbers of those that wait for a reason.
fn waits(rows: &[Labelled], reason: WaitingReason) -> Vec<i64> {
    let number = |id: InteractionId| {
        let row = rows.iter().find(|row| row.interaction.id == id).unwrap();
        row.interaction.created_at.0
    };
    waiting(rows).iter().filter(|it| it.reason == reason).map(|it| number(it.id)).collect()
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
    assert_eq!(waits(&rows, WaitingReason::NoCorrection), [1, 5]);
    assert_eq!(waiting(&rows).len(), 2);
}

#[test]
fn corrections_that_contradict_each_other_wait() {
    let contradicted = |rows: &[Labelled]| waits(rows, WaitingReason::Contradiction);
    let q = |number: u32| ask(number, "How much is it?");
    assert_eq!(contradicted(&[q(1).say("a", fix("5")).say("b", fix("6"))]), [1]);
    // The same question, asked again; also in other letters.
    let again = ask(2, "how much  IS it?").say("b", fix("6"));
    assert_eq!(contradicted(&[q(1).say("a", fix("5")), again]), [1, 2]);
    let other = ask(2, "How many are there?").say("b", fix("6"));
    assert!(contradicted(&[q(1).say("a", fix("5")), other]).is_empty());
}

#[test]
fn who_changes_her_mind_or_is_outvoted_contradicts_nobody() {
    let q = || ask(1, "How much is it?");
    let alone = ask(2, "How much is it?").say("a", fix("6"));
    let two = |text: &str| q().say("a", fix("It is 5.")).say("b", fix(text));
    for rows in [
        vec![q().say("a", fix("5")).say("a", fix("6"))],
        vec![q().say("a", fix("5")), alone],
        vec![two("it  is 5.")],
        vec![two("6").say("c", fix("It is 5."))],
        vec![two("6").say("b", good()).say("c", bad())],
        vec![two("6").say("c", Signal::Discard)],
    ] {
        assert_eq!(waiting(&rows), [], "{rows:?}");
    }
    assert_eq!(waiting(&[two("6").say("c", fix("7"))]).len(), 1);
    let half = two("6").say("c", fix("It is 5.")).say("d", fix("6"));
    assert_eq!(waiting(&[half]).len(), 1, "half of them is no majority");
}
