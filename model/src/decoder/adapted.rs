//! The product of linear layers that share an input with their adapters, forward and backward.

use hone_device::{
    Buffer,
    ops::{Dropout, LowRank, Projection, SharedInput, View, ViewMut, mix},
};

use super::{
    backward::BackwardPass,
    step::{LayerPass, LoraRun, Runs},
};
use crate::lora::Group;

/// The mask of a group in one layer and pass. Modules that read the same input share it.
fn of_group(dropout: Dropout, group: Group) -> Dropout {
    Dropout { key: mix(dropout.key ^ mix(group as u64 + 1)), ..dropout }
}

/// The products of a group: the base's of all rows, and each adapter's of its own rows. `y = W x + bias + adapter`, or
/// with `add`, for layers without a bias, `y += add · (W x + adapter)`. `hidden` becomes the products with A.
pub(crate) fn project<'a>(
    pass: &LayerPass<'_>,
    (group, loras): (Group, &[LoraRun<'a>]),
    x: &Buffer,
    outputs: &mut [(&Projection, &mut Buffer)],
    add: Option<f32>,
    hidden: &mut Buffer,
) {
    let Some(width) = outputs.first().map(|(layer, _)| layer.weight.inputs()) else { return };
    let share = |(rows, lora): &LoraRun<'a>| Some((rows.clone(), lora.group(group)?));
    let adapters: Runs<&LowRank> = loras.iter().filter_map(share).collect();
    let device = pass.step.device;
    let dropped = pass
        .dropout
        .filter(|_| !adapters.is_empty())
        .map(|dropout| device.dropout(of_group(dropout, group), x, width));
    let input = SharedInput { x, dropped: dropped.as_ref(), adapters: &adapters };
    device.project(input, outputs, add, hidden);
}

/// A group in the backward pass.
#[derive(Clone, Copy)]
pub(crate) struct Adapted<'a> {
    /// Which group.
    pub(crate) group: Group,
    /// Its input.
    pub(crate) x: &'a Buffer,
    /// Its input times A.
    pub(crate) hidden: &'a Buffer,
}

/// Adds the gradients of a group's matrices to the pass, and what they add to the gradient of the group's input;
/// `results` are the gradients of its layers' results.
pub(crate) fn project_backward(
    t: &mut BackwardPass<'_>,
    adapted: Adapted<'_>,
    results: &[&Buffer],
    d_input: Option<&mut Buffer>,
) {
    let Adapted { group, x, hidden } = adapted;
    let part = t.layout.group(group);
    let (rank, scale) = (t.layout.rank(), t.layout.scale());
    let width = part.slots.len() * rank;
    if width == 0 {
        return;
    }
    let device = t.pass.step.device;
    let rows = x.len() / part.inputs;
    let hidden = View::new(hidden, 0, rows, width);
    let mut d_hidden = device.zeros(rows * width);
    for (place, slot) in part.slots.iter().enumerate() {
        let mut b = slot.b.start;
        for (nth, module) in slot.target.modules.iter().enumerate() {
            let Some(member) = group.modules().iter().position(|m| m == module) else { continue };
            let outputs = results[member].len() / rows.max(1);
            let dy = View::new(results[member], 0, rows, outputs);
            let matrix = View::new(t.lora, b, outputs, rank);
            let mine = ViewMut::new(&mut d_hidden, place * rank, width);
            device.multiply(dy, matrix, mine, (nth > 0).then_some(1.0));
            let mine = hidden.columns(place * rank, rank);
            let d_matrix = ViewMut::new(&mut t.d_lora, b, rank);
            device.multiply(dy.t(), mine, d_matrix, Some(scale));
            b += outputs * rank;
        }
    }
    let d_hidden = View::new(&d_hidden, 0, rows, width);
    let dropout = t.pass.dropout.map(|dropout| of_group(dropout, group));
    let dropped = dropout.map(|dropout| device.dropout(dropout, x, part.inputs));
    let read = View::new(dropped.as_ref().unwrap_or(x), 0, rows, part.inputs);
    let d_a = ViewMut::new(&mut t.d_lora, part.a.start, part.inputs);
    device.multiply(d_hidden.t(), read, d_a, Some(scale));
    let Some(d_input) = d_input else { return };
    let a = View::new(t.lora, part.a.start, width, part.inputs);
    let Some(dropout) = dropout else {
        return device.multiply(d_hidden, a, ViewMut::new(d_input, 0, part.inputs), Some(scale));
    };
    let mut share = device.zeros(rows * part.inputs);
    device.multiply(d_hidden, a, ViewMut::new(&mut share, 0, part.inputs), Some(scale));
    let share = device.dropout(dropout, &share, part.inputs);
    device.add_scaled(d_input, &share, 1.0, part.inputs);
}
