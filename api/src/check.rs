//! Checks: how an answer is judged without a model, and the rows of suites and workloads.
//!
//! A row is `{"messages":[…],"reference":"…","check":{"type":…,"value":…}}`. The scoring itself
//! lives in `eval`; this is the shape.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::chat::Message;

/// What an answer must satisfy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "value", rename_all = "snake_case", deny_unknown_fields)]
pub enum Check {
    /// The number after the last `####`, or else the last number of the text, equals this.
    FinalNumber(f64),
    /// The stripped text equals this; one final dot is ignored on either side.
    Exact(String),
    /// This occurs in the text, ignoring case.
    Contains(String),
    /// This pattern (RE2 syntax) is found in the stripped text.
    Regex(String),
    /// The last of these options that the text names is the first one of the list.
    Choice(Vec<String>),
    /// The text is JSON that satisfies this schema.
    JsonSchema(serde_json::Value),
    /// A judge decides by this rubric; refused until a judge is configured.
    Judge(String),
}

/// One line of a suite or workload file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SuiteRow {
    /// The group that scores are reported by; empty means the file's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub family: String,
    /// `feedback`, `heldout`, `rehearsal`; empty means `heldout`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub split: String,
    /// The conversation up to the answer.
    pub messages: Vec<Message>,
    /// An answer that passes.
    #[serde(default)]
    pub reference: String,
    /// What an answer must satisfy.
    pub check: Check,
}
