//! The keys in memory: who presents what. The database has them; a change counts as soon as it is on disk.
//!
//! A key is `hone-<id>-<secret>`. The secret has 256 random bits, so that a plain hash of it is enough and
//! nothing else of it is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderValue;
use hone_api::UnixMillis;
use hone_api::key::{CreatedKey, KeyView, NewKey};
use hone_store::{AuditEntry, Result, Store, StoredKey};
use serde_json::json;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::key::{Key, hash};
use crate::secrets::{ID, PREFIX};

/// Bytes of the secret.
const SECRET: usize = 32;

/// All keys that were ever made.
pub struct KeyRing {
    store: Store,
    keys: RwLock<BTreeMap<String, Arc<Key>>>,
}

impl KeyRing {
    /// A ring with the keys that `store` has.
    #[must_use]
    pub fn new(store: Store, kept: Vec<StoredKey>) -> Self {
        let keys = kept.into_iter().map(|kept| (kept.view.id.clone(), Arc::new(Key::new(kept))));
        Self { store, keys: RwLock::new(keys.collect()) }
    }

    /// Whether no key was ever made: then none is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// All of them, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<KeyView> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut views: Vec<_> = keys.values().map(|key| key.view.clone()).collect();
        views.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        views
    }

    /// Makes a key. It is told once, here.
    ///
    /// # Errors
    /// The store's.
    pub async fn create(&self, caller: &Caller, new: NewKey) -> Result<CreatedKey> {
        let id = hex(&rand::random::<[u8; ID]>());
        let secret = hex(&rand::random::<[u8; SECRET]>());
        let now = UnixMillis::now();
        let view = KeyView {
            id: id.clone(),
            object: "key".to_owned(),
            name: new.name,
            scopes: new.scopes,
            limits: new.limits,
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
        };
        let kept = StoredKey { view: view.clone(), secret_hash: hash(&secret) };
        let entry = AuditEntry {
            at: now,
            actor: caller.actor(),
            action: "key.created".to_owned(),
            subject: id.clone(),
            reason: format!("for `{}`", view.name),
            data: json!({ "scopes": view.scopes, "expires_at": view.expires_at }),
        };
        self.store.insert_key(kept.clone(), entry).await?;
        self.put(Key::new(kept));
        Ok(CreatedKey { key: format!("{PREFIX}{id}-{secret}"), view })
    }

    /// Ends a key: the next request that presents it is refused.
    ///
    /// # Errors
    /// The store's.
    pub async fn revoke(&self, caller: &Caller, id: &str) -> Result<KeyView> {
        let now = UnixMillis::now();
        let entry = AuditEntry {
            at: now,
            actor: caller.actor(),
            action: "key.revoked".to_owned(),
            subject: id.to_owned(),
            reason: "by hand".to_owned(),
            data: json!({}),
        };
        let view = self.store.revoke_key(id, now, entry).await?;
        let old = self.get(id);
        if let Some(old) = old {
            let kept = StoredKey { view: view.clone(), secret_hash: old.secret_hash };
            self.put(Key::new(kept));
        }
        Ok(view)
    }

    /// The key that a header `Authorization` presents; `None`: no key was ever made.
    pub(crate) fn key_of(
        &self,
        presented: Option<&HeaderValue>,
        now: UnixMillis,
    ) -> std::result::Result<Option<Arc<Key>>, ApiError> {
        if self.is_empty() {
            return Ok(None);
        }
        let Some(presented) = presented else {
            return Err(refused(
                "an API key is needed; send `Authorization: Bearer hone-…` (commands: --api-key or HONE_API_KEY)",
            ));
        };
        let found = presented.to_str().ok().and_then(parts).and_then(|(id, secret)| {
            self.get(id).filter(|key| key.opens_with(secret) && key.view.is_valid(now))
        });
        let wrong =
            "this API key is not valid: it is none of this daemon's, has expired, or was revoked";
        found.map(Some).ok_or_else(|| refused(wrong))
    }

    fn get(&self, id: &str) -> Option<Arc<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn put(&self, key: Key) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.view.id.clone(), Arc::new(key));
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.list()).finish_non_exhaustive()
    }
}

fn refused(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key")
}

/// `Bearer hone-<id>-<secret>`, taken apart.
fn parts(presented: &str) -> Option<(&str, &str)> {
    let (scheme, token) = presented.trim().split_once(' ')?;
    let key = token.trim().strip_prefix(PREFIX)?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.split_once('-')).flatten()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use hone_api::key::{KeyLimits, Scope};

    use super::*;

    fn new(scope: Scope, expires_at: Option<UnixMillis>) -> NewKey {
        let limits = KeyLimits::default();
        NewKey { name: "app".to_owned(), scopes: [scope].into(), expires_at, limits }
    }

    fn ring(folder: &tempfile::TempDir) -> KeyRing {
        KeyRing::new(Store::open(&folder.path().join("hone.db")).unwrap(), Vec::new())
    }

    #[tokio::test]
    async fn only_the_whole_key_opens_and_only_while_it_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let ring = ring(&folder);
        let now = UnixMillis::now();
        let opens = |text: &str, now| {
            ring.key_of(Some(&HeaderValue::from_str(text).unwrap()), now).map(|key| key.is_some())
        };
        assert!(!opens("Bearer whatever", now).unwrap(), "no key was made, none is asked for");
        let made = ring.create(&Caller::operator(), new(Scope::Admin, None)).await.unwrap();
        let (id, secret) = (&made.view.id, &made.key[18..]);
        assert_eq!((made.key.len(), id.len(), secret.len()), (5 + 12 + 1 + 64, 12, 64));
        assert!(opens(&format!("Bearer {}", made.key), now).unwrap());
        assert!(opens(&format!("bearer  {} ", made.key), now).unwrap());
        let cut = &made.key[..made.key.len() - 1];
        for wrong in [
            String::new(),
            made.key.clone(),
            format!("Basic {}", made.key),
            format!("Bearer {cut}"),
            format!("Bearer {}0", made.key),
            format!("Bearer hone-{id}-"),
            format!("Bearer hone-{id}"),
            format!("Bearer hone-000000000000-{secret}"),
        ] {
            assert_eq!(opens(&wrong, now).unwrap_err().status(), 401, "{wrong}");
        }
        assert_eq!(ring.key_of(None, now).unwrap_err().status(), 401);

        let end = UnixMillis(now.0 + 1000);
        let short = ring.create(&Caller::operator(), new(Scope::Admin, Some(end))).await.unwrap();
        let short = format!("Bearer {}", short.key);
        assert!(opens(&short, now).is_ok() && opens(&short, end).is_err());
        ring.revoke(&Caller::operator(), id).await.unwrap();
        assert_eq!(opens(&format!("Bearer {}", made.key), now).unwrap_err().status(), 401);
    }

    #[tokio::test]
    async fn of_a_secret_nothing_is_kept_or_printed() {
        let folder = tempfile::tempdir().unwrap();
        let ring = ring(&folder);
        let made = ring.create(&Caller::operator(), new(Scope::Admin, None)).await.unwrap();
        let secret = made.key.rsplit('-').next().unwrap();
        let (kept, trail) = (ring.store.keys().await.unwrap(), ring.store.audit(9).await.unwrap());
        let printed = format!("{made:?} {ring:?} {kept:?} {trail:?}");
        assert!(!printed.contains(secret) && printed.contains(&made.view.id));
        assert_ne!(kept[0].secret_hash, [0; 32]);
    }
}
