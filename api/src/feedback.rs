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
    /// Nobody will say what would have been right: the answer shall teach nothing, and no longer
    /// wait for a correction. Its value is always `true`.
    #[serde(with = "always_true")]
    Discard,
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
            Self::Discard => "discard",
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
            Self::Demonstration(_) | Self::Comment(_) | Self::Discard => None,
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
    /// Who said it: a keyed hash of the end user whom the app names, or else of the caller's address;
    /// `None` when unknown.
    #[serde(default)]
    pub source: Option<String>,
    /// When it arrived.
    pub created_at: UnixMillis,
}

/// The value of a signal that says all by its name.
mod always_true {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(true)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        if bool::deserialize(deserializer)? {
            Ok(())
        } else {
            Err(de::Error::invalid_value(de::Unexpected::Bool(false), &"true"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_signal_has_a_metric_and_a_value() {
        for (signal, value) in [
            (Signal::Thumbs(false), json!(false)),
            (Signal::Score(0.5), json!(0.5)),
            (Signal::Demonstration("so".to_owned()), json!("so")),
            (Signal::Comment("hm".to_owned()), json!("hm")),
            (Signal::Discard, json!(true)),
        ] {
            let wire = json!({"metric_name": signal.metric_name(), "value": value});
            assert_eq!(serde_json::to_value(&signal).unwrap(), wire);
            assert_eq!(serde_json::from_value::<Signal>(wire).unwrap(), signal);
        }
        let undone = json!({"metric_name": "discard", "value": false});
        assert!(serde_json::from_value::<Signal>(undone).is_err());
    }

    #[test]
    fn what_is_discarded_is_neither_a_vote_nor_something_to_learn() {
        assert_eq!(Signal::Discard.vote(), None);
        assert!(!Signal::Discard.is_failure());
    }

    #[test]
    fn a_stored_item_says_that_it_is_discarded() {
        let item = Feedback {
            id: FeedbackId::new(),
            inference_id: InteractionId::new(),
            signal: Signal::Discard,
            tags: BTreeMap::new(),
            source: None,
            created_at: UnixMillis(1),
        };
        let wire: Value = serde_json::to_value(&item).unwrap();
        assert_eq!((&wire["metric_name"], &wire["value"]), (&json!("discard"), &json!(true)));
        assert_eq!(serde_json::from_value::<Feedback>(wire).unwrap(), item);
    }
}
