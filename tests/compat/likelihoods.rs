//! lm-evaluation-harness: what it makes of a text through the daemon is what it makes of it through transformers.

use anyhow::Result;
use hone_tests::{Hone, python};

#[tokio::test]
async fn the_harness_scores_as_transformers_does() -> Result<()> {
    let needed = ["torch", "transformers", "lm_eval"];
    let Some(interpreter) = python::with_packages(&needed)? else {
        return Ok(());
    };
    // In f32, so that both sides have the same weights.
    let hone = Hone::builder().config("[model]\nweights = \"f32\"").start().await?;
    let starter = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/starter");
    let words = python::run(&interpreter, "likelihoods.py", &[starter, &hone.at("/v1")])?;
    assert!(words.contains("all good"), "{words}");
    Ok(())
}
