//! Memory that can be had.

use std::fmt;

/// Of the room nine tenths may be promised: what is not counted (text, requests, the program itself) needs some, too.
const PROMISED: (u64, u64) = (9, 10);

/// Memory that can be had, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Bytes; unknown (not Linux) is `u64::MAX`.
    pub bytes: u64,
    /// Whose figure it is, in words for a person.
    pub by: String,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB ({})", mebibytes(self.bytes), self.by)
    }
}

impl Room {
    /// Bytes of it that may be promised.
    #[must_use]
    pub fn promised(&self) -> u64 {
        self.bytes / PROMISED.1 * PROMISED.0
    }
}

/// Rounded up: what is needed is never told as nothing.
pub(crate) fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
