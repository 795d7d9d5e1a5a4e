//! AdamW over flat parameter vectors, with clipping by the global norm.
//!
//! A sum of squares that is not finite stops the job: an adapter of NaNs that was recorded as a
//! success is the failure that this module prevents.

use candle_core::{Tensor, Var};

use crate::Error;
use crate::training_config::TrainingConfig;

/// Moments of every parameter; one vector per layer, in the order of the variables.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// First moments.
    pub first: Vec<Vec<f32>>,
    /// Second moments.
    pub second: Vec<Vec<f32>>,
    /// Optimizer steps done.
    pub step: usize,
}

impl AdamW {
    /// All moments zero, for variables of these lengths.
    pub fn new(lengths: &[usize]) -> Self {
        let zeros = || lengths.iter().map(|length| vec![0.0; *length]).collect();
        Self { first: zeros(), second: zeros(), step: 0 }
    }

    /// One step. `gradients` belong to `variables` in order and are scaled in place when their
    /// global norm exceeds `training.clip`. Returns the norm before that.
    ///
    /// # Errors
    /// [`Error::NonFinite`], before anything is changed if a gradient is not finite.
    pub fn update(
        &mut self,
        variables: &[Var],
        gradients: &mut [Vec<f32>],
        training: &TrainingConfig,
        rate: f64,
    ) -> Result<f64, Error> {
        let norm = clip(gradients, training.clip);
        if !norm.is_finite() {
            return Err(Error::NonFinite { step: self.step + 1, what: "gradient" });
        }
        self.step += 1;
        let power = i32::try_from(self.step).unwrap_or(i32::MAX);
        let (beta1, beta2) = (training.beta1 as f32, training.beta2 as f32);
        let correct1 = 1.0 - training.beta1.powi(power);
        let correct2 = 1.0 - training.beta2.powi(power);
        let scale = (rate / correct1) as f32;
        let inverse = (1.0 / correct2.sqrt()) as f32;
        let keep = (1.0 - rate * training.weight_decay) as f32;
        let epsilon = training.epsilon as f32;
        for (index, variable) in variables.iter().enumerate() {
            let mut weights = variable.as_tensor().to_vec1::<f32>()?;
            let moments = self.first[index].iter_mut().zip(&mut self.second[index]);
            let mut finite = true;
            for ((weight, gradient), (first, second)) in
                weights.iter_mut().zip(&gradients[index]).zip(moments)
            {
                *first = beta1 * *first + (1.0 - beta1) * gradient;
                *second = beta2 * *second + (1.0 - beta2) * gradient * gradient;
                *weight = *weight * keep - scale * *first / (second.sqrt() * inverse + epsilon);
                finite &= weight.is_finite();
            }
            if !finite {
                return Err(Error::NonFinite { step: self.step, what: "weights" });
            }
            let length = weights.len();
            variable.set(&Tensor::from_vec(weights, length, variable.device())?)?;
        }
        Ok(norm)
    }
}

/// Scales all gradients so that their global norm is at most `limit`; returns the norm before.
fn clip(gradients: &mut [Vec<f32>], limit: f64) -> f64 {
    let sum: f64 = gradients
        .iter()
        .map(|gradient| gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>())
        .sum();
    let norm = sum.sqrt();
    if norm.is_finite() && norm > limit {
        let factor = (limit / norm) as f32;
        gradients.iter_mut().flatten().for_each(|gradient| *gradient *= factor);
    }
    norm
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn variable(values: &[f32]) -> Var {
        Var::from_slice(values, values.len(), &Device::Cpu).unwrap()
    }

    fn values(variable: &Var) -> Vec<f32> {
        variable.as_tensor().to_vec1().unwrap()
    }

    /// Figures of `torch.optim.AdamW(lr=0.1, weight_decay=0.01)` on the same two gradients.
    #[test]
    fn agrees_with_pytorch() {
        let training = TrainingConfig { weight_decay: 0.01, clip: 1e9, ..TrainingConfig::plain() };
        let variables = [variable(&[1.0, -2.0])];
        let mut adam = AdamW::new(&[2]);
        adam.update(&variables, &mut [vec![0.5, -0.25]], &training, 0.1).unwrap();
        for (got, want) in values(&variables[0]).iter().zip([0.899, -1.898]) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
        adam.update(&variables, &mut [vec![-0.5, 0.75]], &training, 0.1).unwrap();
        // m = (-0.005, 0.0525)/0.19, v = (5.0e-4 - 2.5e-7, ...)/0.001999
        let m = [(0.9 * 0.05 - 0.05) / 0.19, (0.9 * -0.025 + 0.075) / 0.19];
        let v = [
            (0.999 * 0.00025 + 0.001 * 0.25) / 0.001_999,
            (0.999 * 0.000_062_5 + 0.001 * 0.5625) / 0.001_999,
        ];
        let start = [0.899, -1.898];
        for i in 0..2 {
            let want: f64 = start[i] * 0.999 - 0.1 * m[i] / (f64::sqrt(v[i]) + 1e-8);
            let got = f64::from(values(&variables[0])[i]);
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
    }

    #[test]
    fn clips_the_global_norm() {
        let mut gradients = [vec![3.0], vec![4.0]];
        assert!((clip(&mut gradients, 1.0) - 5.0).abs() < 1e-12);
        assert!((gradients[0][0] - 0.6).abs() < 1e-6 && (gradients[1][0] - 0.8).abs() < 1e-6);
        let mut small = [vec![0.3]];
        clip(&mut small, 1.0);
        assert_eq!(small[0][0], 0.3);
    }

    #[test]
    fn a_nan_names_the_step_and_changes_nothing() {
        let variables = [variable(&[1.0])];
        let mut adam = AdamW::new(&[1]);
        let training = TrainingConfig::plain();
        adam.update(&variables, &mut [vec![0.1]], &training, 0.1).unwrap();
        let before = (values(&variables[0]), adam.clone());
        let error = adam.update(&variables, &mut [vec![f32::NAN]], &training, 0.1).unwrap_err();
        assert!(error.to_string().starts_with("step 2: the gradient"), "{error}");
        assert_eq!((values(&variables[0]), adam), before);
    }
}
