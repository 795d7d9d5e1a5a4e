//! The operations of a decoder, each with its backward beside it. What one computes is said here; how, each device says.

mod attention;
mod loss;
mod memory;
mod products;
mod rows;

pub use attention::{AttentionOps, AttentionRows, Scores, Span};
pub use loss::{BaseLogits, LossOps};
pub use memory::MemoryOps;
pub use products::{LowRank, LowRankPart, ProductOps, Projection, SharedInput, View, ViewMut};
pub use rows::{Activation, Angles, Cap, Dropout, Norm, RowOps, mix};
