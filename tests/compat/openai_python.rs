//! The openai Python SDK.

use anyhow::Result;
use hone_tests::{Hone, python};

#[tokio::test]
async fn the_openai_sdk_is_at_home() -> Result<()> {
    let Some(interpreter) = python::with_packages(&["openai"])? else {
        return Ok(());
    };
    let hone = Hone::start().await?;
    let words = python::run(&interpreter, "openai_sdk.py", &[&hone.at("/v1")])?;
    assert!(words.contains("all good"), "{words}");
    Ok(())
}

#[tokio::test]
async fn tools_and_schemas_work_through_the_openai_sdk() -> Result<()> {
    let Some(interpreter) = python::with_packages(&["openai"])? else {
        return Ok(());
    };
    let hone = Hone::start().await?;
    let words = python::run(&interpreter, "openai_tools.py", &[&hone.at("/v1")])?;
    assert!(words.contains("all good"), "{words}");
    Ok(())
}

#[tokio::test]
async fn responses_and_embeddings_work_through_the_openai_sdk() -> Result<()> {
    let Some(interpreter) = python::with_packages(&["openai"])? else {
        return Ok(());
    };
    let hone = Hone::start().await?;
    let words = python::run(&interpreter, "openai_responses.py", &[&hone.at("/v1")])?;
    assert!(words.contains("all good"), "{words}");
    Ok(())
}
