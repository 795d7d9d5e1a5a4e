//! Measures how likely corrections are under adapters that never saw them.

use std::collections::BTreeMap;
use std::path::Path;

use hone_api::sealed;
use hone_dataset::{Example, Kind, Snapshot, UNTAGGED, is_result};
use hone_engine::Target;
use hone_eval::evidence::{MANY, block_of};
use hone_eval::{
    Alike, Correction, Judged, Measured, Pair, Said, Square, alike, groups, likelihoods,
};
use serde::{Deserialize, Serialize};

use crate::compare::Side;
use crate::services::Services;

/// Answers that are given so many times on average are labels. Of ten small numbers some are equal by
/// chance.
const LABEL_SHOWINGS: usize = 3;
/// Liked answers that are weighed.
const LIKED: usize = 60;

/// Whether an example teaches what no earlier cycle taught.
pub(super) fn is_new(example: &Example) -> bool {
    example.kind == Kind::Supervised && !example.older
}

/// Who is asked.
#[derive(Clone, Copy)]
pub(super) struct Judges<'a> {
    pub(super) champion: &'a Side,
    pub(super) candidate: &'a Side,
    /// One for each fold.
    pub(super) folds: &'a [Side],
}

/// Figures in which the candidate has no part: the next try of a cycle finds them here.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    base: String,
    /// Digests of the champion and of the adapters that judge.
    weighed_by: Vec<Option<String>>,
    measured: Measured,
}

/// Measures; what does not depend on the candidate is kept at `path`.
pub(super) async fn measure(
    services: &Services,
    snapshot: &Snapshot,
    judges: Judges<'_>,
    path: &Path,
) -> anyhow::Result<Measured> {
    let sides = std::iter::once(judges.champion).chain(judges.folds);
    let weighed_by: Vec<_> = sides.map(|side| side.digest().map(str::to_owned)).collect();
    let base = services.engine.front_end().base_digest.clone();
    // A file that a kill left unfinished, or that a disk did not keep, is written anew.
    let kept = fs_err::read(path).ok().and_then(|bytes| sealed::open::<Kept>(&bytes).ok());
    let kept = kept.filter(|kept| kept.base == base && kept.weighed_by == weighed_by);
    let mut measured = match kept {
        Some(kept) => kept.measured,
        None => {
            let measured = corrections(services, snapshot, judges).await?;
            let kept = Kept { base, weighed_by, measured };
            fs_err::write(path, sealed::seal(&kept)?)?;
            kept.measured
        }
    };
    let liked: Vec<&Example> =
        snapshot.examples.iter().filter(|it| it.kind == Kind::Replay).take(LIKED).collect();
    let before = weigh(services, judges.champion, &own(&liked)).await?;
    let after = weigh(services, judges.candidate, &own(&liked)).await?;
    measured.liked = after.iter().zip(before).map(|(after, before)| after - before).collect();
    Ok(measured)
}

/// All but the liked answers.
async fn corrections(
    services: &Services,
    snapshot: &Snapshot,
    judges: Judges<'_>,
) -> anyhow::Result<Measured> {
    let new: Vec<&Example> = snapshot.examples.iter().filter(|it| is_new(it)).collect();
    let answers = answers(&new);
    let checked = new.iter().filter(|it| is_result(&it.check)).count();
    let rows = Row::all(&new);
    let mut measured = Measured {
        new: new.len(),
        sources: snapshot.manifest.sources,
        checkable: 2 * checked > new.len(),
        commonest: answers.values().max().copied().unwrap_or(0) as f64 / new.len().max(1) as f64,
        repeated: LABEL_SHOWINGS * answers.len() <= new.len(),
        alike: 2 * rows.iter().filter(|row| row.alike.is_some()).count() > rows.len(),
        ..Measured::default()
    };
    for (fold, judge) in judges.folds.iter().enumerate() {
        let rows: Vec<&Row<'_>> = rows.iter().filter(|it| it.example.fold == Some(fold)).collect();
        let examples: Vec<&Example> = rows.iter().map(|row| row.example).collect();
        let champion = weigh(services, judges.champion, &own(&examples)).await?;
        let candidate = weigh(services, judge, &own(&examples)).await?;
        let figures = champion.into_iter().zip(candidate);
        measured.judged.extend(examples.iter().zip(figures).map(|(row, (champion, candidate))| {
            Judged { cluster: row.cluster, source: row.source.clone(), champion, candidate }
        }));
        measured.unseen.extend(squares(services, judge, &rows, block_of(new.len())).await?);
    }
    if new.len() < MANY {
        measured.champion = squares(
            services,
            judges.champion,
            &rows.iter().collect::<Vec<_>>(),
            block_of(new.len()),
        )
        .await?;
    }
    Ok(measured)
}

/// A new correction with its neighbours among the answers, or with its group if it has none.
struct Row<'a> {
    example: &'a Example,
    alike: Option<Alike>,
    group: Option<String>,
}

impl<'a> Row<'a> {
    fn all(examples: &[&'a Example]) -> Vec<Self> {
        let alike = alike(&examples.iter().map(|it| said(it)).collect::<Vec<_>>());
        let groups = groups(&examples.iter().map(|it| asked(it)).collect::<Vec<_>>());
        let rows = examples.iter().zip(alike.into_iter().zip(groups));
        let row = |(example, (alike, group)): (&&'a Example, (Option<Alike>, Option<String>))| {
            // Neighbours stand in one square, whatever else they have in common.
            Self { example, alike, group: group.filter(|_| alike.is_none()) }
        };
        rows.map(row).collect()
    }

    /// Neighbours stand next to each other, then families and copies.
    fn place(&self) -> (Option<usize>, String, usize, String) {
        let Example { family, cluster, key, .. } = self.example;
        (self.alike.map(|alike| alike.sentence), family.clone(), *cluster, key.clone())
    }
}

fn question(example: &Example) -> &str {
    example.prompt().last().map_or("", |turn| turn.content.as_str())
}

/// Whether a result is right is asked of the results: it says nothing in a sentence.
fn said(example: &Example) -> Said<'_> {
    let answer = if is_result(&example.check) { "" } else { example.reference() };
    Said { question: question(example), answer }
}

/// A correction as its group is told by.
pub(super) fn asked(example: &Example) -> Correction<'_> {
    let family = example.family.as_str();
    Correction {
        family: (family != UNTAGGED).then_some(family),
        question: question(example),
        answer: example.reference(),
    }
}

/// What an answer says in one word or number, or else the whole of it.
fn word(example: &Example) -> String {
    use hone_api::check::Check;
    match &example.check {
        Check::FinalNumber(number) => number.to_string(),
        Check::Regex(pattern) => pattern.clone(),
        _ => example.reference().split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase(),
    }
}

fn answers(rows: &[&Example]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(word(row)).or_default() += 1;
    }
    counts
}

fn own<'a>(rows: &[&'a Example]) -> Vec<Pair<'a>> {
    rows.iter()
        .map(|row| Pair { prompt: row.prompt(), answer: row.reference(), ends: true })
        .collect()
}

/// The questions of some rows with each other's answers, in squares of at most so many of one group.
async fn squares(
    services: &Services,
    side: &Side,
    rows: &[&Row<'_>],
    most: usize,
) -> anyhow::Result<Vec<Square>> {
    let mut groups: BTreeMap<&Option<String>, Vec<&Row<'_>>> = BTreeMap::new();
    for row in rows {
        groups.entry(&row.group).or_default().push(row);
    }
    let mut squares = Vec::new();
    for (group, mut rows) in groups {
        rows.sort_by_key(|row| row.place());
        let count = rows.len().div_ceil(most).max(1);
        let size = rows.len().div_ceil(count).max(1);
        for block in rows.chunks(size) {
            let pairs: Vec<Pair<'_>> = block
                .iter()
                .flat_map(|row| {
                    let prompt = row.example.prompt();
                    block.iter().map(move |other| Pair {
                        prompt,
                        answer: other.example.reference(),
                        ends: true,
                    })
                })
                .collect();
            squares.push(Square {
                scores: weigh(services, side, &pairs).await?,
                clusters: block.iter().map(|row| row.example.cluster).collect(),
                sources: block.iter().map(|row| row.example.source.clone()).collect(),
                alike: block.iter().map(|row| row.alike).collect(),
                group: group.clone(),
            });
        }
    }
    Ok(squares)
}

pub(super) async fn weigh(
    services: &Services,
    side: &Side,
    pairs: &[Pair<'_>],
) -> anyhow::Result<Vec<f64>> {
    let concurrency = services.settings.now().evaluation.concurrency;
    let target = side.adapter.map_or(Target::Base, Target::Exact);
    Ok(likelihoods(services.engine.as_ref(), target, pairs, concurrency).await?)
}
