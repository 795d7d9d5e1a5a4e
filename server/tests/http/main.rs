//! The API over a real engine with a small random model, a real store and a real registry. Only
//! the daemon is played, and the engine where a real one cannot be made to fail on purpose.

mod adapters;
mod chat;
mod completions;
mod feedback;
mod operation;
mod refusals;
mod stream;
mod world;
