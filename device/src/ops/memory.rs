//! Numbers to the device and back, and rows from one place of it to another.

use std::ops::Range;

use crate::{Buffer, Matrix, PackedMatrix};

/// What a device does with its memory.
pub trait MemoryOps {
    /// A buffer with these values.
    fn upload(&self, values: Vec<f32>) -> Buffer;

    /// The values of a buffer.
    fn download(&self, buffer: Buffer) -> Vec<f32>;

    /// Gives a buffer these values, in the memory that it has where that is enough.
    fn write(&self, buffer: &mut Buffer, values: &[f32]);

    /// Puts the values of a buffer into `values`. What the buffer holds then is left open: the two may have changed places, so
    /// that no step needs new memory.
    fn download_into(&self, buffer: &mut Buffer, values: &mut Vec<f32>);

    /// A buffer of `len` zeros.
    fn zeros(&self, len: usize) -> Buffer;

    /// Gives a buffer `len` elements. What they are is left open, so that the memory of the last step can be used again.
    fn resize(&self, buffer: &mut Buffer, len: usize);

    /// A copy of some elements.
    fn copy(&self, from: &Buffer, range: Range<usize>) -> Buffer;

    /// Keeps some rows of `width`, given in ascending order.
    fn gather_rows(&self, rows: &mut Buffer, chosen: &[usize], width: usize);

    /// The backward of [`MemoryOps::gather_rows`]: puts gradients of the chosen rows among zeros, `total` rows in all.
    fn scatter_rows(&self, some: Buffer, chosen: &[usize], total: usize, width: usize) -> Buffer;

    /// A buffer of the rows of `width` at these places, in this order; a row may come more than once.
    fn index_select(&self, rows: &Buffer, index: &[usize], width: usize) -> Buffer;

    /// The backward of [`MemoryOps::index_select`]: adds the gradient of each copy to that of its row, of `total` rows in all.
    fn index_add(&self, copies: &Buffer, index: &[usize], total: usize, width: usize) -> Buffer;

    /// Makes a packed matrix ready for products.
    fn hold(&self, matrix: PackedMatrix) -> Matrix;
}
