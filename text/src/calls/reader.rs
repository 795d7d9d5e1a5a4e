//! Takes calls out of an answer while it comes.

use super::Form;
use crate::ToolFormat;

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that is none of a call.
    Text(String),
    /// A call begins.
    Call {
        /// The function's name.
        name: String,
    },
    /// More of the last call's arguments.
    Arguments(String),
}

/// Where the reader stands.
#[derive(Debug, Clone)]
enum State {
    /// No call has begun; with whether anything was shown.
    Text { shown: bool },
    /// Before a name, and in it.
    Name,
    /// In the arguments.
    Arguments(Json),
    /// After a call.
    After,
}

/// Reads the answers of a grammar that [`ToolFormat::grammar`] made; what was cut off in the middle of a call comes as
/// far as it is known.
#[derive(Debug, Clone)]
pub struct ToolReader {
    form: Form,
    state: State,
    /// What has come and is not yet told.
    held: String,
}

/// How far a JSON object has come.
#[derive(Debug, Clone, Copy, Default)]
struct Json {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Json {
    /// Bytes of `text` that belong to the object, and whether it ends there.
    fn take(&mut self, text: &str) -> (usize, bool) {
        for (at, byte) in text.bytes().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                _ => {}
            }
        }
        (text.len(), false)
    }
}

impl ToolReader {
    /// A reader at an answer's beginning.
    #[must_use]
    pub fn new(format: ToolFormat) -> Self {
        Self { form: format.form(), state: State::Text { shown: false }, held: String::new() }
    }

    /// Takes more of the answer.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while self.step(&mut pieces) {}
        pieces
    }

    /// Takes the end of the answer.
    pub fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.held);
        match self.state {
            State::Text { .. } if !rest.is_empty() => vec![Piece::Text(rest)],
            // Of a call that was cut off before its arguments nothing is known.
            _ => Vec::new(),
        }
    }

    /// Makes one piece of what is held; false if it needs more.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match &mut self.state {
            State::Text { shown } => {
                let (text, open) = match find(&self.held, &self.form, *shown) {
                    Found::Open { text, after } => (text, Some(after)),
                    Found::Text(text) => (text, None),
                };
                if text > 0 {
                    *shown = true;
                    pieces.push(Piece::Text(self.held[..text].to_owned()));
                }
                match open {
                    Some(after) => {
                        self.held.drain(..after);
                        self.state = State::Name;
                    }
                    None => {
                        self.held.drain(..text);
                    }
                }
                open.is_some()
            }
            State::Name => {
                let Some(at) = self.held.find(self.form.tail) else { return false };
                // What leads to the name has a quote before it, or is nothing.
                let name = self.held[..at].rsplit('"').next().unwrap_or_default().trim();
                pieces.push(Piece::Call { name: name.to_owned() });
                self.held.drain(..at + self.form.tail.len());
                self.state = State::Arguments(Json::default());
                true
            }
            State::Arguments(json) => {
                if self.held.is_empty() {
                    return false;
                }
                let (length, ends) = json.take(&self.held);
                let rest = self.held.split_off(length);
                pieces.push(Piece::Arguments(std::mem::replace(&mut self.held, rest)));
                if ends {
                    self.state = State::After;
                }
                ends
            }
            State::After => {
                let Some(again) = self.form.again else {
                    self.held.clear();
                    return false;
                };
                let Some(at) = self.held.find(again) else { return false };
                self.held.drain(..at + again.len());
                self.state = State::Name;
                true
            }
        }
    }
}

/// What a text is, as far as it is known.
enum Found {
    /// A call opens: text up to here, and what comes after.
    Open { text: usize, after: usize },
    /// Text up to here; the rest may become a call.
    Text(usize),
}

fn find(held: &str, form: &Form, shown: bool) -> Found {
    if !form.after_text {
        let begins = held.len() - held.trim_start().len();
        let rest = &held[begins..];
        return match rest.strip_prefix(form.open) {
            _ if shown => Found::Text(held.len()),
            Some(after) => Found::Open { text: 0, after: held.len() - after.len() },
            None if form.open.starts_with(rest) => Found::Text(0),
            None => Found::Text(held.len()),
        };
    }
    if let Some(at) = held.find(form.open) {
        // The line break before a call is part of how calls are written.
        return Found::Open { text: held[..at].trim_end().len(), after: at + form.open.len() };
    }
    let lengths = (1..form.open.len()).rev().filter(|length| form.open.is_char_boundary(*length));
    let partial = lengths.map(|length| &form.open[..length]).find(|begin| held.ends_with(begin));
    let sure = held.len() - partial.map_or(0, str::len);
    Found::Text(held[..sure].trim_end().len())
}
