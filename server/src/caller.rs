//! Who calls: from the handler it goes on to the daemon and to the log.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use actix_web::http::StatusCode;
use hone_api::interaction::Interaction;
use hone_api::key::Scope;
use hone_engine::Party;

use crate::error::ApiError;
use crate::key::Key;
use crate::meter::{Allowance, Meter};
use crate::source::{SourceHasher, Speaker};

/// Who the audit trail names while there are no keys.
const OPERATOR: &str = "operator";

/// Who calls: a key, if keys were made, and an end user behind it.
#[derive(Clone, Default)]
pub struct Caller {
    pub(crate) key: Option<Arc<Key>>,
    /// How much it may do; `None`: as much as it likes.
    pub(crate) meter: Option<Arc<Meter>>,
    /// The end user, as the header names it.
    pub(crate) named: Option<Vec<u8>>,
    /// The conversation, likewise.
    pub(crate) conversation: Option<Vec<u8>>,
    pub(crate) address: Option<IpAddr>,
}

impl Caller {
    /// Whoever owns the data directory: may do everything.
    #[must_use]
    pub fn operator() -> Self {
        Self::default()
    }

    /// The key's id; `None` while there are no keys.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.view.id.as_str())
    }

    /// Who the audit trail names.
    #[must_use]
    pub fn actor(&self) -> String {
        self.key_id().unwrap_or(OPERATOR).to_owned()
    }

    /// Whether this caller may do what needs a scope. While there are no keys everybody may.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.key.as_ref().is_none_or(|key| key.view.may(scope))
    }

    /// Whether its tags `check` and `family` count: they decide what the gate asks.
    pub(crate) fn may_steer(&self) -> bool {
        self.may(Scope::Adapters)
    }

    /// The key whose answers it may read; `None`: all of them.
    pub(crate) fn reads_only(&self) -> Option<&str> {
        self.key_id().filter(|_| !self.may(Scope::Export))
    }

    /// Whether it may read an answer that was stored: its own, or with the scope `export` any.
    pub(crate) fn may_read(&self, stored: &Interaction) -> bool {
        self.reads_only().is_none_or(|key| stored.key_id.as_deref() == Some(key))
    }

    /// Who speaks, hashed: the key together with the end user, whom the body may name.
    pub(crate) fn source(&self, hasher: &SourceHasher, user: Option<&str>) -> Option<String> {
        hasher.hash(&self.speaker(user))
    }

    /// Whose share of the engine its requests take.
    pub(crate) fn party(&self, hasher: &SourceHasher, user: Option<&str>) -> Party {
        hasher.party(&self.speaker(user))
    }

    fn speaker<'a>(&'a self, user: Option<&'a str>) -> Speaker<'a> {
        Speaker {
            key: self.key_id(),
            user: user.map(str::as_bytes),
            header: self.named.as_deref(),
            address: self.address,
        }
    }

    /// The end user, hashed: as the body names her, or else a header.
    pub(crate) fn end_user(&self, hasher: &SourceHasher, user: Option<&str>) -> Option<String> {
        let body = user.and_then(|user| hasher.user(user.as_bytes()));
        body.or_else(|| hasher.user(self.named.as_deref()?))
    }

    /// The conversation, hashed.
    pub(crate) fn conversation(&self, hasher: &SourceHasher) -> Option<String> {
        hasher.conversation(self.conversation.as_deref()?)
    }

    /// Lets a request for answers to a prompt of so many tokens in, as far as the caller's limits go.
    pub(crate) fn answer(&self, prompt: u32) -> Result<Option<Allowance>, ApiError> {
        Ok(self.meter.as_ref().map(|meter| meter.answer(prompt)).transpose()?)
    }

    /// Counts one request.
    pub(crate) fn count(&self) -> Result<(), ApiError> {
        Ok(self.meter.as_ref().map_or(Ok(()), |meter| meter.request())?)
    }

    /// Whether it may do what needs a scope.
    ///
    /// # Errors
    /// 403, naming the scope.
    pub(crate) fn check(&self, scope: Option<Scope>) -> Result<(), ApiError> {
        match scope {
            Some(scope) if !self.may(scope) => {
                let message = format!(
                    "this API key lacks the scope `{scope}`; `hone keys create --scope {scope}` \
                     makes one that has it"
                );
                Err(ApiError::new(StatusCode::FORBIDDEN, message).code("missing_scope"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Caller {
    /// Without the end user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("key", &self.key_id()).finish_non_exhaustive()
    }
}
