//! The HTTP surface: extract, call, map errors, stream, record.
#![forbid(unsafe_code)]

pub mod control;
pub mod error;
