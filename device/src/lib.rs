//! What computes: packed weights, the kernels that multiply them, and the threads that these run on.
//!
//! All of the workspace's `unsafe` is here.
#![allow(unsafe_code)] // the kernels; each block says why it is sound

mod error;
mod format;
pub mod kernels;
pub mod linear;
pub mod pool;

pub use error::Error;
pub use format::WeightFormat;
