//! Adapters as operators see them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AdapterId, CycleId, UnixMillis};

/// Where an adapter stands. Legal moves are in `adapters::state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdapterState {
    /// Copied in, not verified yet.
    Staged,
    /// Verified; may be asked for by name, evaluated, promoted.
    Candidate,
    /// Serves a share of the conversations.
    Canary,
    /// Serves.
    Live,
    /// Served once.
    Retired,
    /// Judged not better, or refused.
    Rejected,
}

/// Where an adapter's weights come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Provenance {
    /// Trained by a cycle of this daemon.
    Cycle {
        /// The cycle.
        cycle_id: CycleId,
        /// Hash of the snapshot it was trained on.
        snapshot: String,
    },
    /// Put into the drop folder, or loaded through the API.
    Import {
        /// The folder's name.
        folder: String,
    },
}

/// `GET /v1/adapters/{ref}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdapterView {
    /// Its id.
    pub id: AdapterId,
    /// Always `adapter`.
    pub object: String,
    /// The name given at import, if any.
    pub name: Option<String>,
    /// Where it stands.
    pub state: AdapterState,
    /// SHA-256 of `adapter_model.safetensors`, hex.
    pub digest: String,
    /// Digest of the base it was made for.
    pub base_digest: Option<String>,
    /// LoRA rank.
    pub rank: u32,
    /// LoRA alpha.
    pub alpha: f64,
    /// The linear layers it changes.
    pub target_modules: Vec<String>,
    /// Where its weights come from.
    pub provenance: Provenance,
    /// Accuracy by family at its last evaluation.
    #[serde(default)]
    pub scores: BTreeMap<String, f64>,
    /// Unix seconds.
    pub created_at: i64,
}

/// `live.json` as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveView {
    /// Counts promotions and rollbacks; never falls.
    pub epoch: u64,
    /// The adapter that serves; `None` is the base.
    pub live: Option<AdapterId>,
    /// The adapter that served before.
    pub previous: Option<AdapterId>,
    /// When the pointer last moved.
    pub changed_at: UnixMillis,
}
