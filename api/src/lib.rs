//! The words of Hone: everything that two crates say to each other and to the world.
//!
//! | module | vocabulary |
//! |---|---|
//! | [`id`] | UUIDv7 identifiers with a prefix, and references to adapters |
//! | [`time`] | instants as milliseconds since 1970 |
//! | [`chat`] | `/v1/chat/completions`: request, response, chunk, usage |
//! | [`completion`] | `/v1/completions` |
//! | [`embedding`] | `/v1/embeddings` |
//! | [`responses`] | `/v1/responses` |
//! | [`sampling`] | how tokens are drawn, as clients ask for it |
//! | [`sampling_params`] | how the tokens of an answer were sampled |
//! | [`keeping`] | whose a request is, and what is kept of it |
//! | [`load_signal`] | how busy serving is, from the engine to the trainer |
//! | [`structured`] | what an answer must look like |
//! | [`fields`] | reading JSON objects field by field |
//! | [`model_card`] | `/v1/models` |
//! | [`interaction`] | what is kept of each answer |
//! | [`replay`] | the same answer again |
//! | [`feedback`] | what users said of it |
//! | [`waiting`] | answers that wait for a person |
//! | [`check`] | how an answer is judged without a model |
//! | [`adapter`] | adapters, their states, provenance and scores |
//! | [`cycle`] | one turn of the loop, step by step |
//! | [`evaluation`] | evaluations on demand |
//! | [`erasure`] | what is known of a person, and its removal |
//! | [`error`] | OpenAI's error envelope |
//! | [`sealed`] | JSON files that carry their own checksum |

pub mod adapter;
pub mod audit;
pub mod chat;
pub mod check;
pub mod completion;
pub mod cycle;
pub mod embedding;
pub mod erasure;
pub mod error;
pub mod evaluation;
pub mod feedback;
pub mod fields;
mod foreign;
pub mod id;
pub mod interaction;
pub mod keeping;
pub mod key;
pub mod load_signal;
pub mod model_card;
mod parts;
pub mod replay;
pub mod responses;
pub mod sampling;
pub mod sampling_params;
pub mod sealed;
pub mod structured;
pub mod time;
pub mod waiting;

pub use id::{AdapterId, AdapterRef, CycleId, ErasureId, FeedbackId, InteractionId, RunId};
pub use time::UnixMillis;
