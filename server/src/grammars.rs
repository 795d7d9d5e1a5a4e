//! Grammars that were made, and places for those that are being made.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hone_text::Grammar;
use tokio::sync::Semaphore;

/// Grammars that are made at once.
const PLACES: usize = 2;
/// Grammars that are kept for requests that ask for the same: clients send the same tools again and again.
pub(crate) const KEPT: usize = 32;

/// The places, and the grammars that were made last.
#[derive(Debug)]
pub(crate) struct Grammars {
    pub(crate) places: Arc<Semaphore>,
    pub(crate) kept: Arc<Mutex<VecDeque<(blake3::Hash, Made)>>>,
}

impl Default for Grammars {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), kept: Arc::default() }
    }
}

/// A grammar, and what it does not apply of what was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) grammar: Grammar,
    /// What it was made of, from which it can be made again.
    pub(crate) lark: Arc<str>,
    pub(crate) ignored: Vec<String>,
}

impl Grammars {
    /// One that was made before.
    pub(crate) fn find(&self, key: blake3::Hash) -> Option<Made> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, made) = kept.iter().find(|(kept, _)| *kept == key)?;
        // What one answer's grammar learns on its way is not for others: it has bounds.
        Some(Made { grammar: made.grammar.fresh(), ..made.clone() })
    }
}
