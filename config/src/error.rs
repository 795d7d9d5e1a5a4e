//! What can be wrong with a configuration. Every message names the key and the layer.

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the configuration file: {0}")]
    Read(std::io::Error),
    /// The file is not TOML.
    #[error("{layer} is not TOML: {message}")]
    Syntax {
        /// The layer.
        layer: String,
        /// Where and why.
        message: String,
    },
    /// A key that Hone does not have.
    #[error("{layer}: unknown key `{key}`{}", hint.as_ref().map_or_else(
        || "; config/hone.toml lists all keys".to_owned(),
        |hint| format!("; did you mean `{hint}`?"),
    ))]
    UnknownKey {
        /// The layer.
        layer: String,
        /// The key as written.
        key: String,
        /// The most similar key there is.
        hint: Option<String>,
    },
    /// A value of the wrong type or form.
    #[error("{layer}: `{key}`: {message}")]
    Value {
        /// The layer.
        layer: String,
        /// The key.
        key: String,
        /// What is wrong.
        message: String,
    },
}
