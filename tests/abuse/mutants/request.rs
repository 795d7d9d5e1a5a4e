//! A request that is a change away from a good one, as bytes: no client library would send some of them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::adapter::one_of;

/// Longer than any answer takes, by far.
const HANGS: Duration = Duration::from_secs(30);

/// One request of HTTP/1.1.
#[derive(Debug, Clone)]
pub(crate) struct Mutant {
    pub(crate) method: String,
    path: Vec<u8>,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
    /// What was done to it.
    pub(crate) what: &'static str,
    /// What may come of it.
    pub(crate) expected: Expected,
}

/// What may come of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Any answer that is not the daemon's own fault.
    Answer,
    /// An answer that refuses: to take it for something else would be silent acceptance.
    Refusal,
    /// It is no whole request, so that it may be dropped without an answer.
    Anything,
}

type Change = fn(&mut Mutant, &mut ChaCha8Rng);

/// Changes of bodies, for routes that read one.
const BODIES: [(&str, Change); 17] = [
    ("a field is missing", |m, rng| {
        m.edit(rng, |map, name, _| drop(map.remove(name)));
    }),
    ("a field is null", |m, rng| {
        m.edit(rng, |map, name, _| map[name] = Value::Null);
    }),
    ("a field of another type", |m, rng| {
        let changed = m.edit(rng, |map, name, _| {
            map[name] = match &map[name] {
                Value::String(_) => json!({"odd": 1}),
                Value::Array(_) => json!(7),
                _ => json!("odd"),
            };
        });
        m.expected = if changed { Expected::Refusal } else { Expected::Answer };
    }),
    ("a field is there twice", |m, rng| {
        let odd = one_of(&["null", "\"x\"", "[]", "{}", "1e400", "-1"], rng);
        m.edit_text(|text| text.to_string().replacen('{', &format!("{{\"model\":{odd},"), 1));
    }),
    ("a field that nobody knows", |m, rng| {
        let name = one_of(&["frobnicate", "", "__proto__", "modell", "x\u{0}"], rng);
        m.edit(rng, |map, _, _| drop(map.insert(name.to_owned(), json!(1))));
    }),
    ("a field is huge", |m, rng| {
        m.edit(rng, |map, name, rng| {
            let huge = [
                json!("0".repeat(1_500_000)),
                json!(vec![0; 300_000]),
                json!(vec!["x"; 100_000]),
                json!(vec![json!({"role": "user", "content": "x"}); 20_000]),
            ];
            map[name] = one_of(&huge, rng);
        });
    }),
    ("a number is odd", |m, rng| {
        m.edit(rng, |map, name, rng| {
            let odd = [
                json!(-1),
                json!(u64::MAX),
                json!(i64::MIN),
                json!(1e308),
                json!(-1e308),
                json!(5e-324),
                json!(0.5),
                json!(-0.0),
                json!(1u64 << 53),
            ];
            map[name] = one_of(&odd, rng);
        });
    }),
    ("a text is odd", |m, rng| {
        m.edit(rng, |map, name, rng| {
            let odd = [
                "",
                "\u{0}",
                "\u{feff}",
                "\u{202e}x\u{2066}",
                "\u{10ffff}\u{fffe}",
                "e\u{301}\u{301}\u{301}",
                "../../etc/passwd",
                "'; DROP TABLE audit; --",
                "{{ 1/0 }}",
                "<|im_start|>system\n<s></s>",
                "%n%s",
                "\r\nx: y",
                "NaN",
            ];
            map[name] = json!(one_of(&odd, rng));
        });
    }),
    ("numbers that JSON has not", |m, rng| {
        let odd = one_of(&["NaN", "-Infinity", "1e", "0x10", "01", "1.", "+1", "undefined"], rng);
        m.edit_text(|text| text.replacen('{', &format!("{{\"temperature\":{odd},"), 1));
        m.expected = Expected::Refusal;
    }),
    ("a number that no float holds", |m, _| {
        m.edit_text(|text| text.replacen('{', "{\"temperature\":1e999,", 1));
        m.expected = Expected::Refusal;
    }),
    ("deep", |m, rng| {
        let (open, close) = one_of(&[("[", "]"), ("{\"a\":", "}")], rng);
        let depth = one_of(&[200, 10_000, 100_000], rng);
        m.body = format!("{}1{}", open.repeat(depth), close.repeat(depth)).into_bytes();
        m.expected = Expected::Refusal;
    }),
    ("cut off", |m, rng| {
        m.body.truncate(rng.random_range(1..m.body.len().max(2)));
        m.expected = Expected::Refusal;
    }),
    ("two bodies", |m, _| {
        m.body = m.body.repeat(2);
        m.expected = Expected::Refusal;
    }),
    ("no UTF-8", |m, rng| {
        let odd =
            one_of(&[&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"], rng);
        let at = rng.random_range(0..=m.body.len());
        m.body.splice(at..at, odd.iter().copied());
        m.expected = Expected::Refusal;
    }),
    ("UTF-16", |m, _| {
        let text = String::from_utf8_lossy(&m.body).into_owned();
        m.body = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        m.expected = Expected::Refusal;
    }),
    ("half a surrogate", |m, _| {
        m.edit_text(|text| text.replacen('{', "{\"user\":\"\\ud800\",", 1));
        m.expected = Expected::Refusal;
    }),
    ("no object", |m, rng| {
        let odd = one_of(&["[]", "7", "\"x\"", "true", "[{}]"], rng);
        m.body = odd.into();
        m.expected = Expected::Refusal;
    }),
];

/// Changes of everything else, for all routes.
const LINES: [(&str, Change); 9] = [
    ("another method", |m, rng| {
        m.method =
            one_of(&["PATCH", "PUT", "TRACE", "BREW", "get", "OPTIONS", "DELETE"], rng).to_owned();
    }),
    ("an odd query", |m, rng| {
        let far = format!("?x={}", "y".repeat(6000));
        let odd = [
            "?limit=-1",
            "?limit=99999999999999999999",
            "?limit=NaN&order=up",
            "?after=%00",
            "?%zz=%",
            "?limit=1&limit=2",
            "?metadata[=x&metadata]=",
            "?since=1e99&until=-1",
            "?a=b&&&=&",
            "?\u{ff}",
            "?order=desc;x",
            &far,
            "?after=../../x",
            "?stored=maybe&has_feedback=1",
        ];
        m.path.extend(one_of(&odd, rng).bytes());
    }),
    ("an odd segment", |m, rng| {
        let far = "x".repeat(5000);
        let odd = [
            "..",
            "%2e%2e%2f%2e%2e",
            "%00",
            "%ff%fe",
            "\u{1f980}",
            "a b",
            &far,
            "",
            "-1",
            "%",
            "%25%32%65",
            "ad-01980000-0000-7000-8000-000000000000",
            "base",
            "live",
            "*",
            "'",
            "..;/",
        ];
        let path = String::from_utf8_lossy(&m.path).into_owned();
        let (before, last) = path.rsplit_once('/').unwrap_or_default();
        let odd = one_of(&odd, rng);
        m.path = match rng.random_range(0..3) {
            0 => format!("{before}/{odd}"),
            1 => format!("{path}/{odd}"),
            _ => format!("{before}//{last}"),
        }
        .into_bytes();
    }),
    ("an odd header", |m, rng| {
        let odd: [(&str, &[u8]); 16] = [
            ("authorization", b"Bearer \xff\xfe"),
            ("authorization", b"Basic YTpi"),
            ("authorization", b""),
            ("x-hone-user", b"\xe2\x82"),
            ("x-hone-user", &[b'x'; 9000]),
            ("content-type", b"text/html"),
            ("content-encoding", b"gzip"),
            ("idempotency-key", &[b'k'; 3000]),
            ("last-event-id", b"-1"),
            ("accept", b"*/*;q=NaN"),
            ("host", b"evil.example"),
            ("origin", b"http://evil.example"),
            ("traceparent", b"00-zz-zz-zz"),
            ("x-request-id", b"\x01\x7f"),
            ("cookie", &[b'c'; 9000]),
            ("if-match", b"\""),
        ];
        let (name, value) = one_of(&odd, rng);
        m.headers.retain(|(known, _)| *known != name);
        m.headers.push((name, value.to_vec()));
    }),
    ("many headers", |m, _| m.headers.extend((0..200).map(|_| ("x-many", b"y".to_vec())))),
    ("a body where none belongs, or none where one does", |m, _| {
        m.body = if m.body.is_empty() { b"{\"x\":1}".to_vec() } else { Vec::new() };
    }),
    ("a length that lies", |m, rng| {
        let odd: [&[u8]; 5] = [b"-1", b"99999999", b"1e3", b"18446744073709551616", b"0x10"];
        m.headers.push(("content-length", one_of(&odd, rng).to_vec()));
        m.expected = Expected::Anything;
    }),
    ("chunks that are none", |m, rng| {
        let odd: [&[u8]; 4] =
            [b"zz\r\nx\r\n0\r\n\r\n", b"ffffffffffffffff1\r\nx", b"-1\r\n\r\n", b"1\r\nxyz"];
        m.headers.push(("transfer-encoding", b"chunked".to_vec()));
        m.body = one_of(&odd, rng).to_vec();
        m.expected = Expected::Anything;
    }),
    ("a broken first line", |m, rng| {
        let odd = ["GET", "\u{0}", "GET / HTTP/9.9\r\n", "POST  /  HTTP/1.1", "PRI * HTTP/2.0"];
        m.method = one_of(&odd, rng).to_owned();
        m.expected = Expected::Anything;
    }),
];

impl Mutant {
    /// A request as it should be.
    pub(crate) fn good(method: &str, path: &str, key: &str, body: Option<&Value>) -> Self {
        Self {
            method: method.to_owned(),
            path: path.into(),
            headers: vec![("authorization", format!("Bearer {key}").into_bytes())],
            body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
            what: "nothing",
            expected: Expected::Answer,
        }
    }

    /// The same with a change.
    pub(crate) fn changed(mut self, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let has_body = !self.body.is_empty();
        let (what, change) = if has_body && rng.random_ratio(3, 4) {
            one_of(&BODIES, &mut rng)
        } else {
            one_of(&LINES, &mut rng)
        };
        self.what = what;
        change(&mut self, &mut rng);
        self
    }

    /// Sends it on a connection of its own. The status and the body; `None` if the daemon hung up without a word.
    pub(crate) async fn send(&self, address: &str) -> Result<Option<(u16, String)>> {
        let mut connection = TcpStream::connect(address).await?;
        let (method, what) = (&self.method, self.what);
        let mut bytes = [method.as_bytes(), b" ", &self.path, b" HTTP/1.1\r\n"].concat();
        let has = |name| self.headers.iter().any(|(known, _)| *known == name);
        if !has("host") {
            bytes.extend(format!("host: {address}\r\n").bytes());
        }
        if !has("content-length") && !has("transfer-encoding") {
            bytes.extend(format!("content-length: {}\r\n", self.body.len()).bytes());
        }
        for (name, value) in &self.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend(b"connection: close\r\n\r\n");
        bytes.extend(&self.body);
        // A refusal may come, and the connection close, while the rest of the body is on its way.
        let _ = connection.write_all(&bytes).await;
        let mut answer = Vec::new();
        let patience = if self.expected == Expected::Anything { HANGS / 60 } else { HANGS };
        let read = tokio::time::timeout(patience, connection.read_to_end(&mut answer)).await;
        if read.is_err() && self.expected != Expected::Anything {
            bail!("{what}: {method} {} hangs", String::from_utf8_lossy(&self.path));
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        if answer.is_empty() {
            return Ok(None);
        }
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        Ok(Some((status.with_context(|| format!("no status: {answer:.200}"))?, body.to_owned())))
    }

    /// Changes a field of the body, at the top or in an object of a list in it. False: it has none.
    fn edit(
        &mut self,
        rng: &mut ChaCha8Rng,
        change: impl FnOnce(&mut serde_json::Map<String, Value>, &str, &mut ChaCha8Rng),
    ) -> bool {
        let Ok(Value::Object(mut body)) = serde_json::from_slice(&self.body) else { return false };
        let names: Vec<String> = body.keys().cloned().collect();
        let Some(name) = names.get(rng.random_range(0..names.len().max(1))) else { return false };
        match body[name].get_mut(0).and_then(Value::as_object_mut) {
            Some(inner) if rng.random_bool(0.5) => {
                let names: Vec<String> = inner.keys().cloned().collect();
                let name = one_of(&names, rng);
                change(inner, &name, rng);
            }
            _ => change(&mut body, name, rng),
        }
        self.body = Value::Object(body).to_string().into_bytes();
        true
    }

    fn edit_text(&mut self, edit: impl FnOnce(&str) -> String) {
        let text = String::from_utf8_lossy(&self.body).replacen(",}", "}", 1);
        // `{}` has no field behind the one that is put in.
        self.body = edit(&text).replacen(",}", "}", 1).into_bytes();
    }
}
