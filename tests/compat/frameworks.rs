//! What agents are built with, through the openai SDK or past it.

use anyhow::Result;
use hone_tests::{Hone, python};

#[tokio::test]
async fn frameworks_of_agents_are_at_home() -> Result<()> {
    let needed = ["langchain_openai", "litellm", "instructor", "pydantic_ai"];
    let Some(interpreter) = python::with_packages(&needed)? else {
        return Ok(());
    };
    let hone = Hone::start().await?;
    let words = python::run(&interpreter, "frameworks.py", &[&hone.at("/v1")])?;
    assert!(words.contains("all good"), "{words}");
    Ok(())
}
