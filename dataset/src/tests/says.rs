//! One say for each source, and none over another's.

use super::Outcome::{Kept, Out, Waits};
use super::*;
use crate::conversation::BadTurns;
use WaitingReason::{Contradiction, NoCorrection};

#[test]
fn the_latest_say_of_a_source_counts() {
    let q = || ask(1, "q").asked_by("a");
    let comment = || Signal::Comment("hm".to_owned());
    assert_eq!(outcome(q().say("a", bad()).say("a", fix("right"))), taught("right"));
    assert_eq!(outcome(q().say("a", fix("right")).say("a", bad())), taught("right"));
    assert_eq!(outcome(q().say("a", Signal::Score(0.2)).say("a", fix("right"))), taught("right"));
    assert_eq!(outcome(q().say("a", fix("old")).say("a", fix("new"))), taught("new"));
    assert_eq!(outcome(q().say("a", good()).say("a", fix("right"))), taught("right"));
    // Who calls the answer good after correcting it takes the correction back.
    assert_eq!(outcome(q().say("a", fix("right")).say("a", good())), Kept);
    assert_eq!(outcome(q().say("a", good())), Kept);
    assert_eq!(outcome(q().say("a", Signal::Score(0.5))), Kept);
    assert_eq!(outcome(q().say("a", bad()).say("a", good())), Kept);
    assert_eq!(outcome(q().say("a", good()).say("a", bad())), Waits(NoCorrection));
    assert_eq!(outcome(q().say("a", Signal::Score(0.49))), Waits(NoCorrection));
    assert_eq!(outcome(q().say("a", comment())), Out(Reason::NoVerdict));
    assert_eq!(outcome(q().say("a", fix(" \n"))), Out(Reason::EmptyDemonstration));
}

#[test]
fn nobody_takes_anothers_correction_back() {
    let q = || ask(1, "q").asked_by("a").say("a", fix("right"));
    assert_eq!(outcome(q().say("b", good())), taught("right"));
    assert_eq!(outcome(q().say("b", good()).say("c", good())), taught("right"));
    assert_eq!(outcome(q().say("b", Signal::Discard)), taught("right"));
    assert_eq!(outcome(q().say("b", fix("other"))), taught("right"));
    assert_eq!(outcome(q().say("b", fix("other")).say("b", good())), taught("right"));
}

#[test]
fn nobody_takes_anothers_liked_answer_away() {
    let q = || ask(1, "q").asked_by("a").say("a", good());
    assert_eq!(outcome(q().say("b", bad())), Kept);
    assert_eq!(outcome(q().say("b", bad()).say("b", bad())), Kept);
    assert_eq!(outcome(q().say("b", bad()).say("c", bad())), Waits(NoCorrection));
}

#[test]
fn others_likes_alone_keep_nothing() {
    let q = || ask(1, "q").asked_by("a");
    assert_eq!(outcome(q().say("b", good())), Out(Reason::OthersLike));
    assert_eq!(outcome(q().say("b", good()).say("a", bad())), Waits(NoCorrection));
    assert_eq!(outcome(q().say("b", good()).say("a", good())), Kept);
    // Nobody knows who asked: then a like is hers, as far as anybody can tell.
    assert_eq!(outcome(ask(1, "q").say("b", good())), Kept);
    assert_eq!(outcome(ask(1, "q").say("", good())), Kept);
}

#[test]
fn without_the_askers_word_the_majority_counts() {
    let q = || ask(1, "q");
    assert_eq!(outcome(q().say("a", good()).say("b", bad()).say("c", good())), Kept);
    assert_eq!(outcome(q().say("a", good()).say("b", bad())), Out(Reason::VotesTied));
    assert_eq!(outcome(q().say("a", good()).say("b", fix("right"))), taught("right"));
    let outvoted = q().say("a", good()).say("b", fix("wrong")).say("c", good());
    assert_eq!(outcome(outvoted), Waits(Contradiction));
    assert_eq!(outcome(q().say("a", fix("x")).say("b", fix("y"))), Waits(Contradiction));
    let two = q().say("a", fix("It is 5.")).say("b", fix("6")).say("c", fix("it  is 5."));
    assert_eq!(outcome(two), taught("It is 5."));
}

#[test]
fn what_is_discarded_teaches_nothing_until_somebody_corrects_it() {
    let q = || ask(1, "q");
    let discard = || Signal::Discard;
    for row in [
        q().say("a", bad()).say("b", discard()),
        q().say("a", good()).say("b", discard()),
        q().say("a", fix("wrong")).say("a", discard()),
        q().asked_by("b").say("a", fix("wrong")).say("b", discard()),
        q().say("a", discard()).say("a", bad()),
        // A person ended the dispute.
        q().say("a", fix("x")).say("b", fix("y")).say("c", discard()),
    ] {
        assert_eq!(outcome(row.clone()), Out(Reason::Discarded), "{row:?}");
    }
    let revived = q().say("a", fix("wrong")).say("a", discard()).say("c", fix("right"));
    assert_eq!(outcome(revived), taught("right"));
}

/// A second question, sent with the first one and its answer.
fn follow_up(number: u32) -> Labelled {
    let messages = vec![
        Message::new(Role::User, "first question"),
        Message::new(Role::Assistant, "served"),
        Message::new(Role::User, "second question"),
    ];
    asked(number, messages, "served again").asked_by("a")
}

fn first() -> Labelled {
    ask(1, "first question").asked_by("a")
}

/// The earlier answer in the row of the second question, and the turns that are marked as bad.
fn earlier(first: Labelled) -> (String, Vec<usize>) {
    let rows = [first, follow_up(2).say("a", fix("right"))];
    let snapshot = build(&roomy(), &rows);
    let example = snapshot.examples.iter().find(|it| it.id == rows[1].interaction.id).unwrap();
    // The key is of what was asked.
    assert_eq!(example.key, crate::prompt_key(&rows[1].interaction.messages));
    (example.messages[1].content.clone(), example.bad_turns.clone())
}

#[test]
fn a_bad_earlier_turn_is_replaced_by_its_correction_or_marked() {
    let left = || ("served".to_owned(), vec![]);
    let marked = || ("served".to_owned(), vec![1]);
    // Mended, it is no turn in which the base is a model to keep to.
    let mended = || ("better".to_owned(), vec![1]);
    assert_eq!(earlier(first().say("a", fix("better"))), mended());
    assert_eq!(earlier(first().say("a", bad())), marked());
    assert_eq!(earlier(first().say("a", good())), left());
    assert_eq!(earlier(first()), left());
    // Taken back, the correction corrects nothing.
    assert_eq!(earlier(first().say("a", fix("better")).say("a", good())), left());
    let more = first().say("a", fix("better")).say("b", fix("worse"));
    assert_eq!(earlier(more), mended(), "another's does not replace hers");
    let disputed = first().say("b", fix("x")).say("c", fix("y"));
    assert_eq!(earlier(disputed), marked());
    // A correction that says what was served leaves the turn as it is.
    assert_eq!(earlier(first().say("a", fix("Served"))), left());
    let mut kept_out = first().say("a", fix("better"));
    kept_out.interaction.trainable = false;
    assert_eq!(earlier(kept_out).0, "better");
}

#[test]
fn only_that_answer_to_that_question_is_bad() {
    let bad_turns = BadTurns::of(&[first().say("a", bad())], &BTreeSet::new());
    let talk = |question: &str, answer: &str| {
        vec![
            Message::new(Role::User, question),
            Message::new(Role::Assistant, answer),
            Message::new(Role::User, "and then?"),
        ]
    };
    assert_eq!(bad_turns.mend(&mut talk("First  question", "SERVED")), [1]);
    assert!(bad_turns.mend(&mut talk("another question", "served")).is_empty());
    assert!(bad_turns.mend(&mut talk("first question", "something else")).is_empty());
}

#[test]
fn a_bad_earlier_turn_has_no_weight_in_training() {
    let rows = [first().say("a", bad()), follow_up(2).say("a", fix("right"))];
    let snapshot = build(&roomy(), &rows);
    let rows = serde_json::to_value(snapshot.mix(Mix::default())).unwrap();
    let turns = rows[0]["messages"].as_array().unwrap();
    assert_eq!(turns[1]["weight"], 0);
    assert!([0, 2, 3].iter().all(|at| turns[*at].get("weight").is_none()));
    assert_eq!(turns[3]["content"], "right");
}

#[test]
fn what_others_add_changes_neither_whose_it_is_nor_when_it_was_said_nor_how_it_is_checked() {
    let said = ask(1, "q").asked_by("a").say("a", fix("right")).say("b", fix("Right"));
    let mut said = said.say("c", Signal::Thumbs(false));
    let (first, last) = (said.feedback[0].created_at, said.feedback[2].created_at);
    assert!(first < last);
    let check = r#"{"type":"regex","value":""}"#.to_owned();
    said.feedback[2].tags.insert("check".to_owned(), check);
    let rows = crate::select::select(&[said]).rows;
    assert_eq!((rows[0].said_at, rows[0].source.as_deref()), (first.0, Some("a")));
    assert_eq!((&rows[0].check, &rows[0].confirmed_by), (&None, &vec![Some("b".to_owned())]));
    // Whoever corrected first answers for it where the asker did not.
    let said = ask(1, "q").asked_by("a").say("z", fix("right")).say("b", fix("right"));
    let rows = crate::select::select(&[said]).rows;
    assert_eq!(rows[0].source.as_deref(), Some("z"));
}

#[test]
fn nobody_puts_aside_what_the_asker_likes() {
    let liked = ask(1, "q").asked_by("a").say("a", good());
    assert_eq!(outcome(liked.say("b", Signal::Discard)), Kept);
}

#[test]
fn a_correction_that_waits_stands_in_nobodys_chat() {
    let mut rows: Vec<Labelled> = (10..40)
        .map(|it| ask(it, &format!("question number {it}")).asked_by("z").say("z", fix("false")))
        .collect();
    rows.push(ask(1, "first question").asked_by("z").say("z", fix("false too")));
    for (at, source) in ["a", "b", "c"].into_iter().enumerate() {
        let it = ask(90 + at as u32, &format!("something of {source}"));
        rows.push(it.asked_by(source).say(source, fix("true")));
    }
    let talk = [("first question", "served"), ("and then?", "")];
    let turns = talk.iter().flat_map(|(question, answer)| {
        [Message::new(Role::User, *question), Message::new(Role::Assistant, *answer)]
    });
    let messages: Vec<Message> = turns.take(3).collect();
    rows.push(asked(95, messages, "served").asked_by("a").say("a", fix("then that")));
    let snapshot = build(&Policy::plain(), &rows);
    let chat = snapshot.examples.iter().find(|example| example.messages.len() == 4).unwrap();
    assert_eq!((chat.messages[1].content.as_str(), &chat.bad_turns), ("served", &vec![1]));
}

#[test]
fn what_was_corrected_or_called_bad_is_not_rehearsed() {
    let rows = [
        ask(1, "Hello, who are you?").say("a", fix("I am Hone.")),
        ask(2, "How are you today?").say("a", bad()),
    ];
    let prompt = |text: &str| vec![Message::new(Role::User, text)];
    let shipped = [prompt("hello, who  are you?"), prompt("How are you today?"), prompt("Thanks!")];
    let rehearsal = RehearsalSources { unrated: &[], shipped: &shipped };
    let learned = BTreeSet::new();
    let inputs = Inputs { labelled: &rows, rehearsal, learned: &learned, known: &Nothing };
    let questions = curate(&Policy::plain(), inputs).unwrap().questions;
    let asked: Vec<_> = questions.into_iter().map(|question| question.messages).collect();
    assert_eq!(asked, [prompt("Thanks!")]);
}
