//! How a running cycle is told to halt: for a while, or for good.

use tokio_util::sync::CancellationToken;

/// How a running cycle is told to halt.
#[derive(Debug, Clone)]
pub(super) struct Halt {
    /// It shall, for whatever reason.
    pub(super) now: CancellationToken,
    /// A person cancelled it: it does not go on at the next start.
    cancelled: CancellationToken,
}

impl Halt {
    /// Not yet; when the daemon stops.
    pub(super) fn with(stop: &CancellationToken) -> Self {
        Self { now: stop.child_token(), cancelled: CancellationToken::new() }
    }

    pub(super) fn cancel(&self) {
        self.cancelled.cancel();
        self.now.cancel();
    }

    /// Whether the cycle goes on at the next start of the daemon.
    pub(super) fn is_a_pause(&self, stop: &CancellationToken) -> bool {
        stop.is_cancelled() && !self.cancelled.is_cancelled()
    }
}
