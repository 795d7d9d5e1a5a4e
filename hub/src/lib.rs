//! Models by their Hugging Face ids.
//!
//! ```text
//! name      what a person writes: org/name[@revision], org/name/file.gguf, org/name:Q4_K_M
//! settings  HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE
//! cache     models--org--name/{blobs,refs,snapshots}: the layout of huggingface_hub, so that both use one copy
//! listing   what a revision holds, and which of it a model needs
//! client    the two kinds of requests: what there is, and a file from some byte on
//! pull      all of it together: only what is missing, resumed, every file checked
//! pins      which commit a data directory stays with
//! ```
//!
//! A connection is opened only by [`Hub::pull`].

#![forbid(unsafe_code)]

mod cache;
mod client;
mod error;
mod fetch;
mod listing;
mod name;
mod pins;
mod pull;
mod settings;

pub use cache::HubSnapshot;
pub use error::Error;
pub use name::Name;
pub use pins::Pins;
pub use pull::{Hub, PullProgress};
pub use settings::HubSettings;
