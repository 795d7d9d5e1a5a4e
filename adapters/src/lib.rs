//! Adapters on disk: import, verify, states and the live pointer.
//!
//! ```text
//! hone-data/live.json            which adapter serves: the single truth
//! hone-data/adapters/<id>/       adapter_config.json, adapter_model.safetensors, manifest.json
//! hone-data/drop/                where operators put folders to import
//! hone-data/reserve              room that is given back for a rollback on a full disk
//! ```
//! A folder appears under `adapters/` in one rename, complete and verified, and never changes but
//! for its manifest. A kill at any instant leaves a state that [`Registry::open`] understands.
#![forbid(unsafe_code)]

mod check_move;
mod config;
mod error;
pub mod fs;
mod gc;
mod header;
mod import;
mod lookup;
pub mod manifest;
mod open;
pub mod pointer;
mod refusal;
mod registry;
mod reserve;
mod servable;
mod shape;
mod shortage;
pub mod state;
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used, clippy::panic)] // compiled for tests only
pub mod testing;
pub mod verify;
pub mod watch;
mod withdraw;

pub use error::{Error, Result};
pub use hone_peft::{CONFIG, WEIGHTS};
pub use import::Import;
pub use lookup::lookup;
pub use manifest::AdapterManifest;
pub use open::Warning;
pub use pointer::LivePointer;
pub use refusal::Refusal;
pub use registry::Registry;
pub use shape::BaseShape;
pub use verify::{Verified, verify};
