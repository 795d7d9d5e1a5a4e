//! Texts without what nobody means by them.

/// Two texts that differ in case and white space only say the same.
pub(crate) fn normalised(text: &str) -> String {
    text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}
