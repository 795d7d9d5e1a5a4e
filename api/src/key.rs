//! API keys: what a caller may do, and how much of it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::UnixMillis;

/// What a key may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Ask, tokenise, and manage the completions that the key itself stored.
    Chat,
    /// Say something about answers.
    Feedback,
    /// Read the log, all feedback, and what waits for a person.
    Export,
    /// Import, promote, roll back and delete adapters; set the tags that steer the gate.
    Adapters,
    /// Start and stop cycles and evaluations.
    Cycles,
    /// Everything, and keys.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Chat, Self::Feedback, Self::Export, Self::Adapters, Self::Cycles, Self::Admin];

    /// The word on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Feedback => "feedback",
            Self::Export => "export",
            Self::Adapters => "adapters",
            Self::Cycles => "cycles",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|scope| scope.word() == word).ok_or_else(|| {
            let all = Self::ALL.map(Self::word).join(", ");
            format!("there is no scope `{word:.40}`; use {all}")
        })
    }
}

/// How much a key may do. What is not set has no bound of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyLimits {
    /// Requests in any minute.
    #[schema(minimum = 1)]
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and answers in any minute.
    #[schema(minimum = 1)]
    pub tokens_per_minute: Option<u32>,
    /// Requests for answers under way at once.
    #[schema(minimum = 1)]
    pub max_streams: Option<u32>,
}

/// A key that shall be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// For people: whose it is. 1 to 100 characters.
    #[schema(
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// At least one.
    #[schema(value_type = Vec<Scope>, min_items = 1)]
    pub scopes: BTreeSet<Scope>,
    /// When it ends by itself, in Unix milliseconds; never, if it is not said.
    pub expires_at: Option<UnixMillis>,
    /// How much it may do.
    #[serde(flatten)]
    pub limits: KeyLimits,
}

/// A key as it is told: never with its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// The key's public part, by which the log and the audit trail name it.
    pub id: String,
    /// `key`.
    pub object: String,
    /// For people.
    pub name: String,
    /// What it may do.
    #[schema(value_type = Vec<Scope>)]
    pub scopes: BTreeSet<Scope>,
    /// How much of it.
    #[serde(flatten)]
    pub limits: KeyLimits,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it ends by itself.
    pub expires_at: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
}

impl KeyView {
    /// Whether it opens anything at an instant.
    #[must_use]
    pub fn is_valid(&self, now: UnixMillis) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether it may do what needs a scope; `admin` may do all.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

/// A key that was just made: the only time that it is told.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// What clients send as `Authorization: Bearer …`.
    pub key: String,
    /// The rest of it.
    #[serde(flatten)]
    pub view: KeyView,
}

impl fmt::Debug for CreatedKey {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedKey").field("view", &self.view).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(scopes: &[Scope]) -> KeyView {
        KeyView {
            id: "0123456789ab".to_owned(),
            object: "key".to_owned(),
            name: "app".to_owned(),
            scopes: scopes.iter().copied().collect(),
            limits: KeyLimits::default(),
            created_at: UnixMillis(1),
            expires_at: None,
            revoked_at: None,
        }
    }

    #[test]
    fn scopes_are_their_words() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.word());
            assert_eq!(scope.word().parse(), Ok(scope));
        }
        assert!("root".parse::<Scope>().unwrap_err().contains("chat, feedback"));
    }

    #[test]
    fn admin_may_do_all_and_others_only_what_they_say() {
        let chat = key(&[Scope::Chat]);
        let may: Vec<_> = Scope::ALL.into_iter().filter(|scope| chat.may(*scope)).collect();
        assert_eq!(may, [Scope::Chat]);
        assert!(Scope::ALL.into_iter().all(|scope| key(&[Scope::Admin]).may(scope)));
    }

    #[test]
    fn a_key_ends_when_it_says_or_when_it_is_revoked() {
        let mut key = key(&[Scope::Chat]);
        assert!(key.is_valid(UnixMillis(i64::MAX)));
        key.expires_at = Some(UnixMillis(10));
        assert!(key.is_valid(UnixMillis(9)) && !key.is_valid(UnixMillis(10)));
        key.expires_at = None;
        key.revoked_at = Some(UnixMillis(5));
        assert!(!key.is_valid(UnixMillis(1)));
    }

    #[test]
    fn a_made_key_is_not_printed_by_accident() {
        let made = CreatedKey { key: "hone-a-secret".to_owned(), view: key(&[Scope::Chat]) };
        assert!(!format!("{made:?}").contains("secret"));
        assert_eq!(serde_json::to_value(&made).unwrap()["key"], "hone-a-secret");
    }
}
