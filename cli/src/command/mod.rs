//! One verb each: arguments in, one call to where the work is done, words or JSON out.

pub mod adapters;
pub mod audit;
pub mod backup;
mod base;
pub mod bench;
pub mod chat;
pub mod config;
pub mod cycle;
pub mod doctor;
pub mod erase;
pub mod eval;
pub mod feedback;
pub mod follow;
pub mod keys;
mod local_eval;
pub mod models;
pub mod replay;
mod scores;
pub mod serve;
pub mod status;
pub mod train;
pub mod waiting;
pub mod why;
mod words;
