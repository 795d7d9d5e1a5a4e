//! How far a model is on its way to being opened: a bar on a terminal, elsewhere lines.

use std::time::Instant;

use hone_daemon::preparing::{Lines, Preparing, SILENT};
use indicatif::{ProgressBar, ProgressStyle};

use super::Output;

/// Shows the progress of downloading, reading and packing.
pub fn preparing(output: Output) -> Box<dyn Preparing> {
    if output.is_live() {
        Box::new(PreparingBar { what: "", begun: Instant::now(), bar: None })
    } else {
        Box::new(Lines::new(move |line| output.say(line)))
    }
}

/// A bar for each thing that is done.
#[derive(Debug)]
struct PreparingBar {
    what: &'static str,
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Preparing for PreparingBar {
    fn at(&mut self, what: &'static str, done: u64, total: u64) {
        if self.what != what {
            self.end();
            (self.what, self.begun) = (what, Instant::now());
        }
        if self.begun.elapsed() < SILENT {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| bar(what));
        bar.set_length(total);
        bar.set_position(done);
        if done == total {
            self.end();
        }
    }
}

impl PreparingBar {
    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for PreparingBar {
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
