//! Champion against candidate on held-out data: scores, intervals, verdict.
//!
//! ```text
//! suite: the questions ─→ run: both adapters answer them ─→ report: pair by pair ─→ gate: verdict
//!                          score: each answer's check        stats: how sure
//! ```
#![forbid(unsafe_code)]

mod error;
pub mod gate;
pub mod report;
mod schema;
pub mod score;
pub mod stats;
pub mod suite;

pub use error::{Error, Result};
pub use gate::{Decision, GatePolicy, Verdict, decide};
pub use report::{Comparison, FamilyLine, Report, RowResult, compare};
pub use score::{Scorer, score};
pub use stats::Bootstrap;
pub use suite::{Part, Suite};
