//! Buffers that are vectors of the process: those of every device that computes on the processor.

use std::any::Any;

use crate::Buffer;

/// The elements. A buffer of another device has none, so that the operation's check of shapes refuses it.
pub(crate) fn elements<T: Any>(buffer: &Buffer) -> &[T] {
    buffer.memory::<Vec<T>>().map_or(&[], |values| values)
}

/// The elements, to be changed.
pub(crate) fn elements_mut<T: Any>(buffer: &mut Buffer) -> &mut [T] {
    buffer.memory_mut::<Vec<T>>().map_or(&mut [], |values| values)
}

/// A buffer of these elements.
pub(crate) fn buffer<T: Any + Send + Sync>(values: Vec<T>) -> Buffer {
    Buffer::new(values.len(), values)
}

/// The elements, taken out.
pub(crate) fn take<T: Any>(buffer: Buffer) -> Vec<T> {
    buffer.into_memory().unwrap_or_default()
}

/// Gives a buffer another length; new elements are the default.
pub(crate) fn resize<T: Any + Clone + Default + Send + Sync>(to: &mut Buffer, len: usize) {
    if to.len() == len {
        return;
    }
    match to.memory_mut::<Vec<T>>() {
        Some(values) => {
            values.resize(len, T::default());
            to.set_len(len);
        }
        None => *to = buffer(vec![T::default(); len]),
    }
}
