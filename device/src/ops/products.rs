//! Products of rows with frozen matrices, with adapters beside them, and of matrices with one another.

use std::ops::Range;

use crate::{Buffer, Matrix};

/// A linear layer of the base: a matrix and its bias.
#[derive(Debug)]
pub struct Projection {
    /// `[outputs, inputs]`.
    pub weight: Matrix,
    /// Added to each result; `[outputs]`.
    pub bias: Option<Buffer>,
}

/// An adapter of linear layers that share an input (Hu and others, *LoRA*, 2021).
#[derive(Debug)]
pub struct LowRank {
    /// The A of all layers, one below the other.
    pub a: Matrix,
    /// For each layer its part; `None` is not adapted.
    pub parts: Vec<Option<LowRankPart>>,
}

/// One layer's part of an adapter.
#[derive(Debug)]
pub struct LowRankPart {
    /// `[outputs, rank]`.
    pub b: Matrix,
    /// Where its rows of A begin.
    pub from: usize,
    /// What `B · A · x` is multiplied with.
    pub scale: f32,
}

/// Rows that several linear layers read, and the adapters of some of them.
#[derive(Clone, Copy, Debug)]
pub struct SharedInput<'a> {
    /// `[rows, inputs]`.
    pub x: &'a Buffer,
    /// What adapters read instead, if dropout changes it.
    pub dropped: Option<&'a Buffer>,
    /// Which rows have which adapter; ascending, without overlap.
    pub adapters: &'a [(Range<usize>, &'a LowRank)],
}

/// A matrix in a buffer, row-major or transposed, or some of its columns.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Where it lies.
    pub(crate) buffer: &'a Buffer,
    /// Its first element.
    pub(crate) offset: usize,
    /// Rows.
    pub(crate) rows: usize,
    /// Columns.
    pub(crate) columns: usize,
    /// Elements from one row to the next.
    pub(crate) row_stride: usize,
    /// Elements from one column to the next.
    pub(crate) column_stride: usize,
}

impl<'a> View<'a> {
    /// A row-major `[rows, columns]` matrix that begins at element `offset`.
    #[must_use]
    pub fn new(buffer: &'a Buffer, offset: usize, rows: usize, columns: usize) -> Self {
        assert!(offset + rows * columns <= buffer.len(), "a matrix outside of its buffer");
        Self { buffer, offset, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Some neighbouring columns of a row-major matrix.
    #[must_use]
    pub fn columns(self, from: usize, count: usize) -> Self {
        assert!(self.column_stride == 1 && from + count <= self.columns, "columns outside of it");
        Self { offset: self.offset + from, columns: count, ..self }
    }

    /// The transposed view.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Where a product goes: neighbouring columns of a row-major matrix.
#[derive(Debug)]
pub struct ViewMut<'a> {
    /// Where it lies.
    pub(crate) buffer: &'a mut Buffer,
    /// Its first element.
    pub(crate) offset: usize,
    /// Elements from one row to the next.
    pub(crate) stride: usize,
}

impl<'a> ViewMut<'a> {
    /// A matrix with rows of `stride` elements, from element `offset` on.
    #[must_use]
    pub fn new(buffer: &'a mut Buffer, offset: usize, stride: usize) -> Self {
        Self { buffer, offset, stride }
    }
}

/// Products. With `add`, a product times this factor is added to what is there; without, it replaces it.
pub trait ProductOps {
    /// `out = scale · rows of the matrix`, one for each token: embeddings.
    fn embed(&self, matrix: &Matrix, tokens: &[u32], scale: f32, out: &mut Buffer);

    /// `y = x · Wᵀ` for `x` of `[rows, inputs]`, `y` of `[rows, outputs]`.
    fn product(&self, matrix: &Matrix, x: &Buffer, y: &mut Buffer, add: Option<f32>);

    /// The backward of [`ProductOps::product`], for its input: `dx = dy · W`. The base carries no gradient.
    fn product_backward(&self, matrix: &Matrix, dy: &Buffer, dx: &mut Buffer, add: Option<f32>);

    /// The products of linear layers that share their input, and each adapter's of its own rows: `y = W x + bias +
    /// scale · B A x`; with `add`, for layers without a bias, `y += add · (W x + scale · B A x)`.
    ///
    /// `hidden`, of any length before, becomes the products with A, of all adapters one after the other: what the backward
    /// reads.
    fn project(
        &self,
        input: SharedInput<'_>,
        layers: &mut [(&Projection, &mut Buffer)],
        add: Option<f32>,
        hidden: &mut Buffer,
    );

    /// `c = a · b`: of what the gradients of adapters are made.
    fn multiply(&self, a: View<'_>, b: View<'_>, c: ViewMut<'_>, add: Option<f32>);
}
