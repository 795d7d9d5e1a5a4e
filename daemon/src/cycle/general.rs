//! The guard for models that no control suite was made for: do the sides still answer everyday questions
//! as the base does, or find its answers likely?

use hone_eval::general::BaseAnswers;
use hone_eval::{Pair, RowResult, general};

use super::evidence::weigh;
use crate::compare::{Side, answer};
use crate::services::Services;

/// The rows of the base, of the serving adapter and of the candidate.
pub(super) async fn agreement(
    services: &Services,
    base: &Side,
    others: [&Side; 2],
) -> anyhow::Result<[Vec<RowResult>; 3]> {
    let suite = general::suite()?;
    // Answers that were cut off count as well: were only those asked for that the base ends, any change at all would end fewer.
    let answers = answer(services, base, std::slice::from_ref(&suite), &|_, _| {}).await?;
    let pairs: Vec<Pair<'_>> = answers
        .iter()
        .map(|row| Pair {
            prompt: &suite.rows[row.row].messages,
            answer: &row.text,
            ends: row.stopped,
        })
        .collect();
    let likelihoods = weigh(services, base, &pairs).await?;
    let of_base = BaseAnswers { answers: &answers, likelihoods: &likelihoods };
    let kept = async |side: &Side| -> anyhow::Result<_> {
        let own = answer(services, side, std::slice::from_ref(&suite), &|_, _| {}).await?;
        // While the base serves, the champion is the base.
        let likely = match side.adapter == base.adapter {
            true => likelihoods.clone(),
            false => weigh(services, side, &pairs).await?,
        };
        Ok(general::kept(of_base, &own, &likely))
    };
    let (champion, candidate) = (kept(others[0]).await?, kept(others[1]).await?);
    Ok([answers.clone(), champion, candidate])
}
