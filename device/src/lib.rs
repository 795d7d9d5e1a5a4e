//! What a decoder is computed on: devices, their memory and their operations.
//!
//! A [`Device`] has memory of its own and every operation of the decoder, forward and backward, as [`ops`] says what they compute.
//! [`Cpu`] is fast, with kernels for several instruction sets. [`Reference`] is plain scalar arithmetic in 64 bits: slow, and what
//! every other device is held against (`tests/operations`).
//!
//! All of the workspace's `unsafe` is here, in [`Cpu`]'s kernels and where a file is mapped.

mod buffer;
mod cache;
mod cpu;
mod device;
mod error;
mod format;
mod host;
mod map;
pub mod ops;
mod packed;
mod reference;

pub use buffer::Buffer;
pub use cache::{CACHE_BLOCK, CacheBlock, Heads, LayerCache};
pub use cpu::{Cpu, InstructionSet};
pub use device::Device;
pub use error::Error;
pub use format::WeightFormat;
pub use map::MappedFile;
pub use packed::{Matrix, PackedMatrix, layout};
pub use reference::Reference;
