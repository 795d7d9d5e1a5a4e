//! Rows to token sequences.
//!
//! A row that teaches nothing (no supervised token) or that never teaches to stop (no end token) is
//! refused by name: trained on, the first gives a loss of NaN and the second an answer without end.

mod lesson;
mod line;
mod render;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use hone_api::chat::{Message, Role};
use hone_dataset::Teacher;
use hone_dataset::lines::{self, Unreadable};
use hone_model::train::TrainSequence;

pub use lesson::Lesson;
pub use render::Renderer;

use crate::Error;
use crate::training_config::TrainingConfig;
use line::{Row, Split, Turn};

/// Fewer validation rows than this stop nothing early: their loss is mostly chance.
pub const FEWEST_TO_MEASURE: usize = 20;

/// Everything that the job learns from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// Rows to train on.
    pub train: Vec<Lesson>,
    /// Rows to measure on.
    pub validation: Vec<TrainSequence>,
    /// Refused rows, by reason.
    pub refused: BTreeMap<String, usize>,
    /// blake3 of the file, hex.
    pub digest: String,
}

impl Rows {
    /// Reads a JSONL file.
    ///
    /// # Errors
    /// A line is not a row; too many rows are refused; none is left to train on.
    pub fn read(
        path: &Path,
        renderer: Renderer<'_>,
        training: &TrainingConfig,
    ) -> Result<Self, Error> {
        let text = lines::read(path).map_err(|error| match error {
            Unreadable::Io(error) => error.into(),
            Unreadable::NotUtf8(line) => {
                Error::Row { path: path.to_owned(), line, error: "it is not UTF-8".to_owned() }
            }
        })?;
        let longest = match training.max_length {
            0 => renderer.config.max_positions,
            length => length.min(renderer.config.max_positions),
        };
        let mut rows =
            Self { digest: blake3::hash(text.as_bytes()).to_hex().to_string(), ..Self::default() };
        let mut unmarked = Vec::new();
        let mut count = 0;
        for (number, line) in lines::numbered(&text) {
            let wrong = |error| Error::Row { path: path.to_owned(), line: number, error };
            let mut row = Row::parse(line).map_err(wrong)?;
            let split = row.split.take().map(|split| Split::parse(&split).map_err(wrong));
            let split = split.transpose()?;
            if split == Some(Split::HeldOut) {
                continue; // Asked at the gate: trained on, it would prove nothing.
            }
            count += 1;
            let asked = row.messages.last().is_some_and(|t| t.message.role != Role::Assistant);
            if asked && !row.reference.is_empty() {
                let message = Message::new(Role::Assistant, row.reference.clone());
                row.messages.push(Turn { message, weight: None, unfinished: false });
            }
            if training.kl_weight <= 0.0 && !row.is_imitated() {
                continue; // It would keep nothing and teach nothing.
            }
            match renderer.lesson(&row, longest, training.kl_weight > 0.0) {
                Ok(lesson) => match split {
                    Some(Split::Validation) => rows.validation.push(lesson.into_itself()),
                    Some(_) => rows.train.push(lesson),
                    None => unmarked.push((share(lesson.itself()), lesson)),
                },
                Err(reason) => {
                    tracing::warn!(line = number, reason, "a row is refused");
                    *rows.refused.entry(reason).or_default() += 1;
                }
            }
        }
        // So few rows would say little, and be missed in training.
        let enough = unmarked.len() as f64 * training.validation_share >= FEWEST_TO_MEASURE as f64;
        let held =
            if rows.validation.is_empty() && enough { training.validation_share } else { 0.0 };
        for (share, lesson) in unmarked {
            match share < held {
                true => rows.validation.push(lesson.into_itself()),
                false => rows.train.push(lesson),
            }
        }
        if rows.train.is_empty() {
            // A handful of rows: better to train on them than to measure on them.
            let teacher = Teacher::default();
            let once = |itself| Lesson { showings: 1, teacher, wordings: vec![itself] };
            rows.train = std::mem::take(&mut rows.validation).into_iter().map(once).collect();
        }
        // Early stopping looks at the task: how likely the right answers are.
        rows.validation.iter_mut().for_each(|sequence| sequence.kl_to_base = Vec::new());
        rows.check(count, training)?;
        Ok(rows)
    }

    fn check(&self, count: usize, training: &TrainingConfig) -> Result<(), Error> {
        let refused: usize = self.refused.values().sum();
        let reasons: Vec<String> =
            self.refused.iter().map(|(reason, count)| format!("{count}: {reason}")).collect();
        if self.train.is_empty() {
            let refused = match refused {
                0 => "the file has no rows".to_owned(),
                _ => format!("refused {}", reasons.join("; ")),
            };
            return Err(Error::NoRows { refused });
        }
        if refused as f64 > training.max_refused_share * count as f64 {
            return Err(Error::TooManyRefused {
                refused,
                rows: count,
                reasons: reasons.join("; "),
            });
        }
        Ok(())
    }
}

/// A number in 0..1 that depends on the row's content only, so that growing files keep their split.
fn share(sequence: &TrainSequence) -> f64 {
    let mut hash = blake3::Hasher::new();
    for token in &sequence.tokens {
        hash.update(&token.to_le_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
}
