//! A cycle that has nothing to learn from, or learned nothing, changes nothing.

use anyhow::Result;
use hone_tests::Hone;

#[tokio::test]
async fn without_feedback_a_cycle_is_skipped() -> Result<()> {
    let hone = Hone::start().await?;
    hone.chat("hone", "Hi").await?;
    let end = hone.run_cycle().await?;
    assert_eq!(end["status"], "finished", "{end}");
    assert_eq!(end["verdict"], "skipped", "{end}");
    assert!(end["reason"].as_str().is_some_and(|reason| reason.len() > 20), "{end}");
    assert_eq!(hone.chat("hone", "Hi").await?.adapter, "base");
    Ok(())
}

#[tokio::test]
async fn a_candidate_that_is_not_better_is_rejected() -> Result<()> {
    // A learning rate at which nothing can be learned.
    let hone = Hone::builder()
        .config("[training]\nepochs = 1\nlearning_rate = 1e-7")
        .config("[evaluation]\nrows_per_suite = 4")
        .start()
        .await?;
    hone.correct("triage", 60).await?;
    let end = hone.run_cycle().await?;
    assert_eq!(end["status"], "finished", "{end}\n{}", hone.log()?);
    assert_eq!(end["verdict"], "rejected", "{end}");
    assert_eq!(hone.chat("hone", "Hi").await?.adapter, "base");
    let live = hone.get("/v1/adapters").await?.expect(200)?;
    assert_eq!(live["data"][0]["state"], "rejected", "{live}");
    Ok(())
}
