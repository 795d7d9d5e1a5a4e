//! What a person must look at before it can teach.

use hone_api::InteractionId;
pub use hone_api::waiting::WaitingReason;
use serde::{Deserialize, Serialize};

/// An answer that waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Waiting {
    /// The answer.
    pub id: InteractionId,
    /// Why.
    pub reason: WaitingReason,
}
