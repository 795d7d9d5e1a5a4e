//! What clients of the API may rely on, against a daemon with the starter model.

mod chat;
mod commands;
mod completions;
mod deadlines;
mod feedback;
mod hub;
mod keys;
mod models;
mod pauses;
mod positions;
mod prefix;
mod replay;
mod schemas;
mod service;
mod speculative;
mod stream;
mod systemd;
mod tls;
