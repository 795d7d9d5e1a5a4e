//! The body of requests that say all in their path.

use hone_api::error::Invalid;
use hone_api::fields::Fields;
use serde_json::Value;
use utoipa::ToSchema;

/// The body of requests that say all in their path.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

impl Nothing {
    /// Reads a body.
    ///
    /// # Errors
    /// It says something.
    pub(crate) fn from_json(body: Value) -> Result<Self, Invalid> {
        Fields::new(body)?.finish()?;
        Ok(Self {})
    }
}
