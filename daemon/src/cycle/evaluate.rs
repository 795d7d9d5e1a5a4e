//! Evaluate: the adapter that serves and the candidate answer the same questions.

use super::{End, Work};

pub(super) async fn run(_work: Work<'_>) -> anyhow::Result<End> {
    anyhow::bail!("this build has no evaluation yet")
}
