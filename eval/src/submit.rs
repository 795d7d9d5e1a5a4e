//! Requests of evaluations stand behind those of users.

use std::time::Duration;

use hone_engine::{Generate, Generation, Request};

use crate::{Error, Result};

/// The longest pause before a full queue is asked again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Submits a request; waits while the queue is full, for users go first.
pub(crate) async fn submit(
    engine: &dyn Generate,
    request: &Request,
    wrong: &(dyn Fn(String) -> Error + Sync),
) -> Result<Generation> {
    loop {
        match engine.submit(request.clone()) {
            Ok(generation) => return Ok(generation),
            Err(hone_engine::Error::QueueFull { retry_after, .. }) => {
                let pause = retry_after.clamp(Duration::from_millis(20), PATIENCE);
                tokio::time::sleep(pause).await;
            }
            Err(
                error
                @ (hone_engine::Error::PromptTooLong { .. } | hone_engine::Error::EmptyPrompt),
            ) => return Err(wrong(error.to_string())),
            Err(error) => return Err(Error::Engine(error.to_string())),
        }
    }
}
