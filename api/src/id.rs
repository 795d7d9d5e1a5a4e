//! Identifiers: a UUIDv7 behind a prefix that tells what it names.
//!
//! Version 7 sorts by time of creation, so an id is also a cursor. Ids are made in one layer only
//! (the daemon and the server); everything below receives them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A string that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {what} id; it looks like `{prefix}0198…`")]
pub struct ParseIdError {
    given: String,
    what: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal $(or $other:literal)?, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The prefix in front of the UUID.
            pub const PREFIX: &'static str = $prefix;

            /// A new id that sorts after every id made before it in this process.
            #[must_use]
            #[allow(clippy::new_without_default)] // two calls give two values
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id of a given UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID without its prefix.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.hyphenated())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            /// Reads the prefixed form; a bare UUID is accepted too, as TensorZero's clients send it.
            fn from_str(s: &str) -> Result<Self, ParseIdError> {
                let bare = s.strip_prefix($prefix);
                $(let bare = bare.or_else(|| s.strip_prefix($other));)?
                Uuid::try_parse(bare.unwrap_or(s)).map(Self).map_err(|_| {
                    ParseIdError {
                        given: s.chars().take(80).collect(),
                        what: $what,
                        prefix: $prefix,
                    }
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                use utoipa::openapi::schema::{ObjectBuilder, Type};
                let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .pattern(Some(format!(concat!("^(", $prefix, $("|", $other,)? ")?{}$"), uuid)))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

id!(
    /// One answer of the model; also the `id` of the response.
    InteractionId, "chatcmpl-" or "resp_", "an interaction"
);

impl InteractionId {
    /// As `/v1/responses` names it.
    #[must_use]
    pub fn of_response(self) -> String {
        format!("resp_{}", self.0.hyphenated())
    }
}

id!(
    /// One thing a user said about an answer.
    FeedbackId, "fb-", "a feedback"
);
id!(
    /// One LoRA adapter, for ever the same weights.
    AdapterId, "ad-", "an adapter"
);
id!(
    /// One turn of the loop.
    CycleId, "cy-", "a cycle"
);
id!(
    /// One training run.
    RunId, "run-", "a run"
);
id!(
    /// One removal of somebody's traces.
    ErasureId, "er-", "an erasure"
);

/// How a person names an adapter: `base`, an alias, an id, or the name given at import.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AdapterRef {
    /// The base model without an adapter.
    Base,
    /// The adapter that serves now (the base, if none does).
    Live,
    /// The adapter that served before it.
    Previous,
    /// The newest adapter that waits for a verdict.
    Candidate,
    /// Exactly this adapter.
    Id(AdapterId),
    /// The adapter imported under this name.
    Name(String),
}

impl FromStr for AdapterRef {
    type Err = std::convert::Infallible;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(match s {
            "base" => Self::Base,
            "live" => Self::Live,
            "previous" => Self::Previous,
            "candidate" => Self::Candidate,
            _ => match s.strip_prefix(AdapterId::PREFIX).and_then(|_| s.parse().ok()) {
                Some(id) => Self::Id(id),
                None => Self::Name(s.to_owned()),
            },
        })
    }
}

impl fmt::Display for AdapterRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("base"),
            Self::Live => f.write_str("live"),
            Self::Previous => f.write_str("previous"),
            Self::Candidate => f.write_str("candidate"),
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Serialize for AdapterRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AdapterRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(text.parse().unwrap_or(Self::Name(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_sort_by_creation() {
        let ids: Vec<_> = (0..1000).map(|_| InteractionId::new()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn a_wrong_id_says_what_is_expected() {
        let error = "ad-17".parse::<AdapterId>().unwrap_err();
        assert_eq!(error.to_string(), "`ad-17` is not an adapter id; it looks like `ad-0198…`");
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(bits: u128) {
            let id = AdapterId::from_uuid(Uuid::from_u128(bits));
            prop_assert_eq!(id.to_string().parse::<AdapterId>(), Ok(id));
            prop_assert_eq!(id.to_string().parse::<AdapterRef>(), Ok(AdapterRef::Id(id)));
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = text.parse::<CycleId>();
            let parsed: AdapterRef = text.parse().unwrap();
            prop_assert_eq!(parsed.to_string(), text);
        }
    }
}
