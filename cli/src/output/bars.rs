//! Progress on stderr: bars on a terminal, a plain line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Output;

/// How often a stage says where it is when nobody watches live.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// The progress of one stage.
#[derive(Debug)]
pub struct Bars {
    output: Output,
    bar: Option<ProgressBar>,
    name: String,
    started: Instant,
    said: Instant,
}

impl Bars {
    /// Begins a stage of `total` parts; 0 if it is not known how many.
    pub fn new(output: Output, name: &str, total: u64) -> Self {
        let bar = output.is_live().then(|| bar(name, total));
        if bar.is_none() {
            output.say(format_args!("{name} ..."));
        }
        Self { output, bar, name: name.to_owned(), started: Instant::now(), said: Instant::now() }
    }

    /// So much is done; `note` stands behind the bar.
    pub fn at(&mut self, done: u64, total: u64, note: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(note.to_owned());
        } else if self.said.elapsed() >= PLAIN_EVERY {
            self.said = Instant::now();
            self.output.say(format_args!("  {done} of {total}  {note}"));
        }
    }

    /// Ends the stage; the time it took.
    pub fn finish(self, note: &str) -> Duration {
        let took = self.started.elapsed();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let note = if note.is_empty() { String::new() } else { format!(": {note}") };
        self.output.say(format_args!("{}{note} ({})", self.name, human_duration(took)));
        took
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(name: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = "{prefix:34} [{bar:28}] {pos}/{len}  {elapsed}  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`.
pub fn human_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{:.0} s", time.as_secs_f64()),
        120..7200 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (seconds, text) in
            [(0.44, "0.4 s"), (59.6, "60 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 05 min")]
        {
            assert_eq!(human_duration(Duration::from_secs_f64(seconds)), text);
        }
    }
}
