//! Paths of the API that hold a word of the user's.

use super::ClientError;

/// `/v1/adapters/REF`.
///
/// # Errors
/// Nothing can have this name.
pub fn adapter(reference: &str) -> Result<String, ClientError> {
    Ok(format!("/v1/adapters/{}", segment("an adapter", reference)?))
}

/// `/v1/cycles/ID`.
///
/// # Errors
/// Nothing can have this name.
pub fn cycle(id: &str) -> Result<String, ClientError> {
    Ok(format!("/v1/cycles/{}", segment("a cycle", id)?))
}

/// `/v1/keys/ID`.
///
/// # Errors
/// Nothing can have this name.
pub fn key(id: &str) -> Result<String, ClientError> {
    Ok(format!("/v1/keys/{}", segment("a key", id)?))
}

/// `/v1/interactions/ID`.
///
/// # Errors
/// Nothing can have this name.
pub fn interaction(id: &str) -> Result<String, ClientError> {
    Ok(format!("/v1/interactions/{}", segment("an answer", id)?))
}

/// `/v1/interactions/ID/replay`.
///
/// # Errors
/// Nothing can have this name.
pub fn replay(answer: &str) -> Result<String, ClientError> {
    Ok(format!("{}/replay", interaction(answer)?))
}

/// `/v1/subjects/USER`.
///
/// # Errors
/// Nothing can have this name.
pub fn subject(user: &str) -> Result<String, ClientError> {
    Ok(format!("/v1/subjects/{}", segment("an end user", user)?))
}

/// `/v1/feedback/waiting/ID/discard`.
///
/// # Errors
/// Nothing can have this name.
pub fn discard(answer: &str) -> Result<String, ClientError> {
    Ok(format!("/v1/feedback/waiting/{}/discard", segment("an answer", answer)?))
}

/// One step of a path, whatever is in it: a slash or a question mark would name something else.
fn segment(what: &'static str, text: &str) -> Result<String, ClientError> {
    use std::fmt::Write as _;
    // Dots are steps of their own, also when they are encoded.
    if text.trim().is_empty() || matches!(text, "." | "..") {
        return Err(ClientError::Nameless { what, given: text.to_owned() });
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte.into());
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}"); // writing to a String does not fail
            }
        }
    }
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_stays_one_step() {
        for (given, path) in [
            ("ad-1_x.y", "/v1/adapters/ad-1_x.y"),
            ("../x", "/v1/adapters/..%2Fx"),
            ("a b/c?d#e%", "/v1/adapters/a%20b%2Fc%3Fd%23e%25"),
            ("ä", "/v1/adapters/%C3%A4"),
        ] {
            assert_eq!(adapter(given).unwrap(), path);
            let url = reqwest::Url::parse(&format!("http://h{path}")).unwrap();
            assert_eq!(url.path(), path, "it is sent as it is");
        }
        for none in ["", " ", ".", ".."] {
            assert!(cycle(none).unwrap_err().to_string().contains("a cycle"), "{none:?}");
        }
    }
}
