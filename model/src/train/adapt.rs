//! The adapters of modules that share an input: `y += scale · (x · Aᵀ) · Bᵀ`, and its backward.

use crate::kernels::gemm::{Matrix, Target, gemm, gemm_into};

use super::layer::Layer;
use super::lora::{GROUPS, Group};

/// A group in the backward pass.
#[derive(Clone, Copy)]
pub(super) struct Adapted<'a> {
    /// Which of [`GROUPS`].
    pub(super) group: usize,
    /// Its input.
    pub(super) x: &'a [f32],
    /// Its input times `A`.
    pub(super) narrow: &'a [f32],
    /// The layer's flat adapter.
    pub(super) lora: &'a [f32],
}

impl Layer<'_> {
    /// Adds the adapters of a group to its results; returns the input times `A`. An empty `lora` is
    /// no adapter.
    pub(super) fn adapt<const N: usize>(
        &self,
        index: usize,
        x: &[f32],
        lora: &[f32],
        results: [&mut [f32]; N],
    ) -> Vec<f32> {
        let group = self.layout.group(index);
        let rank = self.layout.rank();
        let width = group.slots.len() * rank;
        if width == 0 || lora.is_empty() {
            return Vec::new();
        }
        let rows = x.len() / group.inputs;
        let dropped = self.dropout.map(|dropout| dropout.apply(self.cpu, index, x, group.inputs));
        let x = Matrix::new(dropped.as_deref().unwrap_or(x), rows, group.inputs);
        let a = Matrix::new(&lora[group.a.clone()], width, group.inputs);
        let mut narrow = vec![0.0; rows * width];
        gemm(self.cpu, x, a.t(), &mut narrow, None);
        let mut results = results.map(Some);
        for (place, slot) in group.slots.iter().enumerate() {
            let member = GROUPS[index].iter().position(|m| *m == slot.module);
            let Some(y) = member.and_then(|member| results[member].take()) else { continue };
            let mine = Matrix::new(&narrow, rows, width).columns(place * rank, rank);
            let b = Matrix::new(&lora[slot.b.clone()], slot.outputs, rank);
            gemm(self.cpu, mine, b.t(), y, Some(self.layout.scale()));
        }
        narrow
    }

    /// Gradients of a group's adapters, and what they add to the gradient of its input.
    pub(super) fn adapt_backward(
        &self,
        pass: Adapted<'_>,
        results: &[&[f32]],
        d_input: Option<&mut [f32]>,
        d_lora: &mut [f32],
    ) {
        let group: &Group = self.layout.group(pass.group);
        let rank = self.layout.rank();
        let width = group.slots.len() * rank;
        if width == 0 {
            return;
        }
        let rows = pass.x.len() / group.inputs;
        let scale = self.layout.scale();
        let narrow = Matrix::new(pass.narrow, rows, width);
        let mut d_narrow = vec![0.0; rows * width];
        let members = GROUPS[pass.group];
        for (place, slot) in group.slots.iter().enumerate() {
            let Some(member) = members.iter().position(|m| *m == slot.module) else { continue };
            let dy = Matrix::new(results[member], rows, slot.outputs);
            let b = Matrix::new(&pass.lora[slot.b.clone()], slot.outputs, rank);
            let mine = Target::columns(&mut d_narrow, width, place * rank);
            gemm_into(self.cpu, dy, b, mine, None);
            let d_b = &mut d_lora[slot.b.clone()];
            gemm(self.cpu, dy.t(), narrow.columns(place * rank, rank), d_b, Some(scale));
        }
        let d_narrow = Matrix::new(&d_narrow, rows, width);
        let dropped =
            self.dropout.map(|dropout| dropout.apply(self.cpu, pass.group, pass.x, group.inputs));
        let x = Matrix::new(dropped.as_deref().unwrap_or(pass.x), rows, group.inputs);
        gemm(self.cpu, d_narrow.t(), x, &mut d_lora[group.a.clone()], Some(scale));
        let Some(d_input) = d_input else { return };
        let a = Matrix::new(&pass.lora[group.a.clone()], width, group.inputs);
        match self.dropout {
            None => gemm(self.cpu, d_narrow, a, d_input, Some(scale)),
            Some(dropout) => {
                let mut part = vec![0.0; rows * group.inputs];
                gemm(self.cpu, d_narrow, a, &mut part, Some(scale));
                let part = dropout.apply(self.cpu, pass.group, &part, group.inputs);
                self.each_row(d_input, group.inputs, &|row, out| {
                    self.kernels.add(out, &part[row * group.inputs..][..group.inputs]);
                });
            }
        }
    }
}
