//! `kill -9` at any moment: nothing acknowledged is lost, the pointer is whole, the cycle finishes. And whatever the disk does to
//! the files: no other answer, no other adapter.

mod corrupt;
mod kill;
mod matrix;
mod scenario;
