//! A job directory in, a candidate adapter out: QLoRA on candle.
#![forbid(unsafe_code)]

pub mod checkpoint;
mod error;
pub mod job;
pub mod optim;
pub mod schedule;

pub use error::Error;
pub use job::{Hyper, Job, Outcome, Phase, Progress, Recompute, Scheduler};
