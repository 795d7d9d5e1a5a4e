//! The guard for models that no control suite was made for: do the sides still find the base's own
//! answers to everyday questions likely?

use hone_eval::{Pair, RowResult, general};

use super::evidence::weigh;
use crate::compare::{Side, answer};
use crate::parts::Parts;

/// The rows of the base, of the serving adapter and of the candidate.
pub(super) async fn agreement(
    parts: &Parts,
    base: &Side,
    others: [&Side; 2],
) -> anyhow::Result<[Vec<RowResult>; 3]> {
    let suite = general::suite()?;
    let answers = answer(parts, base, std::slice::from_ref(&suite), &|_, _| {}).await?;
    let whole: Vec<RowResult> = answers.into_iter().filter(|row| row.stopped).collect();
    let pairs: Vec<Pair<'_>> = whole
        .iter()
        .map(|row| Pair { prompt: &suite.rows[row.row].messages, answer: &row.text })
        .collect();
    let own = weigh(parts, base, &pairs).await?;
    let champion = general::kept(&whole, &own, &weigh(parts, others[0], &pairs).await?);
    let candidate = general::kept(&whole, &own, &weigh(parts, others[1], &pairs).await?);
    Ok([general::kept(&whole, &own, &own), champion, candidate])
}
