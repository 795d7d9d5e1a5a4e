//! What `deploy/` says of the daemon is true of the daemon: its figures, its settings, its probes, its times.

mod figures;
mod files;
mod image;
mod promql;
mod settings;
mod times;
