//! How far a model is on its way to being opened: nothing for the first second, then a line with the percentage now and then.

use std::time::{Duration, Instant};

/// What takes less is not worth a word.
pub const SILENT: Duration = Duration::from_secs(1);
/// Between two lines.
const EVERY: Duration = Duration::from_secs(2);

/// Is told how far downloading, reading and packing are.
pub trait Preparing: Send {
    /// So many bytes of what is being done are done.
    fn at(&mut self, what: &'static str, done: u64, total: u64);
}

/// Tells it in lines.
#[derive(Debug)]
pub struct Lines<F> {
    say: F,
    what: &'static str,
    begun: Instant,
    said: Option<Instant>,
    done: u64,
}

impl<F: FnMut(String)> Lines<F> {
    /// Each line goes to `say`.
    pub fn new(say: F) -> Self {
        Self { say, what: "", begun: Instant::now(), said: None, done: 0 }
    }
}

/// For a daemon: its log.
pub fn log() -> Lines<impl FnMut(String)> {
    Lines::new(|line| tracing::info!("{line}"))
}

impl<F: FnMut(String) + Send> Preparing for Lines<F> {
    fn at(&mut self, what: &'static str, done: u64, total: u64) {
        if self.what != what {
            (self.what, self.begun, self.said, self.done) = (what, Instant::now(), None, 0);
        }
        let is_told = done == std::mem::replace(&mut self.done, done);
        if is_told || self.begun.elapsed() < SILENT {
            return;
        }
        if done == total || self.said.is_none_or(|said| said.elapsed() >= EVERY) {
            self.said = Some(Instant::now());
            let percent = done.saturating_mul(100) / total.max(1);
            (self.say)(format!("{what}: {percent} % ({} of {} MiB)", done >> 20, total >> 20));
        }
    }
}
