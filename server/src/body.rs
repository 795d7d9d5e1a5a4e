//! Request bodies: read up to the limit, parsed as JSON whatever the content type says. They come as
//! they are: what unpacks to many times its size is no use in text of a few MiB, and a danger.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::{StatusCode, header};
use actix_web::web::{self, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt;
use hone_api::error::Invalid;
use serde_json::Value;

use crate::error::ApiError;
use crate::state::AppState;

/// How much of a body of unknown length that is too long is read and thrown away, so that the client
/// hears why instead of a broken connection. In multiples of the limit.
const PATIENCE: usize = 8;

/// A JSON body.
pub(crate) struct Json(pub(crate) Value);

/// A JSON body that may be missing or null, which reads as `{}`.
pub(crate) struct OptionalJson(pub(crate) Value);

impl FromRequest for Json {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read(request, payload.take());
        Box::pin(async move { Ok(Self(parse(&body.await?)?)) })
    }
}

impl FromRequest for OptionalJson {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read(request, payload.take());
        Box::pin(async move {
            let body = body.await?;
            let empty = body.iter().all(u8::is_ascii_whitespace);
            let value = if empty { Value::Null } else { parse(&body)? };
            Ok(Self(if value.is_null() { Value::Object(serde_json::Map::new()) } else { value }))
        })
    }
}

fn read(
    request: &HttpRequest,
    mut payload: Payload,
) -> impl Future<Output = Result<BytesMut, ApiError>> + 'static {
    let state = request.app_data::<web::Data<AppState>>().cloned();
    let limit = state.as_ref().map_or(0, |state| state.body_limit);
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    let encoding = encoding.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let encoding =
        encoding.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
    async move {
        let too_long = || {
            if let Some(state) = &state {
                state.metrics.rejected.with_label_values(&["request_too_large"]).inc();
            }
            let message = format!("the body is longer than {limit} bytes; send less");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("request_too_large")
        };
        if let Some(encoding) = encoding {
            let message = format!("bodies in `{encoding:.40}` are not read; send plain JSON");
            let error = ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
            return Err(error.code("unsupported_encoding"));
        }
        // At once, before the body is on its way; the connection closes behind the answer.
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(too_long());
        }
        let (mut body, mut length) = (BytesMut::new(), 0);
        while let Some(part) = payload.next().await {
            let part =
                part.map_err(|_| Invalid::new("the body is cut off or not HTTP; send it again"))?;
            length += part.len();
            if length <= limit {
                body.extend_from_slice(&part);
            } else if length > limit.saturating_mul(PATIENCE) {
                break;
            }
        }
        if length > limit {
            return Err(too_long());
        }
        Ok(body)
    }
}

fn parse(body: &[u8]) -> Result<Value, Invalid> {
    if body.is_empty() {
        return Err(Invalid::new("the body is empty; send a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        Invalid::new(format!("the body is not valid JSON: {error}")).code("invalid_json")
    })
}
