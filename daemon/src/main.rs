//! `hone`: a fine-tune-then-serve daemon with an OpenAI-compatible API.

mod child;
mod dirs;
mod lock;
mod schedule;
mod serve;
mod settings;
mod telemetry;

fn main() {}
