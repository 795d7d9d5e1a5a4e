//! Lets the configured judge compare what the sides answer to questions that neither was taught.

use std::time::Duration;

use hone_dataset::is_result;
use hone_eval::{Preference, Preferences, RowResult, Suite};
use serde_json::json;

use super::Work;
use crate::judge;

/// Pairs that are judged at most; each is asked for twice.
const MOST: usize = 60;
/// How long until a judge that cannot be reached is asked again.
const PAUSE: Duration = Duration::from_secs(60);

/// The judge's preferences over the rows of the folds; `None` without a judge. Answers come paired, in
/// the order of the suites' rows. While the judge cannot be reached the cycle waits.
///
/// # Errors
/// The judge refuses, or is none.
pub(super) async fn preferences(
    work: &Work<'_>,
    folds: &[(usize, Suite)],
    (champion, candidate): (&[RowResult], &[RowResult]),
) -> anyhow::Result<Option<Preferences>> {
    let config = work.services.settings.now();
    let Some(judge) = judge::configured(&config.evaluation)? else { return Ok(None) };
    let mut preferences = Preferences { digest: judge.digest(), ..Preferences::default() };
    let rows = folds.iter().flat_map(|(_, suite)| suite.rows.iter());
    let pairs = rows.zip(champion.iter().zip(candidate));
    // A result is right or wrong; there a judge has nothing to add.
    let pairs: Vec<_> = pairs.filter(|(row, _)| !is_result(&row.check)).take(MOST).collect();
    if pairs.is_empty() {
        return Ok(None);
    }
    for (row, (before, after)) in pairs {
        let preference = loop {
            let reference = Some(row.reference.as_str());
            match judge.compare(&row.messages, &before.text, &after.text, reference).await {
                Ok(preference) => break preference,
                Err(error) if error.is_temporary() => {
                    work.progress(format!("waits for the judge: {error}"), json!({})).await?;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        match preference {
            Preference::Candidate => preferences.candidate += 1,
            Preference::Champion => preferences.champion += 1,
            Preference::Tie => preferences.ties += 1,
        }
    }
    Ok(Some(preferences))
}
