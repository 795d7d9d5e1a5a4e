//! The loss of rows of logits, divided among the threads.

use super::{Cpu, kernels::BaseRow, rows::each_row, shared::Shared};
use crate::{
    Buffer,
    host::elements_mut,
    ops::{BaseLogits, LossOps},
};

impl LossOps for Cpu {
    fn loss(
        &self,
        logits: &mut Buffer,
        targets: &[Option<u32>],
        base: Option<BaseLogits<'_>>,
    ) -> Vec<f64> {
        let logits = elements_mut::<f32>(logits);
        let Some(vocab) = logits.len().checked_div(targets.len()) else { return Vec::new() };
        let (places, weights) =
            base.as_ref().map_or((&[][..], &[][..]), |base| (base.places, base.weights));
        let base = base.map_or(&mut [][..], |base| elements_mut::<f32>(base.logits));
        let compared: Vec<usize> = places.iter().flatten().copied().collect();
        assert!(
            logits.len() == targets.len() * vocab
                && (places.is_empty() || places.len() == targets.len())
                && weights.len() == places.len()
                && compared.is_sorted_by(|a, b| a < b)
                && compared.last().is_none_or(|last| (last + 1) * vocab <= base.len()),
            "logits of another shape than the targets"
        );
        let base = Shared::new(base);
        let mut losses = vec![0.0; targets.len()];
        let shared = Shared::new(&mut losses);
        each_row(self, logits, vocab, &|row, logits| {
            let target = targets[row].map(|token| token as usize);
            let place = places.get(row).copied().flatten();
            // SAFETY: each row, and each place among the base's rows, is taken once; the places were checked above.
            unsafe {
                let base = place.map(|place| BaseRow {
                    logits: base.part(place * vocab, vocab),
                    weight: weights[row],
                });
                shared.part(row, 1)[0] = f64::from(self.kernels.loss(logits, target, base));
            }
        });
        losses
    }
}
