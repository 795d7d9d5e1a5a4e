//! Who speaks: the API key and the end user whom the app names; without a key and a name the caller's
//! address. What is kept is a hash with a key of this daemon's own, so that the log names nobody.

use std::fmt;
use std::net::IpAddr;

use hone_engine::Party;

use crate::address::neighbourhood;

/// Digits of a hash that are kept: 128 bits.
const DIGITS: usize = 32;

/// All that is known of who speaks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Speaker<'a> {
    /// The API key's id. What two keys call by one name are two people.
    pub(crate) key: Option<&'a str>,
    /// The end user, as the body names it.
    pub(crate) user: Option<&'a [u8]>,
    /// The same in the header; the body wins.
    pub(crate) header: Option<&'a [u8]>,
    /// Of whom there is neither a key nor a name.
    pub(crate) address: Option<IpAddr>,
}

impl Speaker<'_> {
    /// The end user, as the body or else the header names it.
    fn named(&self) -> Option<&[u8]> {
        let said = |text: &&[u8]| !text.trim_ascii().is_empty();
        self.user.filter(said).or(self.header.filter(said)).map(<[u8]>::trim_ascii)
    }
}

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

    /// The hash of who speaks. `None`: nothing is known.
    pub(crate) fn hash(&self, speaker: &Speaker<'_>) -> Option<String> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        if let Some(key) = speaker.key {
            // An id has no space.
            hasher.update(b"key:").update(key.as_bytes()).update(b" ");
        }
        let address = speaker.address.map(|address| address.to_string());
        if let Some(user) = speaker.named() {
            hasher.update(b"user:").update(user);
        } else if speaker.key.is_none() {
            hasher.update(b"address:").update(address?.as_bytes());
        }
        let mut digits = hasher.finalize().to_hex().to_string();
        digits.truncate(DIGITS);
        Some(digits)
    }

    /// Between whom turns and places are shared: the key, or without one the address, and the end user behind it.
    pub(crate) fn party(&self, speaker: &Speaker<'_>) -> Party {
        let number = |kind: &[u8], what: &[u8]| {
            let hash = blake3::keyed_hash(&self.key, &[kind, what].concat());
            hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let address = || speaker.address.map(|address| neighbourhood(address).to_string());
        let caller = match speaker.key {
            Some(key) => number(b"key:", key.as_bytes()),
            None => number(b"address:", address().unwrap_or_default().as_bytes()),
        };
        Party { caller, user: number(b"user:", speaker.named().unwrap_or_default()) }
    }
}

/// Hashes of what an app names: its end users and their conversations.
impl SourceHasher {
    /// The hash of an end user, whichever key she comes through. `None`: a blank name says nothing.
    #[must_use]
    pub fn user(&self, name: &[u8]) -> Option<String> {
        self.named(b"end user:", name)
    }

    /// The hash of a conversation.
    pub(crate) fn conversation(&self, name: &[u8]) -> Option<String> {
        self.named(b"conversation:", name)
    }

    fn named(&self, kind: &[u8], name: &[u8]) -> Option<String> {
        let name = name.trim_ascii();
        if name.is_empty() {
            return None;
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        let mut digits = hasher.update(kind).update(name).finalize().to_hex().to_string();
        digits.truncate(DIGITS);
        Some(digits)
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
    use super::*;

    const HASHER: SourceHasher = SourceHasher::new([7; 32]);

    fn at(address: &str) -> Speaker<'static> {
        Speaker { address: Some(address.parse().unwrap()), ..Speaker::default() }
    }

    fn of(speaker: Speaker<'_>) -> String {
        HASHER.hash(&speaker).unwrap()
    }

    #[test]
    fn the_body_wins_over_the_header_and_both_over_the_address() {
        let here = at("10.0.0.1");
        let ann = of(Speaker { user: Some(b"ann"), ..here });
        let header = |name: &'static [u8]| Speaker { header: Some(name), ..here };
        assert_eq!(of(Speaker { user: Some(b"ann"), ..header(b"bob") }), ann);
        assert_eq!(of(header(b"ann")), ann);
        assert_eq!(
            of(Speaker { user: Some(b" "), ..header(b"ann") }),
            ann,
            "a blank name says nothing"
        );
        assert_ne!(of(here), ann);
        assert_ne!(of(here), of(at("10.0.0.2")));
        assert_ne!(
            of(Speaker { user: Some(b"10.0.0.1"), ..here }),
            of(here),
            "a name is no address"
        );
        assert_eq!(HASHER.hash(&Speaker::default()), None);
    }

    #[test]
    fn key_and_user_together_are_a_source() {
        let by = |key, user: Option<&'static [u8]>| of(Speaker { key, user, ..at("10.0.0.1") });
        let all = [
            by(None, Some(b"ann")),
            by(Some("aa"), Some(b"ann")),
            by(Some("bb"), Some(b"ann")),
            by(Some("aa"), Some(b"bob")),
            by(Some("aa"), None),
            by(Some("bb"), None),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        let elsewhere = Speaker { key: Some("aa"), ..at("10.0.0.2") };
        assert_eq!(of(elsewhere), by(Some("aa"), None), "a key is one, wherever it is used");
    }

    #[test]
    fn a_party_is_a_key_or_an_address_and_the_users_behind_it() {
        let by = |key, user: Option<&'static [u8]>, address| {
            HASHER.party(&Speaker { key, user, ..at(address) })
        };
        let ann = by(Some("aa"), Some(b"ann"), "10.0.0.1");
        assert_eq!(ann, by(Some("aa"), Some(b" ann "), "10.0.0.2"), "a key is one everywhere");
        let bob = by(Some("aa"), Some(b"bob"), "10.0.0.1");
        assert!(ann.caller == bob.caller && ann.user != bob.user);
        assert_ne!(ann.caller, by(Some("bb"), Some(b"ann"), "10.0.0.1").caller);
        let here = by(None, None, "10.0.0.1");
        assert_ne!(here.caller, by(None, None, "10.0.0.2").caller);
        assert_eq!(here.caller, by(None, Some(b"ann"), "::ffff:10.0.0.1").caller);
        let of_network = |address| by(None, None, address).caller;
        assert_eq!(of_network("2001:db8:1:2::1"), of_network("2001:db8:1:2:3:4:5:6"));
        assert_ne!(of_network("2001:db8:1:2::1"), of_network("2001:db8:1:3::1"));
    }

    #[test]
    fn a_hash_is_short_keyed_and_keeps_its_key_to_itself() {
        let hash = of(at("10.0.0.1"));
        assert_eq!((hash.len(), hash.bytes().all(|b| b.is_ascii_hexdigit())), (32, true));
        assert_ne!(SourceHasher::new([8; 32]).hash(&at("10.0.0.1")), Some(hash));
        assert_eq!(format!("{HASHER:?}"), "SourceHasher { .. }");
    }
}
