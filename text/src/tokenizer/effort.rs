//! How much work the making of a prompt may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::Error;

/// Bounds of one encoding. It ends early, with an error, as soon as one of them is passed.
#[derive(Debug, Clone)]
pub struct Effort {
    /// At most so many tokens.
    pub tokens: usize,
    /// Not longer than until then.
    pub until: Option<Instant>,
    /// Nobody waits for it any more, once this is true.
    pub cancelled: Arc<AtomicBool>,
}

impl Effort {
    /// As much as it takes: for texts of one's own.
    #[must_use]
    pub fn unbounded() -> Self {
        Self { tokens: usize::MAX, until: None, cancelled: Arc::default() }
    }

    /// Whether to go on.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        match self.until {
            Some(until) if Instant::now() >= until => Err(Error::TookTooLong),
            _ => Ok(()),
        }
    }

    /// Whether so many tokens are allowed.
    pub(crate) fn check_tokens(&self, at_least: usize) -> Result<(), Error> {
        if at_least > self.tokens {
            return Err(Error::TooManyTokens { at_least, most: self.tokens });
        }
        Ok(())
    }
}
