//! Swaps and training under load: no error, and each answer is exactly its adapter's.

mod swaps;
