//! The load signal: how busy serving is, for the trainer next door.
//!
//! A file of [`SIZE`] bytes, written in place by the engine; the kernel keeps it in memory. A trainer in another
//! process reads it between layers and yields while people wait. Little endian:
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `HONEPRS1` |
//! | 8..12 | `u32` interactive requests that run |
//! | 12..16 | `u32` interactive requests that wait |
//! | 16..20 | `u32` duration of the last step in microseconds |
//! | 20..24 | zero |
//! | 24..32 | `u64` when this was written, Unix milliseconds |
//!
//! While requests run, the signal is written at least every 100 ms: one that says "running" and
//! is older than a few seconds belongs to an engine that died.

use crate::UnixMillis;

/// The first eight bytes.
const MAGIC: [u8; 8] = *b"HONEPRS1";
/// Bytes of the signal.
pub const SIZE: usize = 32;

/// How busy serving is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadSignal {
    /// Interactive requests that run.
    pub running: u32,
    /// Interactive requests that wait.
    pub waiting: u32,
    /// Duration of the last step, microseconds.
    pub step_us: u32,
}

impl LoadSignal {
    /// Whether nobody is served or waits.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting == 0
    }

    /// The signal as it stands in the file, said at `now`.
    #[must_use]
    pub fn encode(&self, now: UnixMillis) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.running.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.waiting.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.step_us.to_le_bytes());
        bytes[24..].copy_from_slice(&now.0.to_le_bytes());
        bytes
    }

    /// What a file says, and when it was written; `None` if it is no load signal.
    #[must_use]
    pub fn decode(bytes: &[u8; SIZE]) -> Option<(Self, UnixMillis)> {
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut written = [0; 8];
        written.copy_from_slice(&bytes[24..]);
        let signal = Self { running: number(8), waiting: number(12), step_us: number(16) };
        (bytes[..8] == MAGIC).then_some((signal, UnixMillis(i64::from_le_bytes(written))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_as_documented() {
        let bytes = LoadSignal { running: 1, waiting: 2, step_us: 3 }.encode(UnixMillis(4));
        let mut expected = *b"HONEPRS1\x01\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0";
        assert_eq!(bytes, expected);
        let said = LoadSignal { running: 1, waiting: 2, step_us: 3 };
        assert_eq!(LoadSignal::decode(&bytes), Some((said, UnixMillis(4))));
        expected[7] = b'2';
        assert_eq!(LoadSignal::decode(&expected), None);
    }
}
