//! Secrets of keys in texts where they do not belong.

use std::borrow::Cow;

/// What every key begins with.
pub(crate) const PREFIX: &str = "hone-";
/// Bytes of the public part. Two keys of one daemon would need luck of 2^24 to meet.
pub(crate) const ID: usize = 6;

/// A text without the secrets of keys in it: somebody may have put one where it does not belong, into a path or
/// the name of a model, and such words come back in errors and stand in the log.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut rest = text;
    let mut clean = String::new();
    while let Some(at) = rest.find(PREFIX) {
        let (before, key) = rest.split_at(at + PREFIX.len());
        clean.push_str(before);
        rest = key;
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some((id, secret)) = key.split_at_checked(2 * ID) else { continue };
        if let Some(secret) = secret.strip_prefix('-').filter(|_| is_hex(id)) {
            clean.extend([id, "-\u{2026}"]);
            rest = secret.trim_start_matches(|letter: char| letter.is_ascii_hexdigit());
        }
    }
    if clean.is_empty() {
        return Cow::Borrowed(text);
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_the_wrong_place_is_taken_out() {
        let secret = "0123456789abcdef".repeat(4);
        let text = format!("no `/v1/hone-0123456789ab-{secret}/x` and hone-0123456789ab-{secret}");
        let clean = without_secrets(&text);
        assert_eq!(clean, "no `/v1/hone-0123456789ab-\u{2026}/x` and hone-0123456789ab-\u{2026}");
        for harmless in [
            "hone-starter",
            "hone-",
            "the hone-0123456789ab",
            "hone-\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}",
        ] {
            assert_eq!(without_secrets(harmless), harmless);
        }
    }
}
