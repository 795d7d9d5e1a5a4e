//! Why a configuration is refused.

/// A configuration that cannot be applied as its author meant it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is no JSON object, or an option is of another type.
    #[error("{0}")]
    Invalid(String),
    /// An option asks for another arithmetic, or is not known.
    #[error("the option `{option}` ({value}) is not supported; plain LoRA and rsLoRA are")]
    Unsupported {
        /// The option.
        option: String,
        /// Its value.
        value: String,
    },
}
