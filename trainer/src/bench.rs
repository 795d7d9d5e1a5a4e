//! Training speed on a fixed shape, for `hone bench train`.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use hone_config::Recompute;
use hone_machine::available;
use hone_model::train::{LoraLayout, Pass, TrainBatch, TrainSequence, Trainable};
use hone_model::{Model, ModelConfig, WeightFormat};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::optim::AdamW;
use crate::probe::{Plan, Work};
use crate::training_config::TrainingConfig;

/// What one measured step holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BenchShape {
    /// Sequences.
    pub sequences: usize,
    /// Tokens of each.
    pub length: usize,
    /// Rank of the adapter, on all linear layers.
    pub rank: usize,
    /// Share of the tokens that the loss is taken on.
    pub supervised: f64,
    /// Compute intermediates again in the backward pass.
    pub recompute: bool,
}

impl BenchShape {
    /// What a step takes, told before the model is opened.
    ///
    /// # Errors
    /// [`Error::Memory`]: more than there is. The adapter does not fit the model.
    pub fn admit(&self, config: &ModelConfig, format: WeightFormat) -> Result<Plan, Error> {
        self.work(config, format, &self.layout(config)?).plan(&available())
    }

    /// What the shape does not say is as in the settings that ship, so that figures of two machines speak of the same.
    fn training(&self) -> Result<TrainingConfig, Error> {
        Ok(TrainingConfig { rank: self.rank, ..TrainingConfig::shipped()? })
    }

    fn layout(&self, config: &ModelConfig) -> Result<LoraLayout, Error> {
        let training = self.training()?;
        Ok(LoraLayout::new(config, training.rank, training.alpha as f32, &training.target_modules)?)
    }

    fn work<'a>(
        &self,
        config: &'a ModelConfig,
        format: WeightFormat,
        layout: &'a LoraLayout,
    ) -> Work<'a> {
        let recompute = if self.recompute { Recompute::Always } else { Recompute::Never };
        let tokens = self.sequences.saturating_mul(self.length);
        Work { config, format, layout, tokens, recompute }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchFigures {
    /// Number format of the base.
    pub format: String,
    /// Instruction set of the kernels.
    pub kernels: String,
    /// Threads.
    pub threads: usize,
    /// The shape.
    pub shape: BenchShape,
    /// Measured steps, after one to warm up.
    pub steps: usize,
    /// Seconds of all of them.
    pub seconds: f64,
    /// Seconds of their forward passes.
    pub forward_seconds: f64,
    /// Seconds of their backward passes.
    pub backward_seconds: f64,
    /// Seconds of the optimizer.
    pub optimizer_seconds: f64,
    /// Tokens a second: whole steps, optimizer included.
    pub tokens_per_second: f64,
    /// Loss of the last step, to show that something was computed.
    pub loss: f64,
}

/// Runs `steps` optimizer steps on random tokens.
///
/// # Errors
/// [`Error::Memory`]: the shape needs more than there is. The shape does not fit the model, or autograd fails.
pub fn bench(model: &Arc<Model>, shape: BenchShape, steps: usize) -> Result<BenchFigures, Error> {
    let training = shape.training()?;
    let trainable = Trainable::new(Arc::clone(model), shape.layout(model.config())?);
    shape.work(model.config(), model.format(), trainable.layout()).plan(&available())?;
    let parameters = trainable.layout().len();
    let layers = model.config().num_layers;
    let variables: Vec<Var> = (0..layers)
        .map(|layer| Var::from_vec(trainable.layout().initial(0, layer), parameters, &Device::Cpu))
        .collect::<Result<_, _>>()?;
    let mut optimizer = AdamW::new(&vec![parameters; layers]);
    let batch = Arc::new(random_batch(model, shape)?);
    let supervised = batch.supervised_tokens().max(1) as f64;
    let pass = Pass { keep: !shape.recompute, ..Pass::default() };
    let mut figures = BenchFigures {
        format: model.format().to_string(),
        kernels: model.kernels().to_owned(),
        threads: model.threads(),
        shape,
        steps,
        seconds: 0.0,
        forward_seconds: 0.0,
        backward_seconds: 0.0,
        optimizer_seconds: 0.0,
        tokens_per_second: 0.0,
        loss: 0.0,
    };
    for step in 0..=steps {
        let begun = Instant::now();
        let adapters: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
        let loss = (trainable.loss(&adapters, &batch, &pass)? * (1.0 / supervised))?;
        let forward = begun.elapsed().as_secs_f64();
        let store = loss.backward()?;
        let backward = begun.elapsed().as_secs_f64() - forward;
        let mut gradients = Vec::with_capacity(layers);
        for adapter in &adapters {
            gradients.push(match store.get(adapter) {
                Some(gradient) => gradient.to_vec1::<f32>()?,
                None => vec![0.0; parameters],
            });
        }
        optimizer.update(&variables, &mut gradients, &training, training.learning_rate)?;
        if step == 0 {
            continue; // page faults and thread starts
        }
        let whole = begun.elapsed().as_secs_f64();
        figures.loss = f64::from(loss.to_scalar::<f32>()?);
        figures.seconds += whole;
        figures.forward_seconds += forward;
        figures.backward_seconds += backward;
        figures.optimizer_seconds += whole - forward - backward;
    }
    let tokens = (batch.tokens() * steps) as f64;
    figures.tokens_per_second = if figures.seconds > 0.0 { tokens / figures.seconds } else { 0.0 };
    Ok(figures)
}

fn random_batch(model: &Model, shape: BenchShape) -> Result<TrainBatch, Error> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let vocab = model.config().vocab_size as u32;
    let sequences: Vec<TrainSequence> = (0..shape.sequences)
        .map(|_| TrainSequence {
            // One more than go through: the last token is only predicted.
            tokens: (0..=shape.length).map(|_| random.random_range(0..vocab)).collect(),
            supervised: (0..=shape.length)
                .map(|at| at as f64 > shape.length as f64 * (1.0 - shape.supervised))
                .collect(),
            imitated: true,
            kl_to_base: Vec::new(),
        })
        .collect();
    Ok(TrainBatch::new(model.config(), &sequences)?)
}
