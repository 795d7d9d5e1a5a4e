//! A key as requests are held against it.

use std::fmt;
use std::sync::Arc;

use hone_api::key::KeyView;
use hone_store::StoredKey;
use subtle::ConstantTimeEq;

use crate::meter::Meter;

/// A key, without its secret.
pub(crate) struct Key {
    pub(crate) view: KeyView,
    pub(crate) meter: Arc<Meter>,
    pub(crate) secret_hash: [u8; 32],
}

impl Key {
    pub(crate) fn new(kept: StoredKey) -> Self {
        let meter = Arc::new(Meter::new("this API key", &kept.view.limits));
        Self { view: kept.view, meter, secret_hash: kept.secret_hash }
    }

    pub(crate) fn opens_with(&self, secret: &str) -> bool {
        hash(secret).ct_eq(&self.secret_hash).into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.view.id).finish_non_exhaustive()
    }
}

/// All that is kept of a secret.
pub(crate) fn hash(secret: &str) -> [u8; 32] {
    *blake3::hash(secret.as_bytes()).as_bytes()
}
