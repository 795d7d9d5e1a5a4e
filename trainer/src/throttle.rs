//! The training throttle: yielding to serving while users wait.
//!
//! The engine writes how busy it is to a small file, the load signal ([`hone_api::load_signal`]). Between
//! layers the trainer reads it and sleeps while somebody is served, but never so long that it gets
//! less than a tenth of the time: a cycle always finishes. Nothing of this reaches the arithmetic.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hone_api::UnixMillis;
use hone_api::load_signal::{LoadSignal, SIZE};

/// A busy signal that is older belongs to an engine that died.
const STALE_MS: i64 = 3000;
/// How long one sleep is: a request that has just ended frees the cores within this time.
const SLICE: Duration = Duration::from_millis(2);
/// Waiting time for each unit of working time, at most: a share of about 10 %.
const PATIENCE: u32 = 9;

/// Reads the load signal between layers.
#[derive(Debug)]
pub struct Throttle {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    signal: Option<File>,
    resumed: Instant,
    waited: Duration,
}

impl Throttle {
    /// Without a signal, or with one that cannot be opened, the trainer never waits.
    pub fn new(signal: Option<&Path>) -> Self {
        let signal = signal.and_then(|path| match fs_err::File::open(path) {
            Ok(file) => Some(file.into_parts().0),
            Err(error) => {
                tracing::warn!(%error, "no pressure page: training does not stand aside");
                None
            }
        });
        Self {
            state: Mutex::new(State { signal, resumed: Instant::now(), waited: Duration::ZERO }),
        }
    }

    /// Sleeps while users are served, up to nine times as long as it worked since the last call.
    pub fn yield_to_serving(&self) {
        let Ok(mut state) = self.state.lock() else { return };
        let patience = state.resumed.elapsed() * PATIENCE;
        let start = Instant::now();
        while start.elapsed() < patience && state.signal.as_mut().is_some_and(is_busy) {
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

fn is_busy(signal: &mut File) -> bool {
    let mut bytes = [0; SIZE];
    let read = signal.seek(SeekFrom::Start(0)).and_then(|_| signal.read_exact(&mut bytes));
    read.is_ok() && says_busy(&bytes, UnixMillis::now())
}

fn says_busy(bytes: &[u8; SIZE], now: UnixMillis) -> bool {
    LoadSignal::decode(bytes).is_some_and(|(load, written)| {
        !load.is_idle() && now.0.saturating_sub(written.0) < STALE_MS
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(running: u32, waiting: u32, age_ms: i64) -> [u8; SIZE] {
        LoadSignal { running, waiting, step_us: 0 }.encode(UnixMillis(UnixMillis::now().0 - age_ms))
    }

    #[test]
    fn only_a_fresh_signal_with_requests_is_busy() {
        let now = UnixMillis::now();
        assert!(says_busy(&signal(1, 0, 0), now));
        assert!(says_busy(&signal(0, 3, 100), now));
        assert!(!says_busy(&signal(0, 0, 0), now));
        assert!(!says_busy(&signal(1, 0, 10_000), now));
        assert!(!says_busy(&[0; SIZE], now));
    }

    /// As if it had worked for so long since it last looked.
    fn has_worked(throttle: &Throttle, time: Duration) {
        throttle.state.lock().unwrap().resumed = Instant::now().checked_sub(time).unwrap();
    }

    #[test]
    fn waits_while_busy_but_keeps_its_share() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // Written in an hour: it does not become old while the test runs.
        fs_err::write(file.path(), signal(1, 0, -3_600_000)).unwrap();
        let throttle = Throttle::new(Some(file.path()));
        has_worked(&throttle, Duration::from_millis(10));
        // The signal stays busy: that this returns shows that the patience has an end.
        throttle.yield_to_serving();
        assert!(throttle.waited() >= Duration::from_millis(90), "{:?}", throttle.waited());
    }

    #[test]
    fn nobody_waits_without_users_or_a_signal() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), signal(0, 0, 0)).unwrap();
        for path in [file.path(), Path::new("/nonexistent/page")] {
            let throttle = Throttle::new(Some(path));
            has_worked(&throttle, Duration::from_secs(600));
            throttle.yield_to_serving();
            // It might have waited for an hour and a half.
            assert!(throttle.waited() < Duration::from_secs(60), "{}", path.display());
        }
    }
}
