//! The processor: kernels of its best instruction set, on some threads.
#![allow(unsafe_code)] // kernels and threads; each block says why it is sound

mod activations;
mod adapters;
mod attention;
mod block;
mod job;
mod kernels;
mod loss;
mod matrix;
mod memory;
mod multiply;
mod pool;
mod products;
mod rows;
mod shared;
mod tiled;

use std::{fmt, io, sync::Mutex};

use crate::Device;
use activations::Activations;
use kernels::Kernels;
use pool::Pool;

pub use kernels::InstructionSet;

/// The processor: kernels of one instruction set, on some threads. Buffers are vectors of f32.
pub struct Cpu {
    kernels: &'static Kernels,
    pool: Pool,
    /// Memory for converted activations, held by the product that uses it.
    activations: Mutex<Activations>,
}

impl Cpu {
    /// The best kernels of this machine on `threads` threads.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn new(threads: usize) -> io::Result<Self> {
        Self::with(InstructionSet::best(), threads)
    }

    /// The kernels of one instruction set.
    ///
    /// # Errors
    /// The processor does not have it, or the threads cannot be started.
    pub fn with(set: InstructionSet, threads: usize) -> io::Result<Self> {
        let missing = || {
            let reason = format!("this processor does not have {set}");
            io::Error::new(io::ErrorKind::Unsupported, reason)
        };
        let kernels = Kernels::of(set).ok_or_else(missing)?;
        Ok(Self { kernels, pool: Pool::new(threads)?, activations: Mutex::default() })
    }

    /// Runs a product with memory for converted activations, which the next one uses again.
    fn with_activations<R>(&self, body: impl FnOnce(&mut Activations) -> R) -> R {
        match self.activations.try_lock() {
            Ok(mut activations) => body(&mut activations),
            // Another caller's product is at it, or ended in a panic.
            Err(_) => body(&mut Activations::default()),
        }
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cpu({}, {} threads)", self.name(), self.threads())
    }
}

impl Device for Cpu {
    fn name(&self) -> &'static str {
        self.kernels.set.name()
    }

    fn threads(&self) -> usize {
        self.pool.threads()
    }
}
