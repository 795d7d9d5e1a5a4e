//! Whether an adapter would rather say a correction than the answer that it replaces.
//!
//! Prevents free text from being counted as not learned because it comes out in other words: asked for a
//! greeting, people write it in twenty ways, and an adapter that has learned to greet picks one of them.

use hone_api::check::Check;
use hone_engine::{Generate, Target};

use crate::likelihood::{Pair, weigh_all};
use crate::row_result::RowResult;
use crate::{Result, Suite};

/// Lets rows of free text pass in which the correction is likelier by token than what it replaces: as a
/// whole, a short one would be likelier than any long answer, untaught. `rows` are this target's answers
/// to the suite.
pub(crate) async fn pass_preferred(
    engine: &dyn Generate,
    target: Target,
    suite: &Suite,
    rows: &mut [RowResult],
    concurrency: usize,
) -> Result<()> {
    let mut open = Vec::new();
    let mut pairs = Vec::new();
    for result in rows.iter_mut().filter(|result| !result.passed) {
        let (row, rejected) = (&suite.rows[result.row], &suite.rejected[result.row]);
        if let (Check::Similar(_), Some(rejected)) = (&row.check, rejected) {
            pairs.push(Pair { prompt: &row.messages, answer: &row.reference, ends: true });
            pairs.push(Pair { prompt: &row.messages, answer: rejected, ends: true });
            open.push(result);
        }
    }
    let weights = weigh_all(engine, target, &pairs, concurrency).await?;
    for (result, pair) in open.into_iter().zip(weights.chunks(2)) {
        result.passed = pair[0].mean() > pair[1].mean();
    }
    Ok(())
}
