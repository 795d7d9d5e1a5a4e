//! The one error type of this crate.

/// What can go wrong before anything is computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A word that names none of what there is.
    #[error("{what} is not supported; supported: {supported}")]
    Unsupported {
        /// The word, and what it should name.
        what: String,
        /// What there is.
        supported: &'static str,
    },
}
