//! Rows of numbers in a device's memory.

use std::{any::Any, fmt};

/// Numbers in a device's memory, usually `[rows, width]`. Only the device that made it looks inside; an empty one belongs to
/// none.
#[derive(Default)]
pub struct Buffer {
    len: usize,
    memory: Option<Box<dyn Any + Send + Sync>>,
}

impl Buffer {
    /// `len` numbers, in memory of the device's kind.
    pub fn new<M: Any + Send + Sync>(len: usize, memory: M) -> Self {
        Self { len, memory: Some(Box::new(memory)) }
    }

    /// How many numbers it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The memory, for the device that made it; `None` for every other.
    #[inline]
    pub fn memory<M: Any>(&self) -> Option<&M> {
        self.memory.as_ref()?.downcast_ref()
    }

    /// The memory, to be written by the device that made it.
    #[inline]
    pub fn memory_mut<M: Any>(&mut self) -> Option<&mut M> {
        self.memory.as_mut()?.downcast_mut()
    }

    /// Says how many numbers the memory holds, after the device that made it has changed that.
    pub fn set_len(&mut self, len: usize) {
        self.len = len;
    }

    /// The memory, taken out by the device that made it.
    pub fn into_memory<M: Any>(self) -> Option<M> {
        Some(*self.memory?.downcast().ok()?)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_made_it_looks_inside() {
        let mut buffer = Buffer::new(2, vec![1.0_f32, 2.0]);
        assert!(buffer.memory::<Vec<f64>>().is_none());
        assert!(buffer.memory_mut::<Vec<f32>>().is_some());
        assert_eq!(buffer.into_memory::<Vec<f32>>(), Some(vec![1.0, 2.0]));
        assert!(Buffer::default().memory::<Vec<f32>>().is_none());
    }
}
