//! The only place that writes to the terminal: data to stdout, talk to stderr.
//!
//! Scripts read stdout; therefore nothing but the answer may go there, `--json` must give JSON and
//! nothing else, and a reader that leaves early (`hone … | head`) is no failure.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

mod bars;
mod preparing;
mod table;

pub use bars::{Bars, human_duration};
pub use preparing::preparing;
pub use table::Table;

/// How this run talks.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    colour: bool,
    live: bool,
}

impl Output {
    /// The way to talk on this terminal, with or without `--json`.
    pub fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            json,
            colour: !plain && !json && io::stdout().is_terminal(),
            live: io::stderr().is_terminal(),
        }
    }

    /// Whether stdout gets JSON.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches stderr, so that progress bars make sense.
    pub const fn is_live(&self) -> bool {
        self.live
    }

    /// A line of data; nothing with `--json`.
    pub fn line(&self, text: impl Display) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        put(&mut io::stdout().lock(), &format!("{text}\n"))
    }

    /// A part of a line of data, at once.
    pub fn part(&self, text: &str) -> io::Result<()> {
        put(&mut io::stdout().lock(), text)
    }

    /// A value as one line of JSON, whether or not `--json` is given.
    pub fn value(&self, value: &impl Serialize) -> io::Result<()> {
        put(&mut io::stdout().lock(), &format!("{}\n", serde_json::to_string(value)?))
    }

    /// A table; nothing with `--json`.
    pub fn table(&self, table: &Table) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        put(&mut io::stdout().lock(), &table.render(self.colour))
    }

    /// A heading above data, with an empty line before it; nothing with `--json`.
    pub fn heading(&self, text: &str) -> io::Result<()> {
        if self.colour {
            self.line(format_args!("\n\x1b[1m{text}\x1b[0m"))
        } else {
            self.line(format_args!("\n{text}"))
        }
    }

    /// Talk, on stderr.
    pub fn say(&self, text: impl Display) {
        // Nobody to talk to is no reason to fail.
        let _ = put(&mut io::stderr().lock(), &format!("{text}\n"));
    }
}

/// Tells why the command failed, in one line.
pub fn complain(text: impl Display) {
    let line = text.to_string().replace('\n', " ");
    let _ = put(&mut io::stderr().lock(), &format!("hone: {line}\n"));
}

/// Writes what clap has to say (help, version, wrong usage) where it belongs.
pub fn clap_says(error: &clap::Error) {
    let _ = error.print();
}

fn put(to: &mut impl Write, text: &str) -> io::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
