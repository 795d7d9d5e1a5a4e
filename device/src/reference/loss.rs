//! The loss, from its definition.

use super::Reference;
use crate::{
    Buffer,
    host::elements_mut,
    ops::{BaseLogits, LossOps},
};

/// Logarithms of the softmax of a row.
fn log_softmax(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = largest + row.iter().map(|z| (z - largest).exp()).sum::<f64>().ln();
    row.iter().map(|z| z - log_sum).collect()
}

impl LossOps for Reference {
    fn loss(
        &self,
        logits: &mut Buffer,
        targets: &[Option<u32>],
        base: Option<BaseLogits<'_>>,
    ) -> Vec<f64> {
        let logits = elements_mut::<f64>(logits);
        let Some(vocab) = logits.len().checked_div(targets.len()) else { return Vec::new() };
        let (places, weights) =
            base.as_ref().map_or((&[][..], &[][..]), |base| (base.places, base.weights));
        let base = base.map_or(&mut [][..], |base| elements_mut::<f64>(base.logits));
        let rows = logits.chunks_exact_mut(vocab).zip(targets).enumerate();
        rows.map(|(row, (logits, target))| {
            let log_p = log_softmax(logits);
            let mut loss = 0.0;
            logits.fill(0.0);
            if let Some(target) = target.map(|target| target as usize) {
                loss -= log_p[target];
                logits.iter_mut().zip(&log_p).for_each(|(d, log_p)| *d += log_p.exp());
                logits[target] -= 1.0;
            }
            if let Some(place) = places.get(row).copied().flatten() {
                let base = &mut base[place * vocab..][..vocab];
                let (log_q, weight) = (log_softmax(base), f64::from(weights[row]));
                for i in 0..vocab {
                    let (p, q) = (log_p[i].exp(), log_q[i].exp());
                    loss += weight * q * (log_q[i] - log_p[i]);
                    logits[i] += weight * (p - q);
                    base[i] = q;
                }
            }
            loss
        })
        .collect()
    }
}
