//! From a snapshot to the rows of one training run.
//!
//! Few corrections are repeated, so that the run has steps enough to learn them, and stand beside
//! enough rehearsal that nothing else moves. What is rehearsed changes from pass to pass: other
//! questions watch more than the same ones again.

use std::collections::BTreeSet;

use hone_api::chat::{Message, Role, Tool, ToolCall};
use serde::{Deserialize, Serialize};

use crate::example::{Example, Kind};
use crate::snapshot::Snapshot;
use crate::variants::wordings;

/// Taught rows that a pass should have, by repetition where there are fewer.
const TAUGHT: usize = 240;
/// A correction is repeated so often at most: more teaches its words, not its content.
const MOST_REPEATS: usize = 8;
/// What an adapter was taught before is shown so often at most, where a run goes on from it.
const TO_KEEP: usize = 2;
/// Corrections that are more than a pass should have are shown in so many passes for each three: each is shown but once
/// in a pass, and other words are what it lacks.
const PASSES_OF_MANY: usize = 5;
/// Rows that keep, at least: fewer leave something unwatched.
const KEEPING: f64 = 200.0;
/// Rows that keep, for each row shown.
const BESIDE: f64 = 1.2;
/// Passes that rehearse questions of their own, where there are enough.
pub const PASSES: usize = 3;

/// A shorter question ("And the second one?") may mean nothing without its chat.
const ENOUGH_WORDS: usize = 6;

/// Whose distribution a row keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Teacher {
    /// The adapter's that the run keeps; where it keeps none, the base's.
    #[default]
    Kept,
    /// The bare base's.
    Base,
}

/// What a run trains on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// Leave out the rows of this fold, and what is like them.
    pub without_fold: Option<usize>,
    /// Times the usual rows that keep.
    pub rehearsal: f64,
    /// The run goes on from the adapter that was taught the older corrections: these are shown as often
    /// as it takes to keep them.
    pub goes_on: bool,
    /// Older corrections keep, beside their text, what the adapter that the run goes on from makes of them, in all their
    /// wordings.
    pub keeps: bool,
    /// What is rehearsed or liked keeps the base's distribution, also where older corrections keep an adapter's.
    pub rehearses_base: bool,
    /// A correction is shown as often as in a run without a fold left out, and not more often because there are fewer.
    pub as_of_all: bool,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            without_fold: None,
            rehearsal: 1.0,
            goes_on: false,
            keeps: false,
            rehearses_base: false,
            as_of_all: false,
        }
    }
}

/// A row as the trainer reads it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainRow<'a> {
    kind: Kind,
    split: &'static str,
    /// Whose distribution it keeps, if it keeps one.
    #[serde(skip_serializing_if = "is_kept")]
    teacher: Teacher,
    /// How often it is shown in a pass.
    #[serde(skip_serializing_if = "is_once")]
    showings: usize,
    messages: Vec<TrainTurn<'a>>,
    #[serde(skip_serializing_if = "<[Tool]>::is_empty")]
    tools: &'a [Tool],
    /// Its question as others would put it, shown in turn after its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    wordings: Vec<String>,
    /// What is rehearsed in its place in later passes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alternates: Vec<Vec<TrainTurn<'a>>>,
}

fn is_kept(teacher: &Teacher) -> bool {
    *teacher == Teacher::Kept
}

fn is_once(showings: &usize) -> bool {
    *showings == 1
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct TrainTurn<'a> {
    role: Role,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "<[ToolCall]>::is_empty")]
    tool_calls: &'a [ToolCall],
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    /// 0 for what was called bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u8>,
    /// An answer of the base that did not come to an end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unfinished: bool,
}

/// How often each of so many corrections is shown in a pass.
#[must_use]
pub fn repeats(corrections: usize) -> usize {
    (TAUGHT / corrections.max(1)).clamp(1, MOST_REPEATS)
}

/// How many passes so many corrections take, where `usual` ones are set.
#[must_use]
pub fn passes(corrections: usize, usual: usize) -> usize {
    if corrections > TAUGHT { (usual * PASSES_OF_MANY).div_ceil(PASSES) } else { usual }
}

/// How many rows that keep stand beside corrections that are shown so often in all.
#[must_use]
pub fn keeping(shown: usize, rehearsal: f64) -> usize {
    (((shown as f64) * BESIDE).max(KEEPING) * rehearsal).round() as usize
}

impl Snapshot {
    /// The rows of a run.
    #[must_use]
    pub fn mix(&self, mix: Mix) -> Vec<TrainRow<'_>> {
        let taught = self.taught(mix.without_fold);
        let counted = if mix.as_of_all { self.taught(None) } else { taught.clone() };
        let new = counted.iter().filter(|example| !example.older).count();
        let showings = |example: &Example| match mix.goes_on {
            true if example.older => repeats(counted.len()).min(TO_KEEP),
            true => repeats(new),
            false => repeats(counted.len()),
        };
        let shown: usize = taught.iter().map(|example| showings(example)).sum();
        let kind = |example: &Example| match mix.keeps && example.older {
            true => Kind::Replay,
            false => Kind::Supervised,
        };
        let mut rows: Vec<TrainRow<'_>> = Vec::new();
        for example in &taught {
            rows.extend(taught_rows(example, kind(example), showings(example)));
        }
        let keeping = keeping(shown, mix.rehearsal);
        let mut liked = self.beside(Kind::Replay, mix.without_fold);
        liked.truncate(keeping / 3);
        // What an adapter said and the base would not is taught, and watches nothing.
        let watching = liked.iter().filter(|example| example.of_base).count();
        let teacher = match mix.rehearses_base {
            true => Teacher::Base,
            false => Teacher::Kept,
        };
        rows.extend(liked.into_iter().map(|example| {
            // The base is a model for its own answers only.
            let kind = if example.of_base { Kind::Replay } else { Kind::Supervised };
            TrainRow { teacher, ..row_of(example, kind) }
        }));
        rows.extend(self.rehearsed(keeping - watching, teacher));
        rows
    }

    /// The corrections of a run that leaves out a fold.
    #[must_use]
    pub fn taught(&self, without_fold: Option<usize>) -> Vec<&Example> {
        self.beside(Kind::Supervised, without_fold)
    }

    /// The examples of a kind but for those of a fold, and for what is like them: it would give their answers away, if it is
    /// liked or older too.
    fn beside(&self, kind: Kind, fold: Option<usize>) -> Vec<&Example> {
        let is_judged = |example: &&Example| example.fold.is_some() && example.fold == fold;
        let judged: BTreeSet<usize> =
            self.examples.iter().filter(is_judged).map(|example| example.cluster).collect();
        let of_kind = self.examples.iter().filter(|example| example.kind == kind);
        of_kind.filter(|example| !judged.contains(&example.cluster)).collect()
    }

    /// So many rows that rehearse, each with conversations for the passes after the first.
    fn rehearsed(&self, rows: usize, teacher: Teacher) -> impl Iterator<Item = TrainRow<'_>> {
        let there = self.rehearsal.len();
        let passes = there.div_ceil(rows.max(1)).clamp(1, PASSES);
        (0..if there == 0 { 0 } else { rows }).map(move |row| {
            let mut shown = (0..passes).map(|pass| {
                let one = &self.rehearsal[(row * passes + pass) % there];
                let mut turns = turns(&one.messages, &one.bad_turns);
                if let Some(answer) = turns.last_mut() {
                    answer.unfinished = one.unfinished;
                }
                turns
            });
            TrainRow {
                kind: Kind::Rehearsal,
                split: "train",
                teacher,
                showings: 1,
                messages: shown.next().unwrap_or_default(),
                tools: &[],
                wordings: Vec::new(),
                alternates: shown.collect(),
            }
        })
    }
}

/// A correction, to be taught or kept, shown so often. In a chat that went on after an earlier correction the answers
/// before it are examples to copy from; so half of the time the question stands alone.
fn taught_rows(example: &Example, kind: Kind, showings: usize) -> Vec<TrainRow<'_>> {
    let mut row = row_of(example, kind);
    row.showings = showings;
    if let [.., question, answer] = example.messages.as_slice()
        && question.role == Role::User
    {
        row.wordings = wordings(&question.content, &answer.content);
        if !example.bad_turns.is_empty() && says_enough(&question.content) {
            let mut alone = row.clone();
            let system = alone.messages.iter().take_while(|turn| turn.role == Role::System).count();
            alone.messages.drain(system..example.messages.len() - 2);
            alone.showings = (showings / 2).max(1);
            row.showings = showings.div_ceil(2);
            return vec![row, alone];
        }
    }
    vec![row]
}

/// Whether a question can be understood without what was said before it.
fn says_enough(question: &str) -> bool {
    question.split_whitespace().count() >= ENOUGH_WORDS
}

fn row_of(example: &Example, kind: Kind) -> TrainRow<'_> {
    TrainRow {
        kind,
        split: "train",
        teacher: Teacher::Kept,
        showings: 1,
        messages: turns(&example.messages, &example.bad_turns),
        tools: &example.tools,
        wordings: Vec::new(),
        alternates: Vec::new(),
    }
}

fn turns<'a>(messages: &'a [Message], bad: &[usize]) -> Vec<TrainTurn<'a>> {
    let turn = |(at, message): (usize, &'a Message)| TrainTurn {
        role: message.role,
        content: &message.content,
        name: message.name.as_deref(),
        tool_calls: &message.tool_calls,
        tool_call_id: message.tool_call_id.as_deref(),
        weight: bad.contains(&at).then_some(0),
        unfinished: false,
    };
    messages.iter().enumerate().map(turn).collect()
}

#[cfg(test)]
mod tests {
    use hone_api::InteractionId;
    use hone_api::check::Check;

    use super::*;
    use crate::policy::Policy;
    use crate::rehearse::Rehearsal;
    use crate::snapshot::Ledger;

    #[test]
    fn few_corrections_are_shown_more_often() {
        assert_eq!([5, 10, 30, 60, 120, 400].map(repeats), [8, 8, 8, 4, 2, 1]);
        assert_eq!([40, 80, 240, 400].map(|n| keeping(n, 1.0)), [200, 200, 288, 480]);
        assert_eq!(repeats(0), 8);
    }

    /// The questions that rows rehearse, pass by pass.
    fn rehearsed(there: usize, rows: usize) -> Vec<Vec<String>> {
        let rehearsal = (0..there).map(|it| Rehearsal {
            id: None,
            messages: vec![Message::new(Role::User, it.to_string())],
            bad_turns: Vec::new(),
            unfinished: false,
        });
        let policy = Policy::plain();
        let snapshot =
            Snapshot::seal(&policy, Vec::new(), rehearsal.collect(), Ledger::default()).unwrap();
        let of = |row: TrainRow<'_>| {
            let turns = std::iter::once(row.messages).chain(row.alternates);
            turns.map(|turns| turns[0].content.to_owned()).collect()
        };
        snapshot.rehearsed(rows, Teacher::Kept).map(of).collect()
    }

    /// A correction in a chat of this many turns, of which the second was called bad or not.
    fn in_a_chat(question: &str, bad_turns: Vec<usize>) -> Example {
        let turn = |role, text: &str| Message::new(role, text);
        Example {
            id: InteractionId::new(),
            kind: Kind::Supervised,
            fold: None,
            older: false,
            cluster: 0,
            source: None,
            of_base: true,
            family: "feedback".to_owned(),
            tools: Vec::new(),
            messages: vec![
                turn(Role::System, "Be kind."),
                turn(Role::User, "How are you?"),
                turn(Role::Assistant, "Fine."),
                turn(Role::User, question),
                turn(Role::Assistant, "Seven."),
            ],
            rejected: None,
            bad_turns,
            check: Check::Exact("Seven.".to_owned()),
            key: String::new(),
        }
    }

    #[test]
    fn behind_an_earlier_correction_a_question_stands_alone_every_other_time() {
        let shown = |example: &Example, showings| -> Vec<(usize, usize)> {
            let rows = taught_rows(example, Kind::Supervised, showings);
            rows.iter().map(|row| (row.messages.len(), row.showings)).collect()
        };
        let question = "What do you get when you add three to four?";
        let goes_on = in_a_chat(question, vec![2]);
        assert_eq!(shown(&goes_on, 5), [(5, 3), (3, 2)]);
        assert_eq!(shown(&goes_on, 1), [(5, 1), (3, 1)]);
        let alone = &taught_rows(&goes_on, Kind::Supervised, 2)[1];
        assert_eq!([alone.messages[0].role, alone.messages[1].role], [Role::System, Role::User]);
        assert_eq!((alone.messages[1].content, alone.wordings.len()), (question, 7));
        assert_eq!(shown(&in_a_chat(question, vec![]), 5), [(5, 5)]);
        assert_eq!(
            shown(&in_a_chat("And for four?", vec![2]), 5),
            [(5, 5)],
            "not without its chat"
        );
    }

    #[test]
    fn a_run_that_goes_on_shows_what_is_new_and_keeps_what_is_older() {
        let example = |older| Example { older, ..in_a_chat("How much is three and four?", vec![]) };
        let examples = (0..50).map(|at| example(at < 40)).collect();
        let policy = Policy::plain();
        let snapshot = Snapshot::seal(&policy, examples, Vec::new(), Ledger::default()).unwrap();
        let shown = |goes_on| -> Vec<usize> {
            let rows = snapshot.mix(Mix { goes_on, ..Mix::default() });
            rows.iter().map(|row| row.showings).collect()
        };
        assert_eq!(shown(false), [4; 50]);
        let goes_on = shown(true);
        assert_eq!((goes_on.iter().filter(|it| **it == 2).count(), goes_on.len()), (40, 50));
        assert_eq!(goes_on.iter().filter(|it| **it == 8).count(), 10);

        let kept = snapshot.mix(Mix { goes_on: true, keeps: true, ..Mix::default() });
        let of = |kind| kept.iter().filter(|row| row.kind == kind).count();
        assert_eq!((of(Kind::Replay), of(Kind::Supervised)), (40, 10));
        assert!(kept.iter().all(|row| row.wordings.len() == 7), "in all their wordings");
    }

    #[test]
    fn rehearsal_may_keep_the_base_beside_corrections_that_keep_an_adapter() {
        let older = Example { older: true, ..in_a_chat("How much is three and four?", vec![]) };
        let liked = Example { kind: Kind::Replay, ..in_a_chat("Is it raining today?", vec![]) };
        let rehearsal = Rehearsal {
            id: None,
            messages: vec![Message::new(Role::User, "Good morning!")],
            bad_turns: Vec::new(),
            unfinished: false,
        };
        let policy = Policy::plain();
        let snapshot =
            Snapshot::seal(&policy, vec![older, liked], vec![rehearsal], Ledger::default())
                .unwrap();
        let keeps = |rehearses_base| {
            let mix = Mix { goes_on: true, keeps: true, rehearses_base, ..Mix::default() };
            let rows = snapshot.mix(mix);
            let of = |kind| -> Vec<Teacher> {
                rows.iter().filter(|row| row.kind == kind).map(|row| row.teacher).collect()
            };
            (of(Kind::Replay), of(Kind::Rehearsal)[0])
        };
        // The older correction, then what was liked.
        assert_eq!(keeps(true), (vec![Teacher::Kept, Teacher::Base], Teacher::Base));
        assert_eq!(keeps(false), (vec![Teacher::Kept, Teacher::Kept], Teacher::Kept));
    }

    #[test]
    fn an_answer_that_the_base_did_not_end_says_so() {
        let rehearsal = [false, true].map(|unfinished| Rehearsal {
            id: None,
            messages: vec![Message::new(Role::User, "Hm?"), Message::new(Role::Assistant, "Well")],
            bad_turns: Vec::new(),
            unfinished,
        });
        let snapshot =
            Snapshot::seal(&Policy::plain(), Vec::new(), rehearsal.into(), Ledger::default());
        let snapshot = snapshot.unwrap();
        let rows: Vec<TrainRow<'_>> = snapshot.rehearsed(1, Teacher::Base).collect();
        let turns = std::iter::once(&rows[0].messages).chain(&rows[0].alternates);
        let said: Vec<String> = turns.map(|it| serde_json::to_string(it).unwrap()).collect();
        let answer = r#"{"role":"assistant","content":"Well""#;
        assert!(said[0].ends_with(&format!("{answer}}}]")), "{}", said[0]);
        assert!(said[1].ends_with(&format!("{answer},\"unfinished\":true}}]")), "{}", said[1]);
    }

    #[test]
    fn who_judges_many_shows_each_as_often_as_the_candidate() {
        let question = |at| format!("How much is three and {at}?");
        let example =
            |at| Example { fold: Some(at % 2), cluster: at, ..in_a_chat(&question(at), vec![]) };
        let examples = (0..120).map(example).collect();
        let policy = Policy::plain();
        let snapshot = Snapshot::seal(&policy, examples, Vec::new(), Ledger::default()).unwrap();
        let shown = |as_of_all| -> Vec<usize> {
            let mix = Mix { without_fold: Some(1), as_of_all, ..Mix::default() };
            snapshot.mix(mix).iter().map(|row| row.showings).collect()
        };
        assert_eq!(shown(false), [4; 60]);
        assert_eq!(shown(true), [2; 60]);
    }

    #[test]
    fn many_corrections_take_more_passes() {
        assert_eq!([10, 240, 241, 400].map(|n| passes(n, 3)), [3, 3, 5, 5]);
        assert_eq!(passes(400, 1), 2);
    }

    #[test]
    fn each_pass_rehearses_other_questions_where_there_are_enough() {
        assert_eq!(rehearsed(7, 2), [["0", "1", "2"], ["3", "4", "5"]]);
        assert_eq!(rehearsed(4, 2), [["0", "1"], ["2", "3"]]);
        assert_eq!(rehearsed(3, 2), [["0", "1"], ["2", "0"]]);
        assert_eq!(rehearsed(2, 3), [["0"], ["1"], ["0"]]);
        assert!(rehearsed(0, 3).is_empty());
    }
}
