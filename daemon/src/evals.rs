//! Evaluations on demand.

use std::sync::Arc;

use hone_api::RunId;
use hone_api::evaluation::{EvalRequest, EvalView};
use hone_server::control::{ControlError, ControlResult};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::parts::Parts;

/// The evaluations of this run of the daemon.
#[derive(Debug)]
pub struct Evals {
    _parts: Arc<Parts>,
}

impl Evals {
    /// None yet.
    pub fn new(parts: Arc<Parts>, _tasks: TaskTracker, _stop: CancellationToken) -> Self {
        Self { _parts: parts }
    }

    /// Starts one.
    ///
    /// # Errors
    /// The suite or an adapter is unknown.
    pub async fn start(&self, _request: EvalRequest) -> ControlResult<EvalView> {
        Err(ControlError::NotFound("this build has no evaluation yet".to_owned()))
    }

    /// One of them.
    pub fn get(&self, _id: RunId) -> Option<EvalView> {
        None
    }
}
