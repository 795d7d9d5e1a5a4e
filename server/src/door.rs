//! Which requests come from where they may: the name that a request gives to this daemon (`Host`), and
//! the page that sends it (`Origin`).
//!
//! Bodies are taken whatever their content type is, so any web page could post to a daemon on the
//! visitor's machine. Browsers tell which page asks; other programs do not and may pass. A page that
//! lets its own name point to this machine (DNS rebinding) is of one origin with the daemon in the
//! browser's eyes, and is told apart by that name alone.

use std::net::IpAddr;

use actix_cors::Cors;
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::http::{Method, StatusCode};

use crate::error::ApiError;

/// Headers of answers that a page of a configured origin may read beside the usual ones.
const EXPOSED: [&str; 7] = [
    "x-request-id",
    "x-hone-adapter",
    "x-hone-ignored",
    "x-should-retry",
    "retry-after",
    "retry-after-ms",
    "idempotent-replayed",
];
/// Seconds for which a browser need not ask again what a page may do.
const REMEMBERED: usize = 3600;

/// Who may come in, by name and by page.
#[derive(Debug, Clone)]
pub struct Door {
    loopback: bool,
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Door {
    /// `loopback`: only this machine can reach the server, so a request must call it by a loopback name
    /// or by one of `hosts`. Pages of `origins` may use the API, e.g. `https://app.example.com`.
    #[must_use]
    pub fn new(loopback: bool, hosts: &[String], origins: &[String]) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { loopback, hosts: lower(hosts), origins: lower(origins) }
    }

    /// Why a request may not come in.
    pub(crate) fn refusal(&self, request: &HttpRequest) -> Option<ApiError> {
        let host = match host(request) {
            Ok(host) => host,
            Err(error) => return Some(error),
        };
        // What stands in the request line counts for proxies and servers alike.
        let line = request.uri().authority().map(|authority| authority.as_str());
        let strange = [Some(host), line].into_iter().flatten().find(|name| !self.knows(name));
        if let Some(name) = strange {
            let message = format!(
                "`{name:.100}` is no name of this machine; call it 127.0.0.1 or localhost, or add \
                 the name to server.hosts"
            );
            return Some(ApiError::new(StatusCode::FORBIDDEN, message).code("foreign_host"));
        }
        if self.is_foreign_page(request.headers(), host) {
            let message = "a browser page of another origin may not use this daemon; call it from \
                           your own program, or add the page's origin to server.cors_origins";
            return Some(ApiError::new(StatusCode::FORBIDDEN, message).code("foreign_origin"));
        }
        None
    }

    /// Whether a request may call this daemon so.
    fn knows(&self, host: &str) -> bool {
        if !self.loopback {
            return true;
        }
        let Some(name) = name(host) else { return false };
        let name = name.to_ascii_lowercase();
        name == "localhost"
            || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
            || self.hosts.contains(&name)
    }

    fn is_foreign_page(&self, headers: &HeaderMap, host: &str) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).map(|origin| origin.to_str());
        origins.any(|origin| {
            let Ok(origin) = origin else { return true };
            let own = origin.split_once("://").is_some_and(|(_, authority)| authority == host);
            !own && !self.origins.contains(&origin.to_ascii_lowercase())
        })
    }

    /// Whether pages of other origins may use the API at all.
    pub(crate) const fn has_pages(&self) -> bool {
        !self.origins.is_empty()
    }

    /// What lets the pages of the configured origins read answers.
    pub(crate) fn cors(&self) -> Cors {
        let cors = self.origins.iter().fold(Cors::default(), |cors, one| cors.allowed_origin(one));
        cors.allowed_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
            // SDKs send many of their own; which ones makes no difference to an origin that is trusted.
            .allow_any_header()
            .expose_headers(EXPOSED.map(HeaderName::from_static))
            // The door itself turns others away, and the daemon's own pages have an origin too.
            .block_on_origin_mismatch(false)
            .max_age(REMEMBERED)
    }
}

/// The one `Host` of a request.
fn host(request: &HttpRequest) -> Result<&str, ApiError> {
    let mut hosts = request.headers().get_all(header::HOST);
    let invalid =
        |message: &str| ApiError::new(StatusCode::BAD_REQUEST, message).code("invalid_host");
    match (hosts.next(), hosts.next()) {
        (None, _) => Err(invalid("the header `Host` is missing; send one")),
        (Some(_), Some(_)) => Err(invalid("there is more than one header `Host`; send one")),
        (Some(host), None) => {
            host.to_str().map_err(|_| invalid("the header `Host` is no name; send one"))
        }
    }
}

/// The name in `name`, `name:port`, `[::1]` or `[::1]:port`.
fn name(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = rest.is_empty()
        || rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    (port && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn door(loopback: bool) -> Door {
        Door::new(loopback, &["Hone.lan".to_owned()], &["https://app.example".to_owned()])
    }

    fn word(loopback: bool, headers: &[(&'static str, &str)]) -> Option<String> {
        let request = headers.iter().fold(TestRequest::post(), |r, h| r.append_header(*h));
        let refusal = door(loopback).refusal(&request.to_http_request());
        refusal.map(|error| error.word().unwrap_or_default().to_owned())
    }

    #[test]
    fn on_loopback_the_name_must_be_one_of_this_machine() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1:8080",
            "127.8.9.1",
            "[::1]:8080",
            "[::1]",
            "hone.lan:80",
        ] {
            assert_eq!(word(true, &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "::1",
            "",
            "localhost:8080@evil",
            "[::1]x",
            "[::1",
        ] {
            assert_eq!(word(true, &[("host", host)]).as_deref(), Some("foreign_host"), "{host}");
            assert_eq!(word(false, &[("host", host)]), None, "{host}");
        }
    }

    #[test]
    fn one_name_is_needed_everywhere() {
        for loopback in [true, false] {
            assert_eq!(word(loopback, &[]).as_deref(), Some("invalid_host"));
            let twice = [("host", "localhost"), ("host", "localhost")];
            assert_eq!(word(loopback, &twice).as_deref(), Some("invalid_host"));
        }
    }

    #[test]
    fn the_request_line_may_name_no_other() {
        let request = TestRequest::with_uri("http://evil.example/v1/models");
        let request = request.insert_header(("host", "localhost")).to_http_request();
        assert_eq!(door(true).refusal(&request).unwrap().word(), Some("foreign_host"));
    }

    #[test]
    fn own_and_configured_pages_pass_and_others_do_not() {
        let from = |host: &'static str, origin: &'static str| {
            word(true, &[("host", host), ("origin", origin)])
        };
        assert_eq!(from("127.0.0.1:8080", "http://127.0.0.1:8080"), None);
        assert_eq!(from("127.0.0.1:8080", "https://app.example"), None);
        for origin in ["https://evil.example", "null", "http://127.0.0.1:9", "http://app.example"] {
            let said = from("127.0.0.1:8080", origin);
            assert_eq!(said.as_deref(), Some("foreign_origin"), "{origin}");
        }
        let both = [
            ("host", "localhost"),
            ("origin", "https://app.example"),
            ("origin", "https://evil.example"),
        ];
        assert_eq!(word(true, &both).as_deref(), Some("foreign_origin"));
    }
}
