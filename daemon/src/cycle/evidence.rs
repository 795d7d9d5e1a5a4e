//! Measures how likely corrections are under adapters that never saw them.

use std::collections::BTreeMap;

use hone_dataset::{Example, Kind, Snapshot, is_result};
use hone_engine::Target;
use hone_eval::evidence::{MANY, block_of};
use hone_eval::{Judged, Measured, Pair, Square, likelihoods};

use super::evaluate::is_new;
use crate::compare::Side;
use crate::parts::Parts;

/// Liked answers that are weighed.
const LIKED: usize = 60;

/// Who is asked.
#[derive(Clone, Copy)]
pub(super) struct Judges<'a> {
    pub(super) champion: &'a Side,
    pub(super) candidate: &'a Side,
    /// One for each fold.
    pub(super) folds: &'a [Side],
}

pub(super) async fn measure(
    parts: &Parts,
    snapshot: &Snapshot,
    judges: Judges<'_>,
) -> anyhow::Result<Measured> {
    let new: Vec<&Example> = snapshot.examples.iter().filter(|it| is_new(it)).collect();
    let answers = answers(&new);
    let shared = new.iter().filter(|it| answers[&word(it)] > 1).count();
    let checked = new.iter().filter(|it| is_result(&it.check)).count();
    let mut measured = Measured {
        new: new.len(),
        sources: snapshot.manifest.sources,
        checkable: 2 * checked > new.len(),
        commonest: answers.values().max().copied().unwrap_or(0) as f64 / new.len().max(1) as f64,
        repeated: 2 * shared > new.len(),
        ..Measured::default()
    };
    for (fold, judge) in judges.folds.iter().enumerate() {
        let rows: Vec<&Example> = new.iter().copied().filter(|it| it.fold == Some(fold)).collect();
        let champion = weigh(parts, judges.champion, &own(&rows)).await?;
        let candidate = weigh(parts, judge, &own(&rows)).await?;
        let figures = champion.into_iter().zip(candidate);
        measured.judged.extend(rows.iter().zip(figures).map(|(row, (champion, candidate))| {
            Judged { cluster: row.cluster, source: row.source.clone(), champion, candidate }
        }));
        measured.unseen.extend(squares(parts, judge, &rows, block_of(new.len())).await?);
    }
    if new.len() < MANY {
        measured.champion = squares(parts, judges.champion, &new, block_of(new.len())).await?;
    }

    let liked: Vec<&Example> =
        snapshot.examples.iter().filter(|it| it.kind == Kind::Replay).take(LIKED).collect();
    let before = weigh(parts, judges.champion, &own(&liked)).await?;
    let after = weigh(parts, judges.candidate, &own(&liked)).await?;
    measured.liked = after.iter().zip(before).map(|(after, before)| after - before).collect();
    Ok(measured)
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
    rows.iter().map(|row| Pair { prompt: row.prompt(), answer: row.reference() }).collect()
}

/// The questions of some rows with each other's answers, in squares of at most so many: families and
/// copies next to each other.
async fn squares(
    parts: &Parts,
    side: &Side,
    rows: &[&Example],
    most: usize,
) -> anyhow::Result<Vec<Square>> {
    let mut sorted = rows.to_vec();
    sorted.sort_by_key(|row| (row.family.clone(), row.cluster, row.key.clone()));
    let count = sorted.len().div_ceil(most).max(1);
    let size = sorted.len().div_ceil(count).max(1);
    let mut squares = Vec::new();
    for block in sorted.chunks(size) {
        let pairs: Vec<Pair<'_>> = block
            .iter()
            .flat_map(|row| {
                block.iter().map(|other| Pair { prompt: row.prompt(), answer: other.reference() })
            })
            .collect();
        squares.push(Square {
            scores: weigh(parts, side, &pairs).await?,
            clusters: block.iter().map(|row| row.cluster).collect(),
            sources: block.iter().map(|row| row.source.clone()).collect(),
        });
    }
    Ok(squares)
}

pub(super) async fn weigh(
    parts: &Parts,
    side: &Side,
    pairs: &[Pair<'_>],
) -> anyhow::Result<Vec<f64>> {
    let concurrency = parts.settings.now().evaluation.concurrency;
    let target = side.adapter.map_or(Target::Base, Target::Exact);
    Ok(likelihoods(parts.engine.as_ref(), target, pairs, concurrency).await?)
}
