//! Request bodies: read up to the limit, parsed as JSON whatever the content type says. They come as
//! they are: what unpacks to many times its size is no use in text of a few MiB, and a danger.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::{StatusCode, header};
use actix_web::web::{self, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt;
use hone_api::error::Invalid;
use serde_json::Value;

use crate::bodies::Held;
use crate::error::ApiError;
use crate::state::AppState;

/// How much of a body of unknown length that is too long is read and thrown away, so that the client
/// hears why instead of a broken connection. In multiples of the limit.
const PATIENCE: usize = 8;

/// A body has to be there by then: who sends it drop by drop holds room that others need.
const DEADLINE: Duration = Duration::from_secs(60);

/// A JSON body, and the room that it takes until it is worked on no more.
pub(crate) struct Json {
    pub(crate) value: Value,
    _held: Held,
}

/// A JSON body that may be missing or null, which reads as `{}`.
pub(crate) struct OptionalJson {
    pub(crate) value: Value,
    _held: Held,
}

impl FromRequest for Json {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read(request, payload.take());
        Box::pin(async move {
            let (body, held) = body.await?;
            Ok(Self { value: parse(&body)?, _held: held })
        })
    }
}

impl FromRequest for OptionalJson {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read(request, payload.take());
        Box::pin(async move {
            let (body, held) = body.await?;
            let empty = body.iter().all(u8::is_ascii_whitespace);
            let value = if empty { Value::Null } else { parse(&body)? };
            let none = || Value::Object(serde_json::Map::new());
            Ok(Self { value: if value.is_null() { none() } else { value }, _held: held })
        })
    }
}

fn read(
    request: &HttpRequest,
    payload: Payload,
) -> impl Future<Output = Result<(BytesMut, Held), ApiError>> + 'static {
    let state = request.app_data::<web::Data<AppState>>().cloned();
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    let encoding = encoding.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let encoding =
        encoding.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
    async move {
        let state = state.ok_or_else(|| ApiError::internal("no state"))?;
        if let Some(encoding) = encoding {
            let message = format!("bodies in `{encoding:.40}` are not read; send plain JSON");
            let error = ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
            return Err(error.code("unsupported_encoding"));
        }
        let limit = state.entry.body_limit;
        // At once, before the body is on its way; the connection closes behind the answer.
        let body = if announced.is_some_and(|length| length > limit as u64) {
            Err(too_long(limit))
        } else {
            let reading = collect(payload, limit, state.bodies.body());
            tokio::time::timeout(DEADLINE, reading).await.unwrap_or_else(|_| Err(too_slow()))
        };
        body.inspect_err(|error| {
            if let Some(reason) = error.word().filter(|word| *word != "invalid_body") {
                state.metrics.rejected.with_label_values(&[reason]).inc();
            }
        })
    }
}

/// The parts of a body, as long as there is room for them.
async fn collect(
    mut payload: Payload,
    limit: usize,
    mut held: Held,
) -> Result<(BytesMut, Held), ApiError> {
    let (mut body, mut length) = (BytesMut::new(), 0);
    while let Some(part) = payload.next().await {
        let part = part.map_err(|_| {
            Invalid::new("the body is cut off or not HTTP; send it again").code("invalid_body")
        })?;
        length += part.len();
        if length <= limit {
            if !held.grow(part.len()) {
                return Err(no_room());
            }
            body.extend_from_slice(&part);
        } else if length > limit.saturating_mul(PATIENCE) {
            break;
        }
    }
    if length > limit { Err(too_long(limit)) } else { Ok((body, held)) }
}

fn too_long(limit: usize) -> ApiError {
    let message = format!("the body is longer than {limit} bytes; send less");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("request_too_large")
}

fn too_slow() -> ApiError {
    let seconds = DEADLINE.as_secs();
    let message = format!("the body was not there after {seconds} s; send it again");
    ApiError::new(StatusCode::REQUEST_TIMEOUT, message).code("request_timeout")
}

fn no_room() -> ApiError {
    let message = "the bodies of other requests take all memory that there is for them \
                   (server.body_memory); send it again";
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("bodies_full");
    error.retry_after(Duration::from_secs(1))
}

fn parse(body: &[u8]) -> Result<Value, Invalid> {
    if body.is_empty() {
        return Err(Invalid::new("the body is empty; send a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        Invalid::new(format!("the body is not valid JSON: {error}")).code("invalid_json")
    })
}
