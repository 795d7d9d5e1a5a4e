//! What is written for Node: the openai SDK and the Vercel AI SDK.

use anyhow::Result;
use hone_tests::{Hone, node};

#[tokio::test]
async fn the_openai_sdk_for_node_is_at_home() -> Result<()> {
    works("openai.mjs").await
}

#[tokio::test]
async fn the_vercel_ai_sdk_is_at_home() -> Result<()> {
    works("ai_sdk.mjs").await
}

async fn works(script: &str) -> Result<()> {
    if !node::is_there()? {
        return Ok(());
    }
    let hone = Hone::start().await?;
    let words = node::run(script, &[&hone.at("/v1")])?;
    assert!(words.contains("all good"), "{words}");
    Ok(())
}
