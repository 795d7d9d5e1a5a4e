//! Every crate's error becomes a status and OpenAI's envelope here, and nowhere else.
//!
//! Internal texts go to the log, never to the client.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use hone_api::error::{ErrorBody, Invalid};
use hone_api::interaction::Endpoint;

use crate::control_error::ControlError;
use crate::meter::Excess;
use crate::secrets::without_secrets;

/// What can go wrong with the server itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nor can the one for `/metrics`.
    #[error(
        "cannot listen on {address}: {source}; choose another address for telemetry.metrics_listen"
    )]
    BindMetrics {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that TLS needs cannot be used.
    #[error("{} cannot be used for TLS: {reason}", file.display())]
    Tls {
        /// The file.
        file: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The class of errors that the client can mend.
const REQUEST: &str = "invalid_request_error";
/// The class of errors that it cannot.
const SERVER: &str = "server_error";
/// When to look again whether somebody has mended what a client cannot.
const MENDED: Duration = Duration::from_secs(30);
/// What a client is told of an error that it cannot mend.
const INTERNAL: &str = "an error inside Hone; the daemon's log says more under this x-request-id";

/// An answer that is not a success.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    retry_after: Option<Duration>,
    should_retry: Option<bool>,
}

impl ApiError {
    /// An answer with `status` and a message.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let kind = if status.is_server_error() { SERVER } else { REQUEST };
        Self { status, body: ErrorBody::new(kind, message), retry_after: None, should_retry: None }
    }

    /// 400: one field is wrong.
    pub fn field(param: &str, message: impl Into<String>) -> Self {
        Invalid::field(param, message).into()
    }

    /// 404 in OpenAI's words.
    #[must_use]
    pub fn model_not_found(model: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("The model `{model:.200}` does not exist."))
            .param("model")
            .code("model_not_found")
    }

    /// 404 for anything else.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message).code("not_found")
    }

    /// 409, which SDKs must not send again by themselves.
    pub fn conflict(message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::CONFLICT, message).code("conflict");
        error.should_retry = Some(false);
        error
    }

    /// 400: the engine that serves this model cannot do it.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message).code("unsupported_by_engine")
    }

    /// 503: the daemon stops.
    #[must_use]
    pub fn shutting_down() -> Self {
        let message = "the daemon is shutting down; try again in a moment";
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, message).code("shutting_down");
        error.retry_after = Some(Duration::from_secs(2));
        error
    }

    /// 429: others had fewer places in the full queue.
    pub(crate) fn displaced(retry_after: Duration) -> Self {
        let seconds = retry_after.as_secs();
        let message = format!(
            "more of your requests are waiting than of anybody else's, and the queue is full; try again in \
             {seconds} s"
        );
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, message).code("queue_full");
        error.body.error.kind = "rate_limit_error".to_owned();
        error.retry_after(retry_after)
    }

    /// 500: the text goes to the log only.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL).code("internal_error")
    }

    /// 500: the engine gave up on an answer; its sentence is meant for clients.
    pub(crate) fn failed(message: &str) -> Self {
        tracing::error!(error = message, "an answer failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message).code("generation_failed")
    }

    /// What the engine says to a request of an endpoint.
    pub(crate) fn from_engine(error: hone_engine::Error, endpoint: Endpoint) -> Self {
        let prompt = match endpoint {
            Endpoint::Chat => "messages",
            Endpoint::Completion => "prompt",
        };
        match Self::from(error) {
            error if error.is_about_the_prompt() => error.param(prompt),
            error => error,
        }
    }

    fn is_about_the_prompt(&self) -> bool {
        let is_unsupported = self.word() == Some("unsupported_by_engine");
        self.status == StatusCode::BAD_REQUEST && self.body.error.param.is_none() && !is_unsupported
    }

    fn disk_full(message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::INSUFFICIENT_STORAGE, message).code("disk_full");
        error.should_retry = Some(false);
        error
    }

    /// Names the request field at fault.
    #[must_use]
    pub fn param(mut self, param: &str) -> Self {
        self.body = self.body.param(param);
        self
    }

    /// The same with the names of fields as another endpoint has them.
    #[must_use]
    pub(crate) fn in_words_of(mut self, reword: impl Fn(&str) -> String) -> Self {
        let error = &mut self.body.error;
        error.message = reword(&error.message);
        error.param = error.param.as_deref().map(reword);
        self
    }

    /// Adds the word for programs.
    #[must_use]
    pub fn code(mut self, code: &str) -> Self {
        self.body = self.body.code(code);
        self
    }

    /// Names the class of the error.
    #[must_use]
    pub(crate) fn kind(mut self, kind: &str) -> Self {
        kind.clone_into(&mut self.body.error.kind);
        self
    }

    /// Tells SDKs not to send it again by themselves.
    #[must_use]
    pub(crate) const fn not_to_be_retried(mut self) -> Self {
        self.should_retry = Some(false);
        self
    }

    /// Adds when to try again.
    #[must_use]
    pub const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The envelope, e.g. for an event in a stream.
    #[must_use]
    pub const fn body(&self) -> &ErrorBody {
        &self.body
    }

    /// The word for programs, if there is one.
    pub(crate) fn word(&self) -> Option<&str> {
        self.body.error.code.as_deref()
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.body.error.message)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(after) = self.retry_after {
            let seconds = after.as_millis().div_ceil(1000).max(1);
            response.insert_header(("retry-after", seconds.to_string()));
            response.insert_header(("retry-after-ms", after.as_millis().max(1).to_string()));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header(("www-authenticate", "Bearer"));
        }
        if let Some(again) = self.should_retry {
            let value = HeaderValue::from_static(if again { "true" } else { "false" });
            response.insert_header((HeaderName::from_static("x-should-retry"), value));
        }
        let mut body = self.body.clone();
        let clean = |text: &mut String| *text = without_secrets(text).into_owned();
        clean(&mut body.error.message);
        body.error.param.iter_mut().for_each(clean);
        response.json(body)
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let body = invalid.into();
        Self { status: StatusCode::BAD_REQUEST, body, retry_after: None, should_retry: None }
    }
}

impl From<Excess> for ApiError {
    fn from(excess: Excess) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, excess.message);
        error.body.error.kind = "rate_limit_error".to_owned();
        error.retry_after = excess.retry_after;
        error.should_retry = excess.retry_after.is_none().then_some(false);
        error.code("rate_limit_exceeded")
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotFound(message) => Self::not_found(message),
            ControlError::Conflict(message) => Self::conflict(message),
            ControlError::Invalid { message, param: Some(param) } => Self::field(param, message),
            ControlError::Invalid { message, param: None } => Invalid::new(message).into(),
            ControlError::Refused(message) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, message).code("refused")
            }
            ControlError::Busy { message, retry_after } => {
                let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, message).code("busy");
                error.retry_after(retry_after)
            }
            ControlError::Unavailable(message) => {
                tracing::error!(message, "the database is not what it was");
                let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, message);
                error.code("database_unavailable").retry_after(MENDED)
            }
            ControlError::TooMany(message) => {
                let error = Self::new(StatusCode::TOO_MANY_REQUESTS, message);
                let mut error = error.code("limit_reached");
                error.should_retry = Some(false);
                error
            }
            ControlError::DiskFull(message) => Self::disk_full(message),
            ControlError::Internal(message) => Self::internal(message),
        }
    }
}

impl From<hone_engine::Error> for ApiError {
    fn from(error: hone_engine::Error) -> Self {
        use hone_engine::Error as E;
        let message = error.to_string();
        match error {
            E::QueueFull { retry_after, .. } => {
                let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, message);
                error.body.error.kind = "rate_limit_error".to_owned();
                error.code("queue_full").retry_after(retry_after)
            }
            E::PromptTooLong { .. } => {
                Self::new(StatusCode::BAD_REQUEST, message).code("context_length_exceeded")
            }
            E::EmptyPrompt => Self::new(StatusCode::BAD_REQUEST, message),
            E::AdapterMemory { .. } | E::Refused(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, message).code("refused")
            }
            E::Unsupported(_) => Self::unsupported(message),
            E::OverBudget { .. } => {
                let error = Self::field("max_tokens", message);
                error.code("context_length_exceeded")
            }
            E::ShuttingDown => Self::shutting_down(),
            // It was there when the name was looked up, so it was deleted meanwhile.
            E::UnknownAdapter(_) => {
                Self::new(StatusCode::NOT_FOUND, message).param("model").code("model_not_found")
            }
            E::NoEffect(_) | E::Broken(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, message).code("refused")
            }
            E::TokenRange { .. } => Self::new(StatusCode::BAD_REQUEST, message),
            E::Text(text) => text.into(),
            // Prompts are checked before: what the decoder refuses here are an adapter's files.
            E::Model(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, message).code("refused"),
            _ => Self::internal(message),
        }
    }
}

impl From<hone_text::Error> for ApiError {
    fn from(error: hone_text::Error) -> Self {
        use hone_text::Error as E;
        let message = error.to_string();
        match error {
            E::Sampling(_)
            | E::Template(_)
            | E::Tokenizer(_)
            | E::TooManyTokens { .. }
            | E::TookTooLong => Self::new(StatusCode::BAD_REQUEST, message),
            _ => Self::internal(message),
        }
    }
}

impl From<hone_adapters::Error> for ControlError {
    fn from(error: hone_adapters::Error) -> Self {
        use hone_adapters::Error as E;
        let message = error.to_string();
        match error {
            E::Unknown(_) | E::NoFolder(_) | E::IsBase(_) => Self::NotFound(message),
            E::Name(_) | E::ServedName(_) => Self::Invalid { message, param: Some("name") },
            E::Outside(_) => Self::Invalid { message, param: Some("folder") },
            E::Refused { .. } | E::Damaged { .. } | E::OtherBase { .. } => Self::Refused(message),
            E::Conflict { .. }
            | E::NameTaken { .. }
            | E::Exists(_)
            | E::Transition { .. }
            | E::InUse(_)
            | E::NothingToRollBack => Self::Conflict(message),
            E::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                Self::DiskFull(message)
            }
            // EMFILE, ENFILE: it passes, and is nobody's fault who asks.
            E::Io(error) if [Some(24), Some(23)].contains(&error.raw_os_error()) => {
                Self::Busy { message, retry_after: Duration::from_secs(5) }
            }
            E::Io(_) | E::Watch(_) | E::Pointer(_) => Self::Internal(message),
        }
    }
}

impl From<hone_adapters::Error> for ApiError {
    fn from(error: hone_adapters::Error) -> Self {
        ControlError::from(error).into()
    }
}

impl From<hone_store::Error> for ControlError {
    fn from(error: hone_store::Error) -> Self {
        use hone_store::Error as E;
        let message = error.to_string();
        match error {
            E::UnknownInteraction(_) | E::UnknownCycle(_) | E::UnknownKey(_) => {
                Self::NotFound(message)
            }
            E::IdempotencyMismatch { .. } | E::Duplicate(_) | E::FirstKey | E::LastAdminKey => {
                Self::Conflict(message)
            }
            E::DiskFull | E::Lost(_) => Self::DiskFull(message),
            E::Gone { .. } | E::Corrupt { .. } => Self::Unavailable(message),
            _ => Self::Internal(message),
        }
    }
}

impl From<hone_store::Error> for ApiError {
    fn from(error: hone_store::Error) -> Self {
        ControlError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_conflict_tells_sdks_not_to_retry() {
        let response = ApiError::conflict("x").error_response();
        assert_eq!(response.status(), 409);
        assert_eq!(response.headers().get("x-should-retry").unwrap(), "false");
    }

    #[actix_web::test]
    async fn waiting_times_are_rounded_up() {
        let error = ApiError::shutting_down().retry_after(Duration::from_millis(1200));
        let response = error.error_response();
        assert_eq!(response.headers().get("retry-after").unwrap(), "2");
        assert_eq!(response.headers().get("retry-after-ms").unwrap(), "1200");
    }

    #[test]
    fn inner_texts_stay_inside() {
        let error = ApiError::from(ControlError::Internal("/secret/path".to_owned()));
        assert!(!error.to_string().contains("secret"));
    }
}
