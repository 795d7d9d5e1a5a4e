//! Who speaks: the end user whom the app names, or else the caller's address. What is kept is a hash
//! with a key of this daemon's own, so that the log names nobody.

use std::fmt;

use actix_web::HttpRequest;

/// The header that names the end user where the body does not.
const HEADER: &str = "x-hone-user";

/// Digits of a hash that are kept: 128 bits.
const DIGITS: usize = 32;

/// Makes hashes of sources.
#[derive(Clone)]
pub struct SourceHasher {
    key: [u8; 32],
}

impl SourceHasher {
    /// With the daemon's key. With another one all sources are strangers.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The source of a request whose body names `user`. `None`: nothing is known of the caller.
    pub(crate) fn of(&self, request: &HttpRequest, user: Option<&str>) -> Option<String> {
        let said = |text: &[u8]| !text.trim_ascii().is_empty();
        let header = request.headers().get(HEADER).map(|value| value.as_bytes());
        let user = user.map(str::as_bytes).filter(|text| said(text));
        if let Some(user) = user.or(header.filter(|text| said(text))) {
            return Some(self.hash("user:", user.trim_ascii()));
        }
        // The port is another one with every connection.
        let address = request.peer_addr()?.ip().to_canonical();
        Some(self.hash("address:", address.to_string().as_bytes()))
    }

    fn hash(&self, kind: &str, text: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(kind.as_bytes());
        hasher.update(text);
        let mut digits = hasher.finalize().to_hex().to_string();
        digits.truncate(DIGITS);
        digits
    }
}

impl fmt::Debug for SourceHasher {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceHasher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const HASHER: SourceHasher = SourceHasher::new([7; 32]);

    fn from(address: &str) -> TestRequest {
        TestRequest::post().peer_addr(address.parse().unwrap())
    }

    fn of(request: TestRequest, user: Option<&str>) -> String {
        HASHER.of(&request.to_http_request(), user).unwrap()
    }

    #[test]
    fn the_body_wins_over_the_header_and_both_over_the_address() {
        let ann = of(from("10.0.0.1:80"), Some("ann"));
        let header = |name: &str| from("10.0.0.1:80").insert_header((HEADER, name));
        assert_eq!(of(header("bob"), Some("ann")), ann);
        assert_eq!(of(header("ann"), None), ann);
        assert_eq!(of(header("ann"), Some(" ")), ann, "a blank name says nothing");
        assert_eq!(of(header("J\u{fc}rgen"), None), of(from("10.0.0.1:80"), Some("J\u{fc}rgen")));
        assert_ne!(of(from("10.0.0.1:80"), None), ann);
    }

    #[test]
    fn an_address_is_one_whatever_its_port_and_form() {
        let one = of(from("10.0.0.1:80"), None);
        assert_eq!(of(from("10.0.0.1:81"), None), one);
        assert_eq!(of(from("[::ffff:10.0.0.1]:81"), None), one);
        assert_ne!(of(from("10.0.0.2:80"), None), one);
        assert_ne!(of(from("10.0.0.2:80"), Some("10.0.0.1")), one, "a name is no address");
        assert_eq!(HASHER.of(&TestRequest::post().to_http_request(), None), None);
    }

    #[test]
    fn a_hash_is_short_keyed_and_keeps_its_key_to_itself() {
        let hash = of(from("10.0.0.1:80"), Some("ann"));
        assert_eq!((hash.len(), hash.bytes().all(|b| b.is_ascii_hexdigit())), (32, true));
        let other = SourceHasher::new([8; 32]);
        assert_ne!(other.of(&from("10.0.0.1:80").to_http_request(), Some("ann")), Some(hash));
        assert_eq!(format!("{HASHER:?}"), "SourceHasher { .. }");
    }
}
