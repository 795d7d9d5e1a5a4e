//! How far a model is on its way to being opened: nothing for the first second, then a bar on a terminal, and elsewhere a line
//! with the percentage now and then.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Output;

/// What takes less is not worth a word.
const SILENT: Duration = Duration::from_secs(1);
/// Between two lines.
const EVERY: Duration = Duration::from_secs(2);

/// The progress of downloading, reading and packing.
#[derive(Debug)]
pub struct Preparing {
    /// The terminal; `None` tells the log.
    output: Option<Output>,
    what: &'static str,
    begun: Instant,
    said: Option<Instant>,
    done: u64,
    bar: Option<ProgressBar>,
}

impl Preparing {
    /// For a command.
    pub fn new(output: Output) -> Self {
        Self {
            output: Some(output),
            what: "",
            begun: Instant::now(),
            said: None,
            done: 0,
            bar: None,
        }
    }

    /// For the daemon, whose log is on stderr.
    pub fn log() -> Self {
        Self { output: None, what: "", begun: Instant::now(), said: None, done: 0, bar: None }
    }

    /// So many bytes of what is being done are done.
    pub fn at(&mut self, what: &'static str, done: u64, total: u64) {
        if self.what != what {
            self.end();
            (self.what, self.begun, self.said, self.done) = (what, Instant::now(), None, 0);
        }
        if done == std::mem::replace(&mut self.done, done) {
            return; // told already
        }
        if self.begun.elapsed() < SILENT {
            return;
        }
        if self.output.is_some_and(|output| output.is_live()) {
            let bar = self.bar.get_or_insert_with(|| bar(what));
            bar.set_length(total);
            bar.set_position(done);
        } else if done == total || self.said.is_none_or(|said| said.elapsed() >= EVERY) {
            self.said = Some(Instant::now());
            self.say(done, total);
        }
        if done == total {
            self.end();
        }
    }

    fn say(&self, done: u64, total: u64) {
        let percent = done.saturating_mul(100) / total.max(1);
        let (done, total) = (done >> 20, total >> 20);
        match self.output {
            Some(output) => {
                output.say(format_args!("{}: {percent} % ({done} of {total} MiB)", self.what));
            }
            None => tracing::info!("{}: {percent} % ({done} of {total} MiB)", self.what),
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        self.end();
    }
}

fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template =
        "{prefix:20} [{bar:28}] {percent:>3} %  {bytes}/{total_bytes}  {bytes_per_sec}  {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(what);
    bar
}
