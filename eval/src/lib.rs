//! Champion against candidate on held-out data: scores, intervals, verdict.
//!
//! ```text
//! suite: the questions ─→ run: both adapters answer them ─→ report: pair by pair ─→ gate: verdict
//!                          score: each answer's check        stats: how sure
//! ```
#![forbid(unsafe_code)]

mod alike;
mod answers;
pub mod conduct;
mod error;
pub mod evidence;
pub mod gate;
pub mod general;
mod group;
pub mod judge;
pub mod ledger;
mod likelihood;
pub mod permutation;
pub mod power;
mod preference;
pub mod report;
mod row_result;
pub mod run;
pub mod score;
pub mod shares;
pub mod signed_rank;
mod similar;
pub mod simulate;
pub mod stats;
mod submit;
pub mod suite;

pub use alike::{Alike, Said, alike};
pub use answers::Answers;
pub use conduct::Conduct;
pub use error::{Error, Result};
pub use evidence::{Evidence, GroupFit, Judged, Measured, Preferences, Square};
pub use gate::{GateDecision, GatePolicy, GateVerdict, Remedy, decide};
pub use group::{Correction, groups};
pub use judge::{Judge, JudgeError, Preference};
pub use likelihood::{Pair, likelihoods};
pub use permutation::{Block, Fit, fit};
pub use report::{Comparison, ConductChange, Ends, FamilyLine, Report, compare};
pub use row_result::RowResult;
pub use run::{EvalOptions, answer_suite, answer_suites};
pub use score::{Scorer, score};
pub use shares::{binomial_greater, clopper_pearson_lower};
pub use signed_rank::wilcoxon_signed_rank;
pub use stats::Bootstrap;
pub use suite::{Part, Suite};
