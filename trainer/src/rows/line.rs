//! A line of the file: what a row says of itself.

use std::num::NonZeroU8;

use hone_api::chat::{Message, Tool};
use hone_dataset::{Kind, Teacher};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::formats::to_messages;

/// The parts of a row that matter here, of a snapshot or in OpenAI's chat format.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) messages: Vec<Turn>,
    /// What the model is told of, as OpenAI's rows have it.
    #[serde(default)]
    pub(super) tools: Option<Vec<Tool>>,
    /// The answer, in the files of suites and workloads, whose conversations end before it.
    #[serde(default)]
    pub(super) reference: String,
    pub(super) split: Option<String>,
    /// Of a snapshot's rows: only the last turn is what the row is about. Replay and rehearsal rows
    /// keep what the base can do: see [`crate::TrainingConfig::kl_weight`].
    pub(super) kind: Option<Kind>,
    /// Whose distribution it keeps.
    #[serde(default)]
    pub(super) teacher: Teacher,
    /// How often it is shown in a pass.
    pub(super) showings: Option<NonZeroU8>,
    /// Its question, the last turn of the user, in other wordings, shown in turn after its own.
    #[serde(default)]
    pub(super) wordings: Vec<String>,
    /// Of a row that is rehearsed: other conversations that are shown in its place in the passes after
    /// the first.
    #[serde(default)]
    pub(super) alternates: Vec<Vec<Turn>>,
}

/// A turn of a conversation.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Turn {
    #[serde(flatten)]
    pub(super) message: Message,
    /// OpenAI's: 0 keeps an assistant's turn out of the loss, of the text and of the divergence.
    #[serde(default, deserialize_with = "zero_or_one")]
    pub(super) weight: Option<u8>,
    /// Of a row that is rehearsed: the base did not bring this answer to an end.
    #[serde(default)]
    pub(super) unfinished: bool,
}

/// OpenAI's weight of a turn: 0 or 1, as a whole number or not.
fn zero_or_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    match Option::<f64>::deserialize(deserializer)? {
        None => Ok(None),
        Some(0.0) => Ok(Some(0)),
        Some(1.0) => Ok(Some(1)),
        Some(other) => Err(D::Error::custom(format!("weight is {other}; it must be 0 or 1"))),
    }
}

impl Row {
    /// Reads a line, of any format that is known.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let mut row: Value = serde_json::from_str(line).map_err(|error| describe(&error))?;
        if row.is_array() {
            return Err("it is a list; write one object a line".to_owned());
        }
        to_messages(&mut row)?;
        serde_json::from_value(row).map_err(|error| describe(&error))
    }

    /// Whether its answer is a target, or only what the base makes of it.
    pub(super) fn is_imitated(&self) -> bool {
        self.kind != Some(Kind::Rehearsal)
    }

    /// Whether these turns, which it shows, end where the base's answer was cut off.
    pub(super) fn is_cut_off(&self, turns: &[Turn]) -> bool {
        !self.is_imitated() && turns.last().is_some_and(|turn| turn.unfinished)
    }

    pub(super) fn has_kl_to_base(&self) -> bool {
        matches!(self.kind, Some(Kind::Replay | Kind::Rehearsal))
    }
}

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    Train,
    Validation,
    HeldOut,
}

impl Split {
    /// By the names that data sets have for it.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        match name.to_ascii_lowercase().replace(['-', '_', ' '], "").as_str() {
            // Workloads have rows that users would send as feedback, and those that are rehearsed.
            "train" | "training" | "feedback" | "rehearsal" => Ok(Self::Train),
            "validation" | "valid" | "val" | "dev" | "eval" => Ok(Self::Validation),
            "heldout" | "holdout" | "test" | "testing" => Ok(Self::HeldOut),
            _ => Err(format!("split {name:?} is none of train, validation, test")),
        }
    }
}

/// What is wrong with a line, without the parser's own count of lines: it sees one at a time.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    if error.is_data() {
        what.to_owned()
    } else {
        format!("it is not JSON: {what} at column {}", error.column())
    }
}
