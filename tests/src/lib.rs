//! Drives the real binary over HTTP, as a user would.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let hone = hone_tests::Hone::start().await?;
//! let answer = hone.chat("hone", "What is 2 + 2?").await?;
//! hone.thumbs(&answer.id, false).await?;
//! let cycle = hone.run_cycle().await?;
//! assert_eq!(cycle["status"], "finished");
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

mod binary;
mod canary;
mod certificates;
mod client;
mod daemon;
pub mod files;
pub mod hub;
pub mod node;
pub mod python;
pub mod workload;

pub use binary::{hone_binary, talk};
pub use certificates::Certificates;
pub use client::{Answer, Reply};
pub use daemon::{Builder, Hone};
