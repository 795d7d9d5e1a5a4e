//! `kill -9` at any moment: nothing acknowledged is lost, the pointer is whole, the cycle finishes.

mod kill;
mod matrix;
mod scenario;
