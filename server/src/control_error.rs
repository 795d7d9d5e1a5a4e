//! Why the daemon said no.

/// Why the daemon said no. The texts reach the client: each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such thing: 404.
    #[error("{0}")]
    NotFound(String),
    /// It is not as the caller thinks, or already so: 409, not to be retried.
    #[error("{0}")]
    Conflict(String),
    /// The request makes no sense: 400.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
        /// The field at fault.
        param: Option<&'static str>,
    },
    /// The request makes sense, but what it points to is bad, e.g. an adapter's folder: 422.
    #[error("{0}")]
    Refused(String),
    /// Not now: 503 with `retry-after`.
    #[error("{message}")]
    Busy {
        /// What is going on.
        message: String,
        /// When to try again.
        retry_after: std::time::Duration,
    },
    /// Not until somebody has mended it: 503.
    #[error("{0}")]
    Unavailable(String),
    /// As many as may be: 429, not to be retried by itself.
    #[error("{0}")]
    TooMany(String),
    /// No space on the disk: 507.
    #[error("{0}")]
    DiskFull(String),
    /// Hone is at fault: 500. The text goes to the log only.
    #[error("{0}")]
    Internal(String),
}
