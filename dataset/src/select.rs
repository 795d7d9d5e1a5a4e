//! Which interactions teach, and what.
//!
//! Each source (a person, as far as the app names her) has one say about an answer: its latest, and
//! none over another's. A correction teaches the corrected answer; a good vote of whoever asked keeps
//! the served one; a bad vote without a correction, and a dispute that nobody wins, wait for a person.

use std::collections::{BTreeMap, BTreeSet};

use hone_api::InteractionId;
use hone_api::chat::tool::{with_calls, written_calls};
use hone_api::chat::{Message, Tool, ToolCall};
use hone_api::check::Check;
use hone_api::feedback::{Feedback, Signal};
use hone_api::interaction::Interaction;
use serde::{Deserialize, Serialize};

use crate::example::Kind;
use crate::normalised::normalised;
use crate::waiting::{Waiting, WaitingReason};

/// One interaction with all feedback for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// The answered request.
    pub interaction: Interaction,
    /// What was said of the answer, in any order.
    pub feedback: Vec<Feedback>,
}

/// Why a row is not in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The client asked that it should not teach.
    NotTrainable,
    /// Its text was not kept.
    NoText,
    /// Only comments.
    NoVerdict,
    /// A person put it aside.
    Discarded,
    /// As many sources call it good as bad, and nobody corrected it.
    VotesTied,
    /// Only sources that did not ask call it good.
    OthersLike,
    /// The correction is blank.
    EmptyDemonstration,
    /// The good answer was cut off, so it would teach never to stop.
    CutOff,
    /// Several answers were given and the vote does not say which is meant.
    SeveralAnswers,
    /// The tag `check` does not hold a check that can be run.
    InvalidCheck,
    /// The same prompt, answered again; a correction is kept before a vote, the newest before older.
    ExactDuplicate,
    /// Nearly the same prompt with the same numbers and the same answer.
    NearDuplicate,
    /// Sources differ about what is right, and none of their answers has the majority.
    Contradiction,
    /// Another answer to the same prompt has more sources, or is what its source said on a later day.
    Outvoted,
    /// Its source sent far more than the others.
    SourceOverCap,
    /// The base and a control say otherwise, and this was said once.
    ContradictsBase,
    /// More rows than `max_rows`; the newest stay.
    OverMaxRows,
    /// A good answer that the replay ratio leaves no room for.
    SpareReplay,
}

/// A row on its way to become an [`crate::Example`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: InteractionId,
    pub(crate) kind: Kind,
    pub(crate) family: String,
    pub(crate) prompt: Vec<Message>,
    pub(crate) answer: String,
    /// The calls that the answer asks for.
    pub(crate) calls: Vec<ToolCall>,
    /// What the model was told of.
    pub(crate) tools: Vec<Tool>,
    /// What was served in the place of a correction.
    pub(crate) rejected: Option<String>,
    pub(crate) check: Option<Check>,
    /// Whose say it is; `None` for logs from before sources were kept.
    pub(crate) source: Option<String>,
    /// Who else gave the same correction.
    pub(crate) confirmed_by: Vec<Option<String>>,
    /// When it was said, in Unix milliseconds.
    pub(crate) said_at: i64,
    /// Whether the base answered, without an adapter.
    pub(crate) of_base: bool,
    /// How often the correction was given, by whomever.
    pub(crate) times_said: usize,
}

impl Row {
    /// The answer, its calls included, to be compared with others.
    pub(crate) fn said(&self) -> std::borrow::Cow<'_, str> {
        with_calls(&self.answer, &self.calls)
    }
}

/// What selection leaves.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// By interaction id.
    pub(crate) rows: Vec<Row>,
    /// What a person must look at, by id.
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) dropped: BTreeMap<Reason, usize>,
}

pub(crate) fn select(labelled: &[Labelled]) -> Selection {
    let mut selection = Selection::default();
    for row in labelled {
        match judge(row) {
            Ok(row) => selection.rows.push(row),
            Err(Not::Waits(reason)) => {
                selection.waiting.push(Waiting { id: row.interaction.id, reason });
            }
            Err(Not::Dropped(reason)) => *selection.dropped.entry(reason).or_default() += 1,
        }
    }
    selection.rows.sort_by_key(|row| row.id);
    selection.waiting.sort_by_key(|one| one.id);
    selection
}

/// Why an answer does not teach.
#[derive(Debug, Clone, Copy)]
enum Not {
    Waits(WaitingReason),
    Dropped(Reason),
}

fn judge(labelled: &Labelled) -> Result<Row, Not> {
    let interaction = &labelled.interaction;
    if !interaction.trainable {
        return Err(Not::Dropped(Reason::NotTrainable));
    }
    if interaction.messages.is_empty() {
        return Err(Not::Dropped(Reason::NoText));
    }
    let feedback = in_order(&labelled.feedback);
    let asker = interaction.source.as_deref();
    let opinions = Opinions::of(&feedback);
    let Settled { kind, answer, source, confirmed_by } = opinions.outcome(asker, interaction)?;
    // What others add to it changes neither its time nor how it is checked.
    let own: Vec<&Feedback> =
        feedback.iter().copied().filter(|item| item.source == source).collect();
    let said = own.iter().rev().find(|item| is_a_say(&item.signal));
    let said_at = said.map_or(interaction.created_at.0, |item| item.created_at.0);
    let check = match tag(&own, "check").map(Check::from_tag) {
        Some(Err(_)) => return Err(Not::Dropped(Reason::InvalidCheck)),
        Some(Ok(check)) => Some(check),
        None => None,
    };
    let rejected = served(interaction).ok().filter(|_| kind == Kind::Supervised);
    let times_said = times_said(&feedback, &answer);
    let (answer, calls) = match kind {
        Kind::Supervised => written_calls(&answer).unwrap_or((answer, Vec::new())),
        Kind::Replay | Kind::Rehearsal => {
            (answer, interaction.answers.first().map_or_else(Vec::new, |it| it.tool_calls.clone()))
        }
    };
    Ok(Row {
        id: interaction.id,
        kind,
        family: family(interaction, &feedback, kind),
        prompt: interaction.messages.clone(),
        answer,
        calls,
        tools: interaction.tools.clone(),
        rejected: rejected.map(|answer| with_calls(answer.text, answer.calls).into_owned()),
        check,
        source,
        confirmed_by,
        said_at,
        of_base: interaction.adapter_id.is_none(),
        times_said,
    })
}

/// Whether a signal says something of the answer, and is not a comment.
fn is_a_say(signal: &Signal) -> bool {
    matches!(signal, Signal::Demonstration(_) | Signal::Discard) || signal.vote().is_some()
}

/// How often a correction was given.
fn times_said(feedback: &[&Feedback], answer: &str) -> usize {
    let says = |item: &&&Feedback| matches!(&item.signal, Signal::Demonstration(text) if normalised(text) == normalised(answer));
    feedback.iter().filter(says).count()
}

fn in_order(feedback: &[Feedback]) -> Vec<&Feedback> {
    let mut feedback: Vec<&Feedback> = feedback.iter().collect();
    feedback.sort_by_key(|item| (item.created_at, item.id));
    feedback
}

/// What is right in the place of an answer that any source calls bad, as far as that is settled, and not
/// by a source whose corrections wait; `None` if nobody calls it bad.
pub(crate) fn called_bad(
    labelled: &Labelled,
    withheld: &BTreeSet<Option<&str>>,
) -> Option<Option<String>> {
    let opinions = Opinions::of(&in_order(&labelled.feedback));
    if opinions.votes(false) == 0 {
        return None;
    }
    let asker = labelled.interaction.source.as_deref();
    match opinions.outcome(asker, &labelled.interaction) {
        Ok(Settled { kind: Kind::Supervised, answer, source, .. }) => {
            Some(Some(answer).filter(|_| !withheld.contains(&source.as_deref())))
        }
        _ => Some(None),
    }
}

/// What the sources say of one answer.
#[derive(Debug, Default)]
struct Opinions<'a> {
    sources: BTreeMap<Option<&'a str>, Say<'a>>,
    /// Who put the answer aside after the last correction.
    discarded: Option<Option<&'a str>>,
}

/// The latest say of one source.
#[derive(Debug, Default)]
struct Say<'a> {
    good: Option<bool>,
    /// Its latest correction that it did not withdraw.
    demonstration: Option<&'a str>,
    /// Its place among all that was said.
    at: usize,
}

/// What becomes of an answer.
struct Settled {
    kind: Kind,
    answer: String,
    /// Whose say it is.
    source: Option<String>,
    /// Who else says so.
    confirmed_by: Vec<Option<String>>,
}

/// Sources that give the same correction: the asker first, then who gave it first.
struct Agreed<'a> {
    text: &'a str,
    sources: Vec<Option<&'a str>>,
}

impl<'a> Opinions<'a> {
    /// `feedback` in order of time.
    fn of(feedback: &[&'a Feedback]) -> Self {
        let mut opinions = Self::default();
        for (at, item) in feedback.iter().enumerate() {
            let say = opinions.sources.entry(item.source.as_deref()).or_default();
            match &item.signal {
                // Whoever corrects an answer does not call it good.
                Signal::Demonstration(text) => {
                    *say = Say { good: Some(false), demonstration: Some(text), at };
                    opinions.discarded = None;
                }
                Signal::Discard => {
                    say.demonstration = None;
                    opinions.discarded = Some(item.source.as_deref());
                }
                signal => match signal.vote() {
                    // The source changed its mind: the served answer was good after all.
                    Some(true) => *say = Say { good: Some(true), demonstration: None, at },
                    Some(false) => say.good = Some(false),
                    None => {}
                },
            }
        }
        opinions
    }

    fn votes(&self, wanted: bool) -> usize {
        self.sources.values().filter(|say| say.good == Some(wanted)).count()
    }

    fn outcome(&self, asker: Option<&str>, interaction: &Interaction) -> Result<Settled, Not> {
        // To put an answer aside ends its waiting. It is no say over another's correction, and none over
        // what the asker likes.
        let discard = |verdict| match (self.discarded, verdict) {
            (Some(_), Not::Waits(_)) => Not::Dropped(Reason::Discarded),
            (_, verdict) => verdict,
        };
        if let Some(by) = self.discarded {
            let mut others = self.sources.iter().filter(|(source, _)| **source != by);
            let asker_likes = self.sources.get(&asker).is_some_and(|say| say.good == Some(true));
            let others_need_it = asker_likes || others.any(|(_, say)| say.demonstration.is_some());
            if by == asker || !others_need_it {
                return Err(Not::Dropped(Reason::Discarded));
            }
        }
        self.settled(asker, interaction).map_err(discard)
    }

    fn settled(&self, asker: Option<&str>, interaction: &Interaction) -> Result<Settled, Not> {
        let (good, bad) = (self.votes(true), self.votes(false));
        let own = self.sources.get(&asker);
        if let Some(Agreed { text, sources }) = self.demonstration(asker)? {
            // One vote against a correction is one opinion against another; more are a dispute.
            if good > sources.len() && own.is_none_or(|say| say.demonstration.is_none()) {
                return Err(Not::Waits(WaitingReason::Contradiction));
            }
            if text.trim().is_empty() {
                return Err(Not::Dropped(Reason::EmptyDemonstration));
            }
            let mut sources = sources.into_iter().map(|source| source.map(str::to_owned));
            return Ok(Settled {
                kind: Kind::Supervised,
                answer: text.to_owned(),
                source: sources.next().flatten(),
                confirmed_by: sources.collect(),
            });
        }
        let asker_says = own.and_then(|say| say.good);
        match good.cmp(&bad) {
            std::cmp::Ordering::Less => Err(Not::Waits(WaitingReason::NoCorrection)),
            std::cmp::Ordering::Equal if good == 0 => Err(Not::Dropped(Reason::NoVerdict)),
            // Whoever asked knows best; without her word a tie says nothing.
            std::cmp::Ordering::Equal if asker_says == Some(false) => {
                Err(Not::Waits(WaitingReason::NoCorrection))
            }
            std::cmp::Ordering::Equal if asker_says.is_none() => {
                Err(Not::Dropped(Reason::VotesTied))
            }
            _ if asker.is_some() && asker_says.is_none() && good < 2 => {
                Err(Not::Dropped(Reason::OthersLike))
            }
            _ => match served(interaction) {
                Ok(Served { text, .. }) => Ok(Settled {
                    kind: Kind::Replay,
                    answer: text.to_owned(),
                    source: asker.map(str::to_owned),
                    confirmed_by: Vec::new(),
                }),
                Err(reason) => Err(Not::Dropped(reason)),
            },
        }
    }

    /// The correction that counts: the one of most sources, and of several with equally many the asker's
    /// own.
    fn demonstration(&self, asker: Option<&str>) -> Result<Option<Agreed<'a>>, Not> {
        let mut given: Vec<(Option<&'a str>, &'a str, usize)> = Vec::new();
        for (source, say) in &self.sources {
            given.extend(say.demonstration.map(|text| (*source, text, say.at)));
        }
        given.sort_by_key(|(source, _, at)| (*source != asker, *at));
        let mut groups: BTreeMap<String, Agreed<'a>> = BTreeMap::new();
        for (source, text, _) in given {
            let group = groups.entry(normalised(text));
            group.or_insert(Agreed { text, sources: Vec::new() }).sources.push(source);
        }
        let most = groups.values().map(|group| group.sources.len()).max().unwrap_or(0);
        let mut leading: Vec<Agreed<'a>> =
            groups.into_values().filter(|group| group.sources.len() == most).collect();
        if leading.len() > 1 {
            leading.retain(|group| group.sources[0] == asker);
            if leading.is_empty() {
                return Err(Not::Waits(WaitingReason::Contradiction));
            }
        }
        Ok(leading.pop())
    }
}

/// An answer as it was served.
pub(crate) struct Served<'a> {
    pub(crate) text: &'a str,
    pub(crate) calls: &'a [ToolCall],
}

/// The answer as it was served, if it is whole and the only one.
pub(crate) fn served(interaction: &Interaction) -> Result<Served<'_>, Reason> {
    let [answer] = interaction.answers.as_slice() else {
        return Err(Reason::SeveralAnswers);
    };
    let calls = answer.tool_calls.as_slice();
    match &answer.text {
        _ if !answer.finish_reason.is_whole() => Err(Reason::CutOff),
        Some(text) if !text.trim().is_empty() || !calls.is_empty() => Ok(Served { text, calls }),
        _ => Err(Reason::NoText),
    }
}

/// The family of corrections that nobody tagged.
pub const UNTAGGED: &str = "feedback";

fn family(interaction: &Interaction, feedback: &[&Feedback], kind: Kind) -> String {
    let named = tag(feedback, "family").or(interaction.metadata.get("family").map(String::as_str));
    match named.map(str::trim) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ if kind == Kind::Supervised => UNTAGGED.to_owned(),
        _ => "replay".to_owned(),
    }
}

/// The latest value of a tag. `feedback` in order of time.
fn tag<'a>(feedback: &[&'a Feedback], name: &str) -> Option<&'a str> {
    feedback.iter().rev().find_map(|item| item.tags.get(name)).map(String::as_str)
}
