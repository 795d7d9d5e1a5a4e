//! Pure functions from interactions and feedback to an immutable, hashed snapshot.
//!
//! | module | step |
//! |---|---|
//! | `select` | what the sources say of an answer: corrections, good answers, what waits |
//! | `conversation` | which earlier turns were called bad |
//! | `redact` | personal data out, placeholders in |
//! | `infer_check` | how an answer is tested |
//! | `dedup` | same and similar prompts |
//! | `known` | what is right though nobody said so |
//! | `trust` | whose corrections may teach by themselves |
//! | `fold` | which rows judge an adapter that never saw them |
//! | `rehearse` | everyday questions that keep the model from forgetting |
//! | `snapshot` | the rows and their manifest, named by their hash |
//! | `mix` | the rows of one training run |
//! | `erase` | rows that a person wants gone |
//!
//! `waiting` lists what a person must look at, `lines` reads files of rows that people bring.
//!
//! Nothing here looks at a clock or at the order of its input: the same rows give the same bytes.

#![forbid(unsafe_code)]

mod agreement;
mod asked;
mod conversation;
mod dedup;
pub mod erase;
mod erased;
mod error;
mod example;
mod fold;
mod form;
mod infer_check;
mod known;
pub mod lines;
pub mod mix;
mod normalised;
mod policy;
mod rank;
pub mod redact;
mod rehearse;
mod select;
mod snapshot;
mod trust;
mod variants;
mod waiting;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use conversation::BadTurns;
pub use dedup::prompt_key;
pub use error::{Error, Result};
pub use example::{Example, Kind};
pub use fold::FEWEST_JUDGED;
pub use infer_check::{infer_check, is_result};
pub use known::{Known, Nothing};
pub use mix::{Mix, Teacher};
pub use policy::Policy;
pub use rehearse::{Rehearsal, RehearsalSources};
pub use select::{Labelled, Reason, UNTAGGED};
pub use snapshot::{Snapshot, SnapshotManifest};
pub use waiting::{Waiting, WaitingReason};

use asked::asked_key;
use dedup::{Fingerprint, Prompt};
use fold::{Member, Plan};
use form::is_about_form;
use hone_api::chat::{Message, Role};
use hone_api::check::Check;
use normalised::normalised;
use redact::Entity;
use rehearse::Choice;
use select::Row;
use snapshot::Ledger;
use trust::{Claim, Ruling};

/// What a snapshot is made from.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Answers that something was said about. The caller chooses which endpoints teach; a raw
    /// completion is learnt as one turn of a chat.
    pub labelled: &'a [Labelled],
    /// Where rehearsal comes from.
    pub rehearsal: RehearsalSources<'a>,
    /// The [`Example::lesson`]s that the adapter that serves was trained on.
    pub learned: &'a BTreeSet<String>,
    /// What is right though nobody said so.
    pub known: &'a dyn Known,
}

/// A snapshot whose rehearsal the base has not answered yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Curated {
    policy: Policy,
    /// The rows.
    pub examples: Vec<Example>,
    /// Questions to the base.
    pub questions: Vec<Rehearsal>,
    ledger: Ledger,
}

impl Curated {
    /// Closes the snapshot over the base's answers: the [`Curated::questions`] with one more turn.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub fn seal(self, rehearsal: Vec<Rehearsal>) -> Result<Snapshot> {
        Snapshot::seal(&self.policy, self.examples, rehearsal, self.ledger)
    }
}

/// Chooses the rows of a cycle's snapshot.
///
/// # Errors
/// [`Error::Policy`] if a setting is out of range.
pub fn curate(policy: &Policy, inputs: Inputs<'_>) -> Result<Curated> {
    policy.check()?;
    let selection = select::select(inputs.labelled);
    let voices = voices(inputs.labelled);
    let corrections = selection.rows.iter().filter(|row| row.kind == Kind::Supervised);
    let heavy = trust::too_heavy(corrections.map(|row| row.source.as_deref()), &voices);
    let bad = BadTurns::of(inputs.labelled, &heavy);
    let mut ledger =
        Ledger { waiting: selection.waiting, dropped: selection.dropped, ..Ledger::default() };

    let mut drafts: Vec<Draft> = selection
        .rows
        .into_iter()
        .map(|row| Draft::of(policy, &bad, row, &mut ledger.redacted))
        .collect();
    // The order of preference among duplicates: corrections first, then the newest.
    drafts.sort_by_key(|draft| (draft.row.kind, Reverse(draft.row.said_at), Reverse(draft.row.id)));
    let clusters = clusters(policy, &drafts);
    ledger.clusters = clusters.iter().collect::<BTreeSet<_>>().len();

    ledger.sources = voices.len();
    hold_what_contradicts_the_base(&mut drafts, inputs.known, &mut ledger);
    rule(&mut drafts, &clusters, &voices, &mut ledger);
    mark_copies(&mut drafts);
    mark_near_copies(policy, &mut drafts);
    limit_rows(policy, &mut drafts);
    balance_replay(policy, &mut drafts);

    for reason in drafts.iter().filter_map(|draft| draft.out) {
        *ledger.dropped.entry(reason).or_default() += 1;
    }
    let kept = drafts.into_iter().zip(clusters).filter(|(draft, _)| draft.out.is_none());
    let mut examples: Vec<Example> =
        kept.map(|(draft, cluster)| draft.example(cluster, inputs.learned)).collect();
    examples.sort_by_key(|example| example.id);
    into_folds(policy, &mut examples);

    let supervised = || examples.iter().filter(|example| example.kind == Kind::Supervised);
    let pairs = supervised().filter_map(|it| Some((it.rejected.as_deref()?, it.reference())));
    let corrected: Vec<&[Message]> = supervised().map(Example::prompt).collect();
    let shown = corrected.len() * mix::repeats(corrected.len());
    let choice = Choice {
        wanted: mix::PASSES * mix::keeping(shown, 1.0),
        seed: policy.seed,
        redact: policy.redact,
        about_form: is_about_form(pairs),
    };
    let questions = rehearse::choose(inputs.rehearsal, &corrected, &bad, choice);
    Ok(Curated { policy: policy.clone(), examples, questions, ledger })
}

/// Everyone who said something.
fn voices(labelled: &[Labelled]) -> BTreeSet<Option<&str>> {
    let feedback = labelled.iter().flat_map(|row| &row.feedback);
    feedback.map(|item| item.source.as_deref()).collect()
}

/// Everything that a person must look at, newest last: bad answers that nobody corrected, disputes,
/// and what came from a source that sent far more than the others.
///
/// # Errors
/// As [`curate`].
pub fn waiting(policy: &Policy, labelled: &[Labelled], known: &dyn Known) -> Result<Vec<Waiting>> {
    let rehearsal = RehearsalSources { unrated: &[], shipped: &[] };
    let inputs = Inputs { labelled, rehearsal, learned: &BTreeSet::new(), known };
    Ok(curate(policy, inputs)?.ledger.waiting)
}

/// A row with what the steps add to it.
struct Draft {
    row: Row,
    /// The answer, its calls included.
    said: String,
    /// Of the prompt as it was asked, before redaction: the ledger must know it under any policy.
    key: String,
    /// Of the prompt as it would train.
    fingerprint: Fingerprint,
    same: String,
    /// Of the question that is asked.
    asked: String,
    bad_turns: Vec<usize>,
    out: Option<Reason>,
}

impl Draft {
    fn of(
        policy: &Policy,
        bad: &BadTurns,
        mut row: Row,
        redacted: &mut BTreeMap<Entity, usize>,
    ) -> Self {
        let key = prompt_key(&row.prompt);
        let bad_turns = bad.mend(&mut row.prompt);
        if policy.redact {
            let texts = row.prompt.iter_mut().flat_map(Message::texts);
            let calls = row.calls.iter_mut().map(|call| &mut call.function.arguments);
            let answers = std::iter::once(&mut row.answer).chain(calls).chain(&mut row.rejected);
            for text in texts.chain(answers).chain([&mut row.family]) {
                let clean = redact::redact(text);
                for (entity, count) in clean.counts {
                    *redacted.entry(entity).or_default() += count;
                }
                *text = clean.text;
            }
            row.check = row.check.and_then(infer_check::redacted);
        }
        let same = prompt_key(&row.prompt);
        // Good answers to one question may differ.
        let asked = match row.kind {
            Kind::Supervised => asked_key(&row.prompt),
            Kind::Replay | Kind::Rehearsal => same.clone(),
        };
        let fingerprint = Fingerprint::of(&row.prompt);
        let said = row.said().into_owned();
        Self { row, said, key, fingerprint, same, asked, bad_turns, out: None }
    }

    fn example(self, cluster: usize, learned: &BTreeSet<String>) -> Example {
        let Row { id, kind, family, mut prompt, answer, calls, tools, .. } = self.row;
        let Row { rejected, check, source, of_base, .. } = self.row;
        let check = check.unwrap_or_else(|| match calls.first() {
            Some(call) => Check::Contains(call.function.name.clone()),
            None => infer_check(&answer),
        });
        prompt.push(Message { tool_calls: calls, ..Message::new(Role::Assistant, answer) });
        let mut example = Example {
            id,
            kind,
            fold: None,
            older: false,
            cluster,
            source,
            of_base,
            family,
            messages: prompt,
            tools,
            rejected,
            bad_turns: self.bad_turns,
            check,
            key: self.key,
        };
        example.older = learned.contains(&example.lesson());
        example
    }
}

/// Groups similar prompts; returns the cluster of each draft.
fn clusters(policy: &Policy, drafts: &[Draft]) -> Vec<usize> {
    // Drafts with the same prompt share one fingerprint, so the costly comparison sees each once.
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut unique: Vec<usize> = Vec::new();
    let mut same_as: Vec<usize> = Vec::with_capacity(drafts.len());
    for (position, draft) in drafts.iter().enumerate() {
        let slot = *first.entry(&draft.same).or_insert_with(|| {
            unique.push(position);
            unique.len() - 1
        });
        same_as.push(slot);
    }
    let groups = groups(policy, drafts, &unique);
    same_as.into_iter().map(|slot| groups.cluster[slot]).collect()
}

fn groups(policy: &Policy, drafts: &[Draft], which: &[usize]) -> dedup::Groups {
    let prompts: Vec<Prompt<'_>> = which
        .iter()
        .map(|&it| &drafts[it])
        .map(|draft| Prompt { fingerprint: &draft.fingerprint, answer: &draft.said })
        .collect();
    dedup::group(&prompts, policy.near_duplicate, policy.cluster_similarity)
}

/// Of nearly equal prompts with the same answer one stays. Only what may teach counts: a row that
/// waits must not take away another's.
fn mark_near_copies(policy: &Policy, drafts: &mut [Draft]) {
    let left: Vec<usize> = (0..drafts.len()).filter(|at| drafts[*at].out.is_none()).collect();
    let repeats = groups(policy, drafts, &left).repeats;
    for (at, _) in left.into_iter().zip(repeats).filter(|(_, repeats)| *repeats) {
        drafts[at].out = Some(Reason::NearDuplicate);
    }
}

/// What is said once against the base and a control waits until it is said again.
fn hold_what_contradicts_the_base(drafts: &mut [Draft], known: &dyn Known, ledger: &mut Ledger) {
    let say = |draft: &Draft| (draft.same.clone(), normalised(&draft.said));
    let mut said: HashMap<(String, String), usize> = HashMap::new();
    for draft in drafts.iter().filter(|draft| draft.row.kind == Kind::Supervised) {
        *said.entry(say(draft)).or_default() += draft.row.times_said;
    }
    for draft in drafts.iter_mut().filter(|draft| draft.out.is_none()) {
        if said.get(&say(draft)) == Some(&1) && known::contradicts_base(&draft.row, known) {
            draft.out = Some(Reason::ContradictsBase);
            let reason = WaitingReason::ContradictsBase;
            ledger.waiting.push(Waiting { id: draft.row.id, reason });
        }
    }
}

/// Leaves out what may not teach by itself.
fn rule(
    drafts: &mut [Draft],
    clusters: &[usize],
    voices: &BTreeSet<Option<&str>>,
    ledger: &mut Ledger,
) {
    for kind in [Kind::Supervised, Kind::Replay] {
        let here: Vec<usize> = (0..drafts.len())
            .filter(|at| drafts[*at].row.kind == kind && drafts[*at].out.is_none())
            .collect();
        let claims: Vec<Claim<'_>> = here
            .iter()
            .map(|&at| Claim {
                source: drafts[at].row.source.as_deref(),
                confirmed_by: &drafts[at].row.confirmed_by,
                prompt: &drafts[at].same,
                asked: &drafts[at].asked,
                cluster: clusters[at],
                answer: normalised(&drafts[at].said),
                said_at: drafts[at].row.said_at,
            })
            .collect();
        let rulings = trust::rule(&claims, voices);
        for (at, ruling) in here.into_iter().zip(rulings) {
            drafts[at].out = match ruling {
                Ruling::Teaches => None,
                Ruling::Copy => Some(Reason::ExactDuplicate),
                Ruling::Outvoted => Some(Reason::Outvoted),
                Ruling::Waits(reason) => {
                    // A good vote needs nobody's answer.
                    if kind == Kind::Supervised {
                        ledger.waiting.push(Waiting { id: drafts[at].row.id, reason });
                    }
                    Some(match reason {
                        WaitingReason::SourceOverCap => Reason::SourceOverCap,
                        _ => Reason::Contradiction,
                    })
                }
            };
        }
    }
    ledger.waiting.sort_by_key(|one| one.id);
}

/// Of equal prompts one row stays: a correction before a good vote.
fn mark_copies(drafts: &mut [Draft]) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for draft in drafts.iter_mut().filter(|draft| draft.out.is_none()) {
        if !seen.insert(draft.same.clone()) {
            draft.out = Some(Reason::ExactDuplicate);
        }
    }
}

/// Puts the corrections that are new to the serving adapter into folds.
fn into_folds(policy: &Policy, examples: &mut [Example]) {
    // What is compared is text: calls, and what is said where they could have been, train and judge nothing.
    let is_new = |example: &Example| {
        example.kind == Kind::Supervised && !example.older && !example.has_tools()
    };
    let new: Vec<usize> = (0..examples.len()).filter(|at| is_new(&examples[*at])).collect();
    let members: Vec<Member<'_>> = new
        .iter()
        .map(|&at| &examples[at])
        .map(|it| Member { cluster: it.cluster, family: &it.family, key: &it.key })
        .collect();
    let plan = Plan::of(members.len(), policy.holdout_percent / 100.0);
    let folds = fold::assign(&members, plan, policy.seed);
    for (at, fold) in new.into_iter().zip(folds) {
        examples[at].fold = fold;
    }
}

/// Keeps the newest corrections; the drafts are sorted by preference.
fn limit_rows(policy: &Policy, drafts: &mut [Draft]) {
    let supervised =
        drafts.iter_mut().filter(|it| it.out.is_none() && it.row.kind == Kind::Supervised);
    for draft in supervised.skip(policy.max_rows) {
        draft.out = Some(Reason::OverMaxRows);
    }
}

/// Keeps as many replay rows as the ratio allows: a sample by hash.
fn balance_replay(policy: &Policy, drafts: &mut [Draft]) {
    let here = |drafts: &[Draft], kind| -> Vec<usize> {
        let stays = |at: &usize| drafts[*at].out.is_none() && drafts[*at].row.kind == kind;
        (0..drafts.len()).filter(stays).collect()
    };
    let supervised = here(drafts, Kind::Supervised).len();
    let room = (supervised as f64 * policy.replay_ratio).ceil() as usize;
    let mut replay = here(drafts, Kind::Replay);
    replay.sort_by_key(|&it| rank::rank(policy.seed, "replay", &drafts[it].key));
    for spare in replay.into_iter().skip(room) {
        drafts[spare].out = Some(Reason::SpareReplay);
    }
}

#[cfg(test)]
mod tests;
