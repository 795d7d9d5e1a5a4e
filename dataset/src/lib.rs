//! Pure functions from interactions and feedback to an immutable, hashed snapshot.
//!
//! | module | step |
//! |---|---|
//! | `select` | which interactions teach: corrections, good answers; bad ones without a correction wait |
//! | `redact` | personal data out, placeholders in |
//! | `derive` | how answers to a held-out prompt are tested |
//! | `dedup` | same and similar prompts |
//! | `split` | train, validation, held out |
//! | `snapshot` | `rows.jsonl` and `manifest.json`, named by their hash |
//!
//! `waiting` lists what a person must look at. `lines` reads files of rows that people bring.
//!
//! Nothing here looks at a clock or at the order of its input: the same rows give the same bytes.

#![forbid(unsafe_code)]

mod dedup;
mod derive;
mod error;
mod example;
pub mod lines;
mod policy;
pub mod redact;
mod select;
mod snapshot;
mod split;
mod waiting;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use dedup::prompt_key;
pub use derive::check_for;
pub use error::{Error, Result};
pub use example::{Example, Kind, Split};
pub use policy::Policy;
pub use select::{Labelled, Reason};
pub use snapshot::{Manifest, Snapshot};
pub use waiting::{Waiting, WaitingReason, waiting};

use dedup::{Fingerprint, Prompt};
use hone_api::chat::{Message, Role};
use redact::Entity;
use select::Row;
use snapshot::Ledger;
use split::Member;

/// Makes the snapshot of a cycle from all labelled interactions.
///
/// The caller chooses which endpoints teach; a raw completion is learnt as one turn of a chat.
/// `known_holdout` holds the keys of all prompts that earlier cycles held out; the caller adds the
/// new ones ([`Manifest::holdout_keys`]) to its ledger before anything trains on the snapshot.
///
/// # Errors
/// [`Error::Policy`] if a setting is out of range.
pub fn build(
    policy: &Policy,
    labelled: &[Labelled],
    known_holdout: &BTreeSet<String>,
) -> Result<Snapshot> {
    policy.check()?;
    let selection = select::select(labelled);
    let mut ledger =
        Ledger { waiting: selection.waiting, dropped: selection.dropped, ..Ledger::default() };

    let mut drafts: Vec<Draft> = selection
        .rows
        .into_iter()
        .map(|row| Draft::of(policy, row, &mut ledger.redacted))
        .collect();
    // The order of preference among duplicates: corrections first, then the newest.
    drafts.sort_by_key(|draft| (draft.row.kind, Reverse(draft.row.id)));
    let clusters = mark_duplicates(policy, &mut drafts);
    ledger.clusters = clusters.iter().collect::<BTreeSet<_>>().len();

    let splits = {
        let members: Vec<Member<'_>> = drafts.iter().zip(&clusters).map(Draft::member).collect();
        split::assign(policy, &members, known_holdout)
    };
    limit_rows(policy, &mut drafts);
    balance_replay(policy, &mut drafts, &splits);

    ledger.holdout_keys = holdout_keys(&drafts, &clusters, &splits);
    for reason in drafts.iter().filter_map(|draft| draft.out) {
        *ledger.dropped.entry(reason).or_default() += 1;
    }
    let kept = drafts.into_iter().zip(splits).filter(|(draft, _)| draft.out.is_none());
    Snapshot::seal(policy, kept.map(|(draft, split)| draft.example(split)).collect(), ledger)
}

/// A row with what the steps add to it.
struct Draft {
    row: Row,
    /// Of the prompt as it was asked, before redaction: the ledger must know it under any policy.
    key: String,
    /// Of the prompt as it would train.
    fingerprint: Fingerprint,
    same: String,
    out: Option<Reason>,
}

impl Draft {
    fn of(policy: &Policy, mut row: Row, redacted: &mut BTreeMap<Entity, usize>) -> Self {
        let key = prompt_key(&row.prompt);
        if policy.redact {
            let texts = row
                .prompt
                .iter_mut()
                .flat_map(|message| std::iter::once(&mut message.content).chain(&mut message.name));
            for text in texts.chain([&mut row.answer, &mut row.family]) {
                let clean = redact::redact(text);
                for (entity, count) in clean.counts {
                    *redacted.entry(entity).or_default() += count;
                }
                *text = clean.text;
            }
            row.check = row.check.and_then(derive::redacted);
        }
        let same = prompt_key(&row.prompt);
        let fingerprint = Fingerprint::of(&row.prompt);
        Self { row, key, fingerprint, same, out: None }
    }

    fn member<'a>((draft, cluster): (&'a Self, &usize)) -> Member<'a> {
        Member {
            key: &draft.key,
            cluster: *cluster,
            kind: draft.row.kind,
            family: &draft.row.family,
            counts: draft.out.is_none(),
        }
    }

    fn example(self, split: Split) -> Example {
        let Row { id, kind, family, mut prompt, answer, check } = self.row;
        let check = check.unwrap_or_else(|| check_for(&answer));
        prompt.push(Message::new(Role::Assistant, answer));
        Example { id, kind, split, family, messages: prompt, check, key: self.key }
    }
}

/// Marks exact and near duplicates; returns the cluster of each draft, duplicates included.
fn mark_duplicates(policy: &Policy, drafts: &mut [Draft]) -> Vec<usize> {
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
    let prompts: Vec<Prompt<'_>> = unique
        .iter()
        .map(|&it| &drafts[it])
        .map(|draft| Prompt { fingerprint: &draft.fingerprint, answer: &draft.row.answer })
        .collect();
    let groups = dedup::group(&prompts, policy.near_duplicate, policy.cluster_similarity);

    for (position, draft) in drafts.iter_mut().enumerate() {
        let slot = same_as[position];
        if unique[slot] != position {
            draft.out = Some(Reason::ExactDuplicate);
        } else if groups.repeats[slot] {
            draft.out = Some(Reason::NearDuplicate);
        }
    }
    same_as.into_iter().map(|slot| groups.cluster[slot]).collect()
}

/// Keeps the newest corrections; the drafts are sorted by preference.
fn limit_rows(policy: &Policy, drafts: &mut [Draft]) {
    let supervised =
        drafts.iter_mut().filter(|it| it.out.is_none() && it.row.kind == Kind::Supervised);
    for draft in supervised.skip(policy.max_rows) {
        draft.out = Some(Reason::OverMaxRows);
    }
}

/// On each side of the split, keeps as many replay rows as the ratio allows: a sample by hash.
fn balance_replay(policy: &Policy, drafts: &mut [Draft], splits: &[Split]) {
    for side in [Split::Train, Split::Validation, Split::HeldOut] {
        let here = |kind| {
            drafts
                .iter()
                .zip(splits)
                .enumerate()
                .filter(move |(_, (draft, split))| {
                    draft.out.is_none() && **split == side && draft.row.kind == kind
                })
                .map(|(position, _)| position)
        };
        let room = (here(Kind::Supervised).count() as f64 * policy.replay_ratio).ceil() as usize;
        let mut replay: Vec<usize> = here(Kind::Replay).collect();
        replay.sort_by_key(|&it| split::rank(policy.seed, "replay", &drafts[it].key));
        for spare in replay.into_iter().skip(room) {
            drafts[spare].out = Some(Reason::SpareReplay);
        }
    }
}

/// The keys of all clusters from which a row is held out, rows left out included: a copy of a
/// held-out prompt must not train later, when the row that is held out now may be gone.
fn holdout_keys(drafts: &[Draft], clusters: &[usize], splits: &[Split]) -> BTreeSet<String> {
    let rows = drafts.iter().zip(clusters).zip(splits);
    let held_out: BTreeSet<usize> = rows
        .filter(|((draft, _), split)| draft.out.is_none() && **split == Split::HeldOut)
        .map(|((_, cluster), _)| *cluster)
        .collect();
    let rows = drafts.iter().zip(clusters).filter(|(_, cluster)| held_out.contains(*cluster));
    rows.map(|(draft, _)| draft.key.clone()).collect()
}

#[cfg(test)]
mod tests;
