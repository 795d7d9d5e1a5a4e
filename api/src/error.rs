//! OpenAI's error envelope: `{"error":{"message","type","param","code"}}`, all four always present.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong, in OpenAI's four fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// One sentence for a person; it says what to do.
    pub message: String,
    /// The class of the error, e.g. `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The request field at fault.
    pub param: Option<String>,
    /// A word for programs, e.g. `model_not_found`.
    pub code: Option<String>,
}

impl ErrorBody {
    /// An envelope without `param` and `code`.
    pub fn new(kind: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { error: ErrorDetail { message, kind: kind.to_owned(), param: None, code: None } }
    }

    /// Names the request field at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.error.param = Some(param.into());
        self
    }

    /// Adds the word for programs.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.error.code = Some(code.into());
        self
    }
}

/// What is wrong with a request: the field and a sentence. Becomes a 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// One sentence that says what to do.
    pub message: String,
    /// The field at fault, e.g. `messages[0].role`.
    pub param: Option<String>,
    /// A word for programs.
    pub code: Option<&'static str>,
}

impl Invalid {
    /// A fault of the request as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), param: None, code: None }
    }

    /// A fault of one field.
    pub fn field(param: &str, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.to_owned()), code: None }
    }

    /// Adds the word for programs.
    #[must_use]
    pub const fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }
}

impl From<Invalid> for ErrorBody {
    fn from(invalid: Invalid) -> Self {
        let mut body = Self::new("invalid_request_error", invalid.message);
        body.error.param = invalid.param;
        body.error.code = invalid.code.map(str::to_owned);
        body
    }
}
