//! The OpenAPI document, kept as text once it is made.

/// The document as a daemon tells it: with keys, and before the first was made, when one may be sent and none is needed.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) keyed: String,
    pub(crate) open: String,
}
