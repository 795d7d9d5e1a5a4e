//! Feedback in TensorZero's shape: a metric and a value about one answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{FeedbackId, InteractionId, UnixMillis};

/// What was said of an answer. Hone's own metrics are typed; others are kept as they came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "metric_name", content = "value", rename_all = "snake_case")]
pub enum Signal {
    /// Good (`true`) or bad (`false`).
    Thumbs(bool),
    /// A grade from 0 to 1.
    Score(f64),
    /// The answer as it should have been; empty if the answer's text was kept out.
    Demonstration(String),
    /// A remark; it trains nothing. Empty if the answer's text was kept out.
    Comment(String),
}

impl Signal {
    /// The metric's name on the wire.
    #[must_use]
    pub const fn metric_name(&self) -> &'static str {
        match self {
            Self::Thumbs(_) => "thumbs",
            Self::Score(_) => "score",
            Self::Demonstration(_) => "demonstration",
            Self::Comment(_) => "comment",
        }
    }

    /// What it says of the answer as it was: good (`true`), bad (`false`), or nothing. A score
    /// counts as good from one half on. A demonstration says what the answer should have been;
    /// whether the served one was bad is for the votes.
    #[must_use]
    pub fn vote(&self) -> Option<bool> {
        match self {
            Self::Thumbs(good) => Some(*good),
            Self::Score(score) => Some(*score >= 0.5),
            Self::Demonstration(_) | Self::Comment(_) => None,
        }
    }

    /// Whether it reports something to learn: a bad vote or a corrected answer.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Demonstration(_)) || self.vote() == Some(false)
    }
}

/// One feedback item as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Feedback {
    /// Its id.
    pub id: FeedbackId,
    /// The answer it speaks of.
    pub inference_id: InteractionId,
    /// What was said.
    #[serde(flatten)]
    pub signal: Signal,
    /// Free labels. `check` may hold a [`crate::check::Check`] as JSON: how to test answers to this
    /// prompt when it is held out; without it a check is derived from the demonstration.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Who said it: the API key's id and the end user, hashed by the server; `None` when unknown.
    #[serde(default)]
    pub source: Option<String>,
    /// When it arrived.
    pub created_at: UnixMillis,
}
