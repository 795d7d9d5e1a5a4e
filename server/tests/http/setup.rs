//! How servers of tests are set up, where nothing else is said.

use std::sync::Arc;
use std::time::Duration;

use hone_api::key::KeyLimits;
use hone_engine::{Engine, EngineConfig};
use hone_server::Options;
use hone_server::address::Proxies;
use hone_server::door::Door;
use hone_server::state::Entry;

use crate::world::tiny;

/// Through this door, with bodies of 64 KiB.
pub(crate) fn entry(door: Door) -> Entry {
    Entry { body_limit: 64 << 10, ..Entry::new(door) }
}

/// A server on a free port, with bodies of 64 KiB.
pub(crate) fn options() -> Options {
    Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        workers: 1,
        hosts: Vec::new(),
        cors_origins: Vec::new(),
        proxies: Proxies::default(),
        per_address: KeyLimits::default(),
        body_limit: 64 << 10,
        body_memory: 1 << 20,
        embeddings: true,
        tls: None,
        metrics: None,
        drain: Duration::from_secs(5),
    }
}

pub(crate) fn engine() -> Arc<Engine> {
    let config = EngineConfig {
        max_sequences: 4,
        max_queue: 8,
        max_step_tokens: 256,
        target_token_gap: Duration::ZERO,
        speculative_tokens: 4,
        kv_bytes: 64 << 20,
        prefix_cache_bytes: 32 << 20,
        adapter_bytes: 64 << 20,
        load_signal: None,
    };
    Engine::start(tiny(), config).unwrap()
}
