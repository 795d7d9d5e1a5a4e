//! What ships for models that nothing was made for: questions of everyday use.

/// Prompts that the base answers itself while it trains, to keep what it can do: JSON lines with
/// `messages`.
pub const REHEARSAL: &str = include_str!("../data/rehearsal.jsonl");
