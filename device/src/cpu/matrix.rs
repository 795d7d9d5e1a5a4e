//! Packed matrices as the kernels take them.

use super::kernels::{Product, Rows};
use crate::{
    Matrix, PackedMatrix,
    layout::{padded_inputs, panel_bytes},
};

/// The packed bytes of a matrix. That of another device is empty, so that the checks of shapes refuse it.
pub(super) fn packed(matrix: &Matrix) -> &PackedMatrix {
    static EMPTY: PackedMatrix = PackedMatrix::EMPTY;
    matrix.memory().unwrap_or(&EMPTY)
}

/// The description of a product with `y`, whose shape is checked.
pub(super) fn describe(
    matrix: &PackedMatrix,
    operand: Rows,
    rows: usize,
    y: &mut [f32],
    add: Option<f32>,
) -> Product {
    assert_eq!(y.len(), rows * matrix.outputs(), "the output has another shape");
    let inputs = match operand {
        Rows::F32 { .. } => matrix.inputs(),
        _ => padded_inputs(matrix.format(), matrix.inputs()),
    };
    Product {
        rows: operand,
        format: matrix.format(),
        weights: matrix.bytes().as_ptr(),
        panel_bytes: panel_bytes(matrix.format(), matrix.inputs()),
        inputs,
        outputs: matrix.outputs(),
        out: y.as_mut_ptr(),
        out_stride: matrix.outputs(),
        add,
    }
}
