//! The product of linear layers that share an input with their adapters, forward and backward.

use std::ops::Range;

use super::{Dropout, Group, LoraGroup};
use crate::decoder::{
    backward::BackwardPass,
    rows::add_scaled,
    step::{LoraRun, Workspace},
};
use hone_device::{
    kernels::{
        Rows,
        gemm::{Matrix, Target, gemm, gemm_into},
    },
    linear::{Cpu, Projection, run_products},
};

/// The products of a group: the base's of all rows, and each adapter's of its own rows. `y = W x + bias + adapter`, or
/// with `add`, for layers without a bias, `y += add · (W x + adapter)`.
///
/// Two forks whatever the number of adapters: the base's products go with those with A, which need the same input; then
/// those with B add to the base's. Afterwards `workspace.lora_hidden` has the products with A.
pub(crate) fn project<'a>(
    cpu: &Cpu,
    workspace: &mut Workspace,
    (group, loras, dropout): (Group, &[LoraRun<'a>], Option<Dropout>),
    x: &[f32],
    outputs: &mut [(&Projection, &mut [f32])],
    mut add: Option<f32>,
) {
    workspace.lora_hidden.clear();
    let Some((first, _)) = outputs.first().filter(|_| !x.is_empty()) else { return };
    let (inputs, format) = (first.weight.inputs(), first.weight.format());
    let rows = x.len() / inputs;
    if outputs.iter().any(|(layer, _)| layer.bias.is_some()) {
        assert!(add.is_none(), "a bias cannot be added to a sum");
        outputs.iter_mut().for_each(|(layer, y)| layer.fill_bias(y));
        add = Some(1.0);
    }
    let share = |(rows, lora): &LoraRun<'a>| Some((rows.clone(), lora.group(group)?));
    let adapted: Vec<(Range<usize>, &LoraGroup)> = loras.iter().filter_map(share).collect();
    let dropped = dropout
        .filter(|_| !adapted.is_empty())
        .map(|dropout| dropout.apply(cpu, group as usize, x, inputs));
    let Workspace { activations, lora_hidden } = workspace;
    lora_hidden.resize(adapted.iter().map(|(rows, lora)| rows.len() * lora.a.outputs()).sum(), 0.0);

    let mut products = Vec::with_capacity(outputs.len() + loras.len());
    let mut room = &mut lora_hidden[..];
    for (rows, lora) in &adapted {
        let mine = &dropped.as_deref().unwrap_or(x)[rows.start * inputs..rows.end * inputs];
        let operand = Rows::F32 { data: mine.as_ptr(), row_stride: inputs, step: 1 };
        let y = room.split_off_mut(..rows.len() * lora.a.outputs()).unwrap_or_default();
        products.push((lora.a.product(operand, rows.len(), y, None), rows.len()));
    }
    let operand = activations.rows(cpu, format, x, inputs);
    for (layer, y) in outputs.iter_mut() {
        products.push((layer.weight.product(operand, rows, y, add), rows));
    }
    // SAFETY: the operands were made for these rows and formats; every product has its own output.
    unsafe { run_products(cpu, &products) };

    products.clear();
    let mut room = &lora_hidden[..];
    for (rows, lora) in &adapted {
        let width = lora.a.outputs();
        let mine = room.split_off(..rows.len() * width).unwrap_or_default();
        for (part, (layer, y)) in lora.parts.iter().zip(outputs.iter_mut()) {
            let Some((b, at, scale)) = part else { continue };
            let outputs = layer.weight.outputs();
            let y = &mut y[rows.start * outputs..rows.end * outputs];
            let operand = Rows::F32 { data: mine[*at..].as_ptr(), row_stride: width, step: 1 };
            let factor = scale * add.unwrap_or(1.0);
            products.push((b.product(operand, rows.len(), y, Some(factor)), rows.len()));
        }
    }
    // SAFETY: each operand reads its columns of the hidden rows, as many rows of `width` as it has; the outputs are
    // distinct.
    unsafe { run_products(cpu, &products) };
}

/// A group in the backward pass.
#[derive(Clone, Copy)]
pub(crate) struct Adapted<'a> {
    /// Which group.
    pub(crate) group: Group,
    /// Its input.
    pub(crate) x: &'a [f32],
    /// Its input times A.
    pub(crate) hidden: &'a [f32],
}

/// Adds the gradients of a group's matrices to the pass, and what they add to the gradient of the group's input;
/// `results` are the gradients of its layers' results.
pub(crate) fn project_backward(
    t: &mut BackwardPass<'_>,
    adapted: Adapted<'_>,
    results: &[&[f32]],
    d_input: Option<&mut [f32]>,
) {
    let Adapted { group, x, hidden } = adapted;
    let part = t.layout.group(group);
    let (rank, scale) = (t.layout.rank(), t.layout.scale());
    let width = part.slots.len() * rank;
    if width == 0 {
        return;
    }
    let cpu = t.pass.step.cpu;
    let rows = x.len() / part.inputs;
    let hidden = Matrix::new(hidden, rows, width);
    let mut d_hidden = vec![0.0; rows * width];
    for (place, slot) in part.slots.iter().enumerate() {
        let mut b = slot.b.clone();
        for (nth, module) in slot.target.modules.iter().enumerate() {
            let Some(member) = group.modules().iter().position(|m| m == module) else { continue };
            let outputs = results[member].len() / rows.max(1);
            let range = b.start..b.start + outputs * rank;
            b.start = range.end;
            let dy = Matrix::new(results[member], rows, outputs);
            let matrix = Matrix::new(&t.lora[range.clone()], outputs, rank);
            let mine = Target::columns(&mut d_hidden, width, place * rank);
            gemm_into(cpu, dy, matrix, mine, (nth > 0).then_some(1.0));
            let mine = hidden.columns(place * rank, rank);
            gemm(cpu, dy.t(), mine, &mut t.d_lora[range], Some(scale));
        }
    }
    let d_hidden = Matrix::new(&d_hidden, rows, width);
    let dropout = t.pass.dropout;
    let dropped = dropout.map(|dropout| dropout.apply(cpu, group as usize, x, part.inputs));
    let x = Matrix::new(dropped.as_deref().unwrap_or(x), rows, part.inputs);
    gemm(cpu, d_hidden.t(), x, &mut t.d_lora[part.a.clone()], Some(scale));
    let Some(d_input) = d_input else { return };
    let a = Matrix::new(&t.lora[part.a.clone()], width, part.inputs);
    match dropout {
        None => gemm(cpu, d_hidden, a, d_input, Some(scale)),
        Some(dropout) => {
            let mut share = vec![0.0; rows * part.inputs];
            gemm(cpu, d_hidden, a, &mut share, Some(scale));
            let share = dropout.apply(cpu, group as usize, &share, part.inputs);
            add_scaled(cpu, d_input, &share, 1.0, part.inputs);
        }
    }
}
