//! Everything that a running daemon does: it opens the services, decides when a cycle runs and whether its candidate
//! serves, and keeps the promises about what is kept and erased.
//!
//! | module | what it is |
//! |---|---|
//! | [`serve`] | from settings to a daemon that listens, until it is told to stop |
//! | [`startup`] | from settings to [`services`] |
//! | [`served`] | which engine serves the model |
//! | `cycle` | select, train, register, evaluate, decide, promote |
//! | [`child`] | the training process |

#![forbid(unsafe_code)]
#![allow(unreachable_pub)] // `pub` marks what other modules may use; what is `pub` here, other crates

pub mod backup;
pub mod base_model;
pub mod child;
mod compare;
mod control;
mod controls;
pub mod core_dump;
mod cycle;
pub mod database;
pub mod dirs;
mod drop_folder;
mod erase;
pub mod error_chain;
pub mod evals;
mod expiry;
pub mod exposure;
pub mod fault;
pub mod files;
mod import;
mod journal;
mod judge;
mod key_expiry;
mod labels;
mod leftovers;
pub mod load;
pub mod lock;
pub mod memory;
pub mod mistral;
mod next;
pub mod preparing;
pub mod program;
mod promote;
mod reload;
mod retention;
mod schedule;
pub mod serve;
pub mod served;
pub mod served_model;
pub mod services;
mod settings;
pub mod source_key;
mod stained;
pub mod startup;
mod systemd;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod trigger;
mod waiting;
