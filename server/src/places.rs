//! Places for texts that become tokens: few are tokenised at once.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Texts that are tokenised at once.
pub(crate) const PLACES: u32 = 2;

/// The places.
#[derive(Debug)]
pub(crate) struct Tokenising(pub(crate) Arc<Semaphore>);

impl Default for Tokenising {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PLACES as usize)))
    }
}
