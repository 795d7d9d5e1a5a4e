//! Whether a tokenizer comes to an end.
//!
//! A pattern may try all ways to match a text. What it does with texts that are hard on patterns is tried before anything is
//! served, on a thread that is given up if it does not come back.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::{Effort, Tokenizer};
use crate::Error;

/// For all texts together. A good tokenizer needs some milliseconds, but may wait for a processor where others are busy; a bad
/// one would need years.
const PATIENCE: Duration = Duration::from_secs(30);
/// Characters of one text.
const LENGTH: usize = 4096;

/// Gives the tokenizer back, if it comes to an end.
///
/// # Errors
/// [`Error::Tokenizer`]. The thread goes on until the process ends.
pub(super) fn probe(tokenizer: Tokenizer) -> Result<Tokenizer, Error> {
    let (sender, receiver) = channel();
    let work = move || {
        for text in texts() {
            // A word without tokens is no fault of time; a pattern that gives up panics, and ends the thread.
            drop(tokenizer.encode_step_by_step(&text, false, &Effort::unbounded()));
        }
        // Nobody listens any more if it took too long.
        drop(sender.send(tokenizer));
    };
    let failed = |reason: &str| Error::Tokenizer(format!("tokenizer.json {reason}"));
    std::thread::Builder::new()
        .name("tokenizer-probe".to_owned())
        .spawn(work)
        .map_err(|error| failed(&format!("cannot be tried: {error}")))?;
    receiver.recv_timeout(PATIENCE).map_err(|error| match error {
        RecvTimeoutError::Timeout => failed(&format!(
            "takes more than {} s for a few kilobytes of text: one of its patterns tries too much",
            PATIENCE.as_secs()
        )),
        RecvTimeoutError::Disconnected => {
            failed("cannot be used: it, or one of its patterns, fails on plain text")
        }
    })
}

/// Runs of one character, with and without something else behind, and alternations.
fn texts() -> impl Iterator<Item = String> {
    let runs = ["a", "A", "0", " ", "\n", ".", "_", "é", "漢", "ab", "a ", "A0", ". "];
    runs.into_iter().flat_map(|run| {
        let whole = run.repeat(LENGTH / run.len());
        let broken = format!("{whole}!");
        [whole, broken]
    })
}
