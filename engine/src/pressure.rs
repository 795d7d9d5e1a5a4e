//! The pressure page: how busy serving is, for the trainer next door.
//!
//! A file of [`SIZE`] bytes, written in place; the kernel keeps it in memory. A trainer in another
//! process reads it between layers and stands aside while people wait. Little endian:
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | [`MAGIC`] |
//! | 8..12 | `u32` interactive requests that run |
//! | 12..16 | `u32` interactive requests that wait |
//! | 16..20 | `u32` duration of the last step in microseconds |
//! | 20..24 | zero |
//! | 24..32 | `u64` when this was written, Unix milliseconds |
//!
//! While requests run, the page is written at least every 100 ms: a page that says "running" and
//! is older than a few seconds belongs to an engine that died.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::FileExt;
use hone_api::UnixMillis;

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"HONEPRS1";
/// Bytes of the page.
pub const SIZE: usize = 32;

const FRESH: Duration = Duration::from_millis(100);
const APART: Duration = Duration::from_millis(1);

/// What the page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// Interactive requests that run.
    pub running: u32,
    /// Interactive requests that wait.
    pub waiting: u32,
    /// Duration of the last step, microseconds.
    pub step_us: u32,
}

impl Pressure {
    /// Whether anybody is served or waits.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting == 0
    }

    fn encode(&self, now: UnixMillis) -> [u8; SIZE] {
        let mut page = [0; SIZE];
        page[..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&self.running.to_le_bytes());
        page[12..16].copy_from_slice(&self.waiting.to_le_bytes());
        page[16..20].copy_from_slice(&self.step_us.to_le_bytes());
        page[24..].copy_from_slice(&now.0.to_le_bytes());
        page
    }
}

/// Writes the page.
#[derive(Debug)]
pub struct Publisher {
    file: fs_err::File,
    last: Mutex<Option<(Pressure, Instant)>>,
}

impl Publisher {
    /// Makes the file, or takes an old one over, and says that nobody waits.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        let file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false) // a trainer may be reading it
            .write(true)
            .open(path)?;
        let publisher = Self { file, last: Mutex::new(None) };
        publisher.write(Pressure::default())?;
        Ok(publisher)
    }

    /// Says how busy serving is. Cheap: what changes nothing is written every 100 ms only, and
    /// changes at most every millisecond, but for the step from or to idle, which is written at
    /// once. A page that cannot be written costs the trainer's courtesy and nothing else, so that
    /// is logged and not an error.
    pub fn publish(&self, pressure: Pressure) {
        let due = {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.is_none_or(|(said, at)| {
                let turned = said.is_idle() != pressure.is_idle();
                let changed = (said.running, said.waiting) != (pressure.running, pressure.waiting);
                turned || at.elapsed() >= if changed { APART } else { FRESH }
            })
        };
        if due && let Err(error) = self.write(pressure) {
            tracing::warn!(%error, "cannot write the pressure page");
        }
    }

    fn write(&self, pressure: Pressure) -> std::io::Result<()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((pressure, Instant::now()));
        let page = pressure.encode(UnixMillis::now());
        match self.file.write_at(&page, 0)? {
            SIZE => Ok(()),
            _ => Err(std::io::ErrorKind::WriteZero.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> (u32, u32) {
        let page = fs_err::read(path).unwrap();
        assert_eq!(page.len(), SIZE);
        assert_eq!(page[..8], MAGIC);
        let word = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
        (word(8), word(12))
    }

    #[test]
    fn the_turn_to_busy_and_back_is_written_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pressure");
        let publisher = Publisher::create(&path).unwrap();
        assert_eq!(read(&path), (0, 0));
        for _ in 0..100 {
            publisher.publish(Pressure { running: 1, waiting: 2, step_us: 3 });
            assert_eq!(read(&path), (1, 2));
            publisher.publish(Pressure::default());
            assert_eq!(read(&path), (0, 0));
        }
    }

    #[test]
    fn changes_are_written_after_a_millisecond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pressure");
        let publisher = Publisher::create(&path).unwrap();
        publisher.publish(Pressure { running: 1, waiting: 0, step_us: 0 });
        std::thread::sleep(Duration::from_millis(2));
        publisher.publish(Pressure { running: 2, waiting: 0, step_us: 0 });
        assert_eq!(read(&path), (2, 0));
    }

    #[test]
    fn an_old_page_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pressure");
        fs_err::write(&path, [255; SIZE]).unwrap();
        drop(Publisher::create(&path).unwrap());
        assert_eq!(read(&path), (0, 0));
    }
}
