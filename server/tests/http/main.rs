//! The API over a real engine with a small random model, a real store and a real registry. Only
//! the daemon is played, and the engine where a real one cannot be made to fail on purpose.
#![allow(clippy::unwrap_used, clippy::panic, reason = "how a test fails")]

mod adapters;
mod chat;
mod completions;
mod desk;
mod door;
mod embeddings;
mod entry;
mod feedback;
mod keys;
mod models;
mod operation;
mod privacy;
mod refusals;
mod replay;
mod responses;
mod setup;
mod stream;
mod structured;
mod tls;
mod world;
