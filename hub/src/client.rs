//! The two requests to a hub: what a revision holds, and a file from some byte on.

use std::{error::Error as _, time::Duration};

use reqwest::{
    Response, StatusCode, Url,
    header::{HeaderMap, RANGE},
};

use crate::{Error, HubSettings, Name, listing::Listing};

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(15);
/// Between two pieces of an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes of the longest listing.
const LISTING: usize = 32 << 20;

/// A hub, spoken to as somebody.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    settings: HubSettings,
}

impl Client {
    pub(crate) fn new(settings: &HubSettings) -> Result<Self, Error> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("hone/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE);
        // Without TLS nobody is believed: then this machine needs no list of authorities.
        if settings.endpoint.starts_with("http:") {
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|error| Error::Client(innermost(&error)))?;
        Ok(Self { http, settings: settings.clone() })
    }

    /// What a revision holds.
    pub(crate) async fn listing(&self, name: &Name) -> Result<Listing, Error> {
        let path =
            format!("api/models/{}/revision/{}", name.repo(), name.revision().replace('/', "%2F"));
        let mut url = self.url(&path)?;
        url.set_query(Some("blobs=true"));
        let mut response = self.get(name, &url, None).await?;
        let mut bytes = Vec::new();
        let cut = |error: reqwest::Error| self.unreachable(name, &error);
        while let Some(piece) = response.chunk().await.map_err(cut)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > LISTING {
                return Err(answer(&url, format!("it has more than {LISTING} bytes")));
            }
        }
        serde_json::from_slice(&bytes).map_err(|error| answer(&url, error.to_string()))
    }

    /// A file of a commit, from byte `from` on where the hub can do that.
    pub(crate) async fn file(
        &self,
        name: &Name,
        commit: &str,
        file: &str,
        from: u64,
    ) -> Result<Response, Error> {
        let url = self.url(&format!("{}/resolve/{commit}/{file}", name.repo()))?;
        self.get(name, &url, Some(from).filter(|from| *from > 0)).await
    }

    /// The token goes to the hub alone: reqwest takes it away where the answer sends us to another host.
    async fn get(&self, name: &Name, url: &Url, from: Option<u64>) -> Result<Response, Error> {
        let mut request = self.http.get(url.clone());
        if let Some(token) = &self.settings.token {
            request = request.bearer_auth(token);
        }
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await.map_err(|error| self.unreachable(name, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(name, url, response.status(), response.headers()))
    }

    /// What the hub means: its header `x-error-code` says it better than the status.
    fn refusal(&self, name: &Name, url: &Url, status: StatusCode, headers: &HeaderMap) -> Error {
        let (repo, endpoint) = (name.repo().to_owned(), self.settings.endpoint.clone());
        let code =
            headers.get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        match (code, status) {
            ("GatedRepo", _) => Error::Gated { endpoint, repo },
            ("RevisionNotFound", _) => {
                Error::NoRevision { repo, revision: name.revision().to_owned() }
            }
            ("EntryNotFound", _) => Error::Lacks {
                repo,
                what: url.path().rsplit('/').next().unwrap_or_default().to_owned(),
                remedy: "try again: it was changed meanwhile".to_owned(),
            },
            // The hub answers so for what is not there, too, so that nobody can tell.
            ("RepoNotFound", _) | ("", StatusCode::NOT_FOUND) => Error::NoModel { endpoint, repo },
            (_, StatusCode::UNAUTHORIZED) if self.settings.token.is_some() => {
                Error::Token { endpoint }
            }
            (_, StatusCode::UNAUTHORIZED) => Error::NoModel { endpoint, repo },
            (_, StatusCode::FORBIDDEN) => Error::Gated { endpoint, repo },
            _ => Error::Status { url: plain(url), status: status.to_string() },
        }
    }

    fn url(&self, path: &str) -> Result<Url, Error> {
        let text = format!("{}/{path}", self.settings.endpoint);
        Url::parse(&text).map_err(|_| Error::Endpoint(self.settings.endpoint.clone()))
    }

    pub(crate) fn unreachable(&self, name: &Name, error: &reqwest::Error) -> Error {
        offline(&self.settings, name, innermost(error))
    }
}

/// The hub was not, or may not be, asked.
pub(crate) fn offline(settings: &HubSettings, name: &Name, reason: String) -> Error {
    Error::Offline {
        name: name.to_string(),
        cache: settings.cache.clone(),
        endpoint: settings.endpoint.clone(),
        reason,
    }
}

pub(crate) fn answer(url: &Url, reason: String) -> Error {
    Error::Answer { url: plain(url), reason }
}

/// Without a query, in which links to stores carry their signatures.
fn plain(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

/// The cause behind all wrappings: what the network says.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() && error.source().is_none() {
        "it does not answer in time".to_owned()
    } else {
        cause.to_string()
    }
}
