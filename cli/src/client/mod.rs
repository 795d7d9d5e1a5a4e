//! A client of Hone's own HTTP API, for the commands.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use hone_api::error::ErrorBody;
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod chat;
mod error;
pub mod path;
mod sse;
mod trust;

pub use chat::{ChatAnswer, ChatCall};
pub use error::ClientError;
pub use sse::{SseEvent, SseParser};

/// A list as the API has it.
#[derive(Debug, Clone, Deserialize)]
pub struct List<T> {
    /// One page of it.
    pub data: Vec<T>,
    /// Whether there is another page.
    #[serde(default)]
    pub has_more: bool,
}

/// Where a daemon listens, and how it knows us.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
}

impl Client {
    /// A client of the daemon at `url`, which believes the authorities in the file `ca`, or without one this
    /// machine's. No connection is made yet.
    ///
    /// # Errors
    /// `url` is not an http or https address, `key` cannot stand in a header, or `ca` cannot be used.
    pub fn new(url: &str, key: Option<&str>, ca: Option<&Path>) -> Result<Self, ClientError> {
        if key.is_some_and(|key| HeaderValue::from_str(key).is_err()) {
            return Err(ClientError::Key);
        }
        let url = url.trim_end_matches('/').to_owned();
        let is_address =
            reqwest::Url::parse(&url).is_ok_and(|url| ["http", "https"].contains(&url.scheme()));
        // A daemon on this machine must not be looked for behind a proxy.
        if !is_address {
            return Err(ClientError::Address { url });
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true);
        match trust::believe(http, &url, ca)?.build() {
            Ok(http) => Ok(Self { http, url, key: key.map(str::to_owned) }),
            Err(error) => Err(ClientError::Untrusted { url, reason: innermost(&error) }),
        }
    }

    /// The daemon's address, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `GET path`.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(self.request(Method::GET, path)).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    /// `POST path`, which does nothing if the same was sent with this key before; whether it was, and
    /// the answer.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
        idempotency_key: &str,
    ) -> Result<(bool, T), ClientError> {
        let request = self.request(Method::POST, path).json(body);
        let answer = self.send(request.header("idempotency-key", idempotency_key)).await?;
        let known = answer.headers().contains_key("idempotent-replayed");
        Ok((known, self.body(answer).await?))
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.json(self.request(Method::DELETE, path)).await
    }

    /// `DELETE path`, read as what it answers.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn delete_as<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(self.request(Method::DELETE, path)).await
    }

    /// Whether the daemon is ready to answer.
    pub async fn is_ready(&self) -> bool {
        let answer = self.request(Method::GET, "/readyz").timeout(Duration::from_secs(2));
        answer.send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// The server-sent events of `GET path`.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn events(&self, path: &str) -> Result<Events, ClientError> {
        let request = self.request(Method::GET, path).header("accept", "text/event-stream");
        Ok(self.read_events(self.send(request).await?))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        self.body(response).await
    }

    async fn body<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let bytes = response.bytes().await.map_err(|error| self.broken(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Foreign {
            url: self.url.clone(),
            reason: error.to_string(),
        })
    }

    fn read_events(&self, response: Response) -> Events {
        let url = self.url.clone();
        let bytes = response.bytes_stream().map(|part| part.map(|bytes| bytes.to_vec())).boxed();
        Events { bytes, parser: SseParser::default(), ready: VecDeque::new(), url }
    }

    /// Sends; anything but a success becomes the daemon's own words.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| {
            if let Some(reason) = trust::refusal(&error) {
                ClientError::Untrusted { url: self.url.clone(), reason }
            } else if error.is_connect() || error.is_timeout() {
                ClientError::Unreachable { url: self.url.clone() }
            } else {
                self.broken(&error)
            }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let retry_after = response.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let text = response.text().await.map_err(|error| self.broken(&error))?;
        Err(refusal(status, &text, retry_after))
    }

    fn broken(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Broken { url: self.url.clone(), reason: innermost(error) }
    }
}

/// The daemon's words, out of OpenAI's envelope if there is one.
fn refusal(status: StatusCode, text: &str, retry_after: Option<f64>) -> ClientError {
    let (message, code) = match serde_json::from_str::<ErrorBody>(text) {
        Ok(body) => (body.error.message, body.error.code),
        Err(_) if text.trim().is_empty() => (format!("the daemon answered {status}"), None),
        Err(_) => {
            let text: String = text.chars().take(300).collect();
            (format!("the daemon answered {status}: {text}"), None)
        }
    };
    ClientError::Refused { status: status.as_u16(), message, code, retry_after }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Server-sent events as they arrive.
pub struct Events {
    bytes: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    parser: SseParser,
    ready: VecDeque<SseEvent>,
    url: String,
}

impl Events {
    /// The next event; `None` at the end of the stream.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self) -> Result<Option<SseEvent>, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            match self.bytes.next().await {
                None => return Ok(None),
                Some(Ok(bytes)) => self.ready.extend(self.parser.push(&bytes)),
                Some(Err(error)) => {
                    let reason = innermost(&error);
                    return Err(ClientError::Broken { url: self.url.clone(), reason });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_speaks_for_itself() {
        let body = ErrorBody::new("invalid_request_error", "Say it again.").code("again");
        let text = serde_json::to_string(&body).unwrap();
        let error = refusal(StatusCode::CONFLICT, &text, Some(1.5));
        assert_eq!(error.to_string(), "Say it again.");
        assert!(matches!(error, ClientError::Refused { status: 409, .. }));
        let error = refusal(StatusCode::BAD_GATEWAY, "<html>", None);
        assert_eq!(error.to_string(), "the daemon answered 502 Bad Gateway: <html>");
    }

    #[tokio::test]
    async fn nobody_at_home_says_how_to_start() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::new(&format!("http://{free}/"), None, None).unwrap();
        let error = client.get::<Value>("/v1/models").await.unwrap_err();
        assert!(error.to_string().contains("hone serve"), "{error}");
    }

    #[test]
    fn an_address_must_be_one() {
        assert!(Client::new("localhost:8080", None, None).is_err());
        assert!(Client::new("http://[::1]:8080/", None, None).is_ok());
    }

    #[test]
    fn a_key_fits_in_a_header_and_is_not_repeated() {
        assert!(Client::new("http://localhost:8080", Some("hone-abc"), None).is_ok());
        let error =
            Client::new("http://localhost:8080", Some("hone-abc\n"), None).unwrap_err().to_string();
        assert!(error.contains("HONE_API_KEY") && !error.contains("hone-abc"), "{error}");
    }
}
