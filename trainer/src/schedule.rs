//! The learning rate over the steps, and when to stop.

use crate::training_config::{Scheduler, TrainingConfig};

/// Learning rate of optimizer step `at` (from 0) of `steps`: a linear rise over the warm-up, then the
/// scheduler's fall, which reaches zero one step after the last. A step may lie between two where an
/// epoch has more steps than usual.
pub fn learning_rate(training: &TrainingConfig, at: f64, steps: usize) -> f64 {
    let warmup = (steps as f64 * training.warmup_ratio).ceil();
    if at + 1.0 < warmup {
        return training.learning_rate * (at + 1.0) / warmup;
    }
    let rest = (steps as f64 - warmup).max(1.0);
    let done = ((at - warmup).max(0.0) / rest).min(1.0);
    training.learning_rate
        * match training.scheduler {
            Scheduler::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Scheduler::Linear => 1.0 - done,
            Scheduler::Constant => 1.0,
        }
}

/// Remembers the best validation loss and counts the epochs since.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EarlyStop {
    /// Best validation loss so far and the step it was measured after.
    pub best: Option<(f64, usize)>,
    /// Measurements since then.
    pub since: usize,
}

impl EarlyStop {
    /// Takes a measurement; true if it is the best so far.
    pub fn observe(&mut self, loss: f64, step: usize) -> bool {
        if self.best.is_none_or(|(best, _)| loss < best) {
            self.best = Some((loss, step));
            self.since = 0;
            true
        } else {
            self.since += 1;
            false
        }
    }

    /// Whether `patience` measurements in a row were no better; never with a patience of 0.
    pub fn exhausted(&self, patience: usize) -> bool {
        patience > 0 && self.since >= patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(scheduler: Scheduler, steps: usize) -> Vec<f64> {
        let training = TrainingConfig { scheduler, learning_rate: 1.0, ..TrainingConfig::plain() };
        (0..steps).map(|step| learning_rate(&training, step as f64, steps)).collect()
    }

    #[test]
    fn rises_to_the_top_once_and_falls_towards_zero() {
        for scheduler in [Scheduler::Cosine, Scheduler::Linear] {
            let rates = rates(scheduler, 100);
            assert!((rates[0] - 0.2).abs() < 1e-9, "{}", rates[0]);
            assert!((rates[4] - 1.0).abs() < 1e-9 && (rates[5] - 1.0).abs() < 1e-9);
            assert!(rates[5..].windows(2).all(|pair| pair[1] <= pair[0]));
            assert!(rates[99] > 0.0 && rates[99] < 0.02);
        }
        assert_eq!(rates(Scheduler::Constant, 10)[9], 1.0);
    }

    #[test]
    fn even_a_single_step_learns() {
        assert!(rates(Scheduler::Cosine, 1)[0] > 0.9);
        assert!(rates(Scheduler::Linear, 2).iter().all(|rate| *rate > 0.0));
    }

    #[test]
    fn patience_counts_from_the_best() {
        let mut stop = EarlyStop::default();
        assert!(stop.observe(1.0, 10));
        assert!(!stop.observe(1.1, 20));
        assert!(!stop.exhausted(2) && stop.exhausted(1));
        assert!(stop.observe(0.9, 30));
        assert!(!stop.exhausted(1));
        assert_eq!(stop.best, Some((0.9, 30)));
        assert!(!stop.exhausted(0));
    }
}
