//! Standing aside while users wait.
//!
//! The engine writes how busy it is to a small page (its layout is in `engine::pressure`). Between
//! layers the trainer reads it and sleeps while somebody is served, but never so long that it gets
//! less than a tenth of the time: a cycle always finishes. Nothing of this reaches the arithmetic.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hone_api::UnixMillis;

/// First bytes of the page.
const MAGIC: [u8; 8] = *b"HONEPRS1";
/// Bytes of the page.
const SIZE: usize = 32;
/// A busy page that is older belongs to an engine that died.
const STALE_MS: i64 = 3000;
/// How long one sleep is: a request that has just ended frees the cores within this time.
const SLICE: Duration = Duration::from_millis(2);
/// Waiting time for each unit of working time, at most: a share of about 10 %.
const PATIENCE: u32 = 9;

/// Reads the page between layers.
#[derive(Debug)]
pub struct Courtesy {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    page: Option<File>,
    resumed: Instant,
    waited: Duration,
}

impl Courtesy {
    /// Without a page, or with one that cannot be opened, the trainer never waits.
    pub fn new(page: Option<&Path>) -> Self {
        let page = page.and_then(|path| match fs_err::File::open(path) {
            Ok(file) => Some(file.into_parts().0),
            Err(error) => {
                tracing::warn!(%error, "no pressure page: training does not stand aside");
                None
            }
        });
        Self { state: Mutex::new(State { page, resumed: Instant::now(), waited: Duration::ZERO }) }
    }

    /// Sleeps while users are served, up to nine times as long as it worked since the last call.
    pub fn stand_aside(&self) {
        let Ok(mut state) = self.state.lock() else { return };
        let patience = state.resumed.elapsed() * PATIENCE;
        let start = Instant::now();
        while start.elapsed() < patience && state.page.as_mut().is_some_and(is_busy) {
            std::thread::sleep(SLICE);
        }
        state.waited += start.elapsed();
        state.resumed = Instant::now();
    }

    /// Time spent waiting so far.
    pub fn waited(&self) -> Duration {
        self.state.lock().map(|state| state.waited).unwrap_or_default()
    }
}

fn is_busy(page: &mut File) -> bool {
    let mut bytes = [0; SIZE];
    let read = page.seek(SeekFrom::Start(0)).and_then(|_| page.read_exact(&mut bytes));
    read.is_ok() && says_busy(&bytes, UnixMillis::now())
}

fn says_busy(bytes: &[u8; SIZE], now: UnixMillis) -> bool {
    let number =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut written = [0; 8];
    written.copy_from_slice(&bytes[24..]);
    let age = now.0.saturating_sub(i64::from_le_bytes(written));
    bytes[..8] == MAGIC && (number(8) > 0 || number(12) > 0) && age < STALE_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(running: u32, waiting: u32, age_ms: i64) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&running.to_le_bytes());
        bytes[12..16].copy_from_slice(&waiting.to_le_bytes());
        let written = UnixMillis::now().0 - age_ms;
        bytes[24..].copy_from_slice(&written.to_le_bytes());
        bytes
    }

    #[test]
    fn only_a_fresh_page_with_requests_is_busy() {
        let now = UnixMillis::now();
        assert!(says_busy(&page(1, 0, 0), now));
        assert!(says_busy(&page(0, 3, 100), now));
        assert!(!says_busy(&page(0, 0, 0), now));
        assert!(!says_busy(&page(1, 0, 10_000), now));
        assert!(!says_busy(&[0; SIZE], now));
    }

    /// As if it had worked for so long since it last looked.
    fn has_worked(courtesy: &Courtesy, time: Duration) {
        courtesy.state.lock().unwrap().resumed = Instant::now().checked_sub(time).unwrap();
    }

    #[test]
    fn waits_while_busy_but_keeps_its_share() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // Written in an hour: it does not become old while the test runs.
        fs_err::write(file.path(), page(1, 0, -3_600_000)).unwrap();
        let courtesy = Courtesy::new(Some(file.path()));
        has_worked(&courtesy, Duration::from_millis(10));
        // The page stays busy: that this returns shows that the patience has an end.
        courtesy.stand_aside();
        assert!(courtesy.waited() >= Duration::from_millis(90), "{:?}", courtesy.waited());
    }

    #[test]
    fn nobody_waits_without_users_or_a_page() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), page(0, 0, 0)).unwrap();
        for path in [file.path(), Path::new("/nonexistent/page")] {
            let courtesy = Courtesy::new(Some(path));
            has_worked(&courtesy, Duration::from_secs(600));
            courtesy.stand_aside();
            // It might have waited for an hour and a half.
            assert!(courtesy.waited() < Duration::from_secs(60), "{}", path.display());
        }
    }
}
