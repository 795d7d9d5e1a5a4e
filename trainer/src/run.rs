//! The loop over epochs and steps, from a fresh start or from a checkpoint.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use fail::fail_point;
use hone_dataset::Teacher;
use hone_model::train::{Pass, TrainBatch, TrainSequence, Trainable};

use crate::Error;
use crate::batch::{self, Showing};
use crate::checkpoint::{Checkpoint, Counters, Identity};
use crate::focus;
use crate::job::{Phase, TrainingProgress};
use crate::optim::AdamW;
use crate::probe::Plan;
use crate::rows::{FEWEST_TO_MEASURE, Lesson, Rows};
use crate::schedule::{EarlyStop, learning_rate};
use crate::throttle::Throttle;
use crate::training_config::TrainingConfig;

/// Everything that stays the same during a run.
pub(crate) struct Setting<'a> {
    pub(crate) trainable: &'a Trainable,
    pub(crate) rows: &'a Rows,
    pub(crate) training: &'a TrainingConfig,
    pub(crate) plan: Plan,
    /// The parameters to begin with, layer by layer; new ones without.
    pub(crate) start: Option<Vec<Vec<f32>>>,
    /// Those of the adapter whose distribution is kept in the place of the base's.
    pub(crate) kept: Option<Arc<Vec<Vec<f32>>>>,
    pub(crate) identity: Identity,
    pub(crate) checkpoints: PathBuf,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) started: Instant,
    /// Set when the run shall end with a checkpoint.
    pub(crate) stop: &'a AtomicBool,
}

impl Setting<'_> {
    /// Whether there are validation rows enough to choose by.
    pub(crate) fn chooses(&self) -> bool {
        self.rows.validation.len() >= FEWEST_TO_MEASURE
    }

    /// Epochs without a better validation loss that end the run; few rows end none.
    fn patience(&self) -> usize {
        if self.chooses() { self.training.early_stop_patience } else { 0 }
    }
}

/// What a run ends with.
pub(crate) struct Trained {
    /// The weights to export.
    pub(crate) weights: Vec<Vec<f32>>,
    pub(crate) counters: Counters,
    pub(crate) stopped_early: bool,
    pub(crate) train_loss: f64,
    pub(crate) resumed_at: Option<usize>,
    pub(crate) tokens_per_second: f64,
}

/// Where progress goes.
pub(crate) type Report<'a> = &'a mut dyn FnMut(TrainingProgress) -> Result<(), Error>;

struct Run<'a, 'b> {
    setting: &'b Setting<'a>,
    /// How often each row is usually shown in an epoch.
    usual: Vec<usize>,
    /// Optimizer steps of a usual epoch.
    steps_usually: usize,
    /// Those of the epoch that runs.
    steps_now: usize,
    variables: Vec<Var>,
    optimizer: AdamW,
    best: Option<Vec<Vec<f32>>>,
    counters: Counters,
    /// Tokens and seconds of training steps in this process.
    speed: (u64, f64),
}

/// Figures of one optimizer step.
struct Step {
    loss: f64,
    norm: f64,
    rate: f64,
}

/// Trains to the end of the schedule, or until validation says stop.
pub(crate) fn train(setting: &Setting<'_>, report: Report<'_>) -> Result<Trained, Error> {
    let (mut run, resumed_at) = Run::begin(setting)?;
    if run.counters.initial_bits.is_none() && !setting.rows.validation.is_empty() {
        let loss = run.validation_loss()?;
        run.counters.initial_bits = Some(loss.to_bits());
        let message = format!("validation loss before training: {loss:.4}");
        report(run.progress(Phase::Validate, None, Some(loss), message))?;
    }
    // A run that was killed between its last checkpoint and its outcome has nothing left to do here.
    let mut stopped_early = run.counters.early_stop().exhausted(setting.patience());
    let mut train_loss = run.counters.epoch_loss();
    while !stopped_early && run.has_more_epochs(report)? {
        if run.counters.step_in_epoch == 0 {
            run.counters.epoch_loss_bits = 0;
            run.counters.epoch_supervised = 0;
        }
        let extra = &run.counters.extra_showings;
        let order = batch::steps(&run.usual, extra, setting.training, run.counters.epoch);
        run.steps_now = order.len();
        while run.counters.step_in_epoch < order.len() {
            let step = run.step(&order[run.counters.step_in_epoch])?;
            fail_point!("train.step");
            let message = format!("step {} of {}", run.counters.step, run.steps());
            report(run.progress(Phase::Train, Some(&step), None, message))?;
            let every = setting.training.checkpoint_every;
            let last = run.counters.step_in_epoch == order.len();
            let stop = setting.stop.load(Ordering::Relaxed);
            if (stop || every > 0 && run.counters.step.is_multiple_of(every)) && !last {
                run.checkpoint()?;
            }
            if stop && !last {
                return Err(Error::Stopped { step: run.counters.step });
            }
        }
        train_loss = run.counters.epoch_loss();
        stopped_early = run.end_epoch(train_loss, report)?;
    }
    let Run { variables, best, counters, speed, .. } = run;
    let weights = match best {
        Some(best) => best,
        None => values(&variables)?,
    };
    let tokens_per_second = if speed.1 > 0.0 { speed.0 as f64 / speed.1 } else { 0.0 };
    Ok(Trained { weights, counters, stopped_early, train_loss, resumed_at, tokens_per_second })
}

impl<'a, 'b> Run<'a, 'b> {
    /// Fresh, or as the newest checkpoint left it.
    fn begin(setting: &'b Setting<'a>) -> Result<(Self, Option<usize>), Error> {
        let layout = setting.trainable.layout();
        let layers = setting.trainable.model().config().num_layers;
        let found = Checkpoint::newest(&setting.checkpoints, &setting.identity)?;
        let resumed_at = found.as_ref().map(|checkpoint| checkpoint.counters.step);
        let checkpoint = found.unwrap_or_else(|| Checkpoint {
            counters: Counters::default(),
            weights: setting.start.clone().unwrap_or_else(|| {
                (0..layers).map(|layer| layout.initial(setting.training.seed, layer)).collect()
            }),
            best: None,
            optimizer: AdamW::new(&vec![layout.len(); layers]),
        });
        let variables = checkpoint
            .weights
            .into_iter()
            .map(|flat| Var::from_vec(flat, layout.len(), &Device::Cpu))
            .collect::<Result<_, _>>()?;
        let per_step = setting.training.batch_size * setting.training.accumulation;
        let usual: Vec<usize> = setting.rows.train.iter().map(|row| row.showings).collect();
        let steps = usual.iter().sum::<usize>().div_ceil(per_step);
        let run = Self {
            setting,
            usual,
            steps_usually: steps,
            steps_now: steps,
            variables,
            optimizer: checkpoint.optimizer,
            best: checkpoint.best,
            counters: checkpoint.counters,
            speed: (0, 0.0),
        };
        Ok((run, resumed_at))
    }

    /// One optimizer step over some rows: the loss is the sum over their tokens divided by the number
    /// of supervised ones, however the rows are cut into batches.
    fn step(&mut self, showings: &[Showing]) -> Result<Step, Error> {
        let begun = Instant::now();
        let training = self.setting.training;
        let train = &self.setting.rows.train;
        let number = self.counters.step + 1;
        let pass = self.counters.epochs_done;
        let shown = |showing: &Showing| train[showing.row].shown_in(pass, showing.number);
        let rows: Vec<&TrainSequence> = showings.iter().map(shown).collect();
        let teachers = showings.iter().map(|showing| train[showing.row].teacher);
        let by_length: Vec<_> = rows.iter().map(|row| row.rows()).zip(teachers).collect();
        let supervised: usize = rows.iter().map(|row| row.supervised_tokens()).sum();
        let mut gradients =
            vec![vec![0.0_f32; self.setting.trainable.layout().len()]; self.variables.len()];
        let mut loss = 0.0;
        let batches = batch::pack_by_teacher(&by_length, training);
        for (index, (teacher, members)) in batches.iter().enumerate() {
            let dropout = (training.dropout > 0.0).then(|| {
                (
                    training.dropout as f32,
                    batch::dropout_key(training.seed, self.counters.step, index),
                )
            });
            let kl_weight = training.kl_weight as f32;
            let kept = self.setting.kept.clone().filter(|_| *teacher == Teacher::Kept);
            let keep = self.setting.plan.keep;
            let pass = Pass { dropout, kl_weight, kept, keep, ..self.pass() };
            let sum = self.loss(members.iter().map(|row| rows[*row]), &pass)?;
            let value = f64::from(sum.to_scalar::<f32>()?);
            if !value.is_finite() {
                return Err(Error::NonFinite { step: number, what: "loss" });
            }
            loss += value;
            let store = (sum * (1.0 / supervised as f64))?.backward()?;
            for (total, variable) in gradients.iter_mut().zip(&self.variables) {
                let Some(gradient) = store.get(variable.as_tensor()) else { continue };
                let gradient = gradient.to_vec1::<f32>()?;
                total.iter_mut().zip(gradient).for_each(|(total, gradient)| *total += gradient);
            }
        }
        let rate = learning_rate(training, self.place(), self.steps_usually * training.epochs);
        let norm = self.optimizer.update(&self.variables, &mut gradients, training, rate)?;
        let tokens = rows.iter().map(|row| row.rows()).sum::<usize>() as u64;
        let counters = &mut self.counters;
        counters.step = number;
        counters.step_in_epoch += 1;
        counters.tokens += tokens;
        counters.supervised_tokens += supervised as u64;
        counters.epoch_supervised += supervised as u64;
        let sum = f64::from_bits(counters.epoch_loss_bits) + loss;
        counters.epoch_loss_bits = sum.to_bits();
        self.speed.0 += tokens;
        self.speed.1 += begun.elapsed().as_secs_f64();
        Ok(Step { loss: loss / supervised as f64, norm, rate })
    }

    /// Measures, remembers the best, writes a checkpoint; true if training should end.
    fn end_epoch(&mut self, train_loss: f64, report: Report<'_>) -> Result<bool, Error> {
        let mut stop = false;
        let mut message = format!("epoch {}: loss {train_loss:.4}", self.counters.epoch + 1);
        let mut measured = None;
        if !self.setting.rows.validation.is_empty() {
            let loss = self.validation_loss()?;
            // Where few rows choose nothing, the latest measurement stands.
            let mut early = match self.setting.chooses() {
                true => self.counters.early_stop(),
                false => EarlyStop::default(),
            };
            if early.observe(loss, self.counters.step) && self.setting.chooses() {
                self.best = Some(values(&self.variables)?);
            }
            stop = early.exhausted(self.setting.patience());
            self.counters.set_early_stop(early);
            message = format!("{message}, validation {loss:.4}");
            measured = Some(loss);
        }
        self.counters.epoch += 1;
        self.counters.epochs_done += 1;
        self.counters.step_in_epoch = 0;
        self.counters.extra_showings = Vec::new();
        self.steps_now = self.steps_usually;
        if stop {
            message = format!("{message}: no better than before, training ends");
            // A resume must not train on.
            self.counters.epoch = self.setting.training.most_epochs();
        }
        let progress = self.progress(Phase::Validate, None, measured, message);
        self.checkpoint()?;
        report(progress)?;
        Ok(stop)
    }

    /// Optimizer steps up to the end of the pass through the schedule that runs.
    fn steps(&self) -> usize {
        let (training, epoch) = (self.setting.training, self.counters.epoch);
        let passes = (epoch / training.epochs).min(training.rounds.saturating_sub(1)) + 1;
        let before = self.counters.step - self.counters.step_in_epoch;
        match (passes * training.epochs).saturating_sub(epoch) {
            0 => before,
            left => before + self.steps_now + (left - 1) * self.steps_usually,
        }
    }

    /// Where the next step lies in the schedule, which has [`Run::steps_usually`] for each epoch.
    fn place(&self) -> f64 {
        let epoch = self.counters.epoch % self.setting.training.epochs;
        let share = self.counters.step_in_epoch as f64 / self.steps_now as f64;
        (epoch as f64 + share) * self.steps_usually as f64
    }

    /// Whether another epoch follows: until the schedule has come to its end, and then again as long
    /// as what was taught is not learned, up to the ceiling. Decides what it shows more often.
    fn has_more_epochs(&mut self, report: Report<'_>) -> Result<bool, Error> {
        let (training, epoch) = (self.setting.training, self.counters.epoch);
        if self.counters.step_in_epoch > 0 || epoch == 0 || epoch >= training.most_epochs() {
            return Ok(epoch < training.most_epochs()); // resumed within an epoch, first, or last
        }
        let has_ended = epoch.is_multiple_of(training.epochs);
        if has_ended {
            let train = self.setting.rows.train.iter();
            let taught = train.filter(|row| row.is_taught()).map(Lesson::itself);
            let loss = self.mean_loss(&taught.collect::<Vec<_>>(), "loss of what is taught")?;
            let more = loss > training.learned_loss;
            let what = if more { "not learned yet, it goes on" } else { "learned" };
            let message = format!("loss of what is taught: {loss:.4}, {what}");
            report(self.progress(Phase::Validate, None, None, message))?;
            if !more {
                return Ok(false);
            }
        }
        if training.focus == 0 {
            return Ok(true);
        }
        let losses = self.losses_in_other_words()?;
        self.counters.extra_showings = focus::extra(&losses, &self.usual, training.focus);
        Ok(true)
    }

    /// The loss of each row whose answer is taught, behind another wording of its question, summed
    /// over the answer's tokens; `None` where there is no other wording.
    fn losses_in_other_words(&self) -> Result<Vec<Option<f64>>, Error> {
        let of = |row: &Lesson| -> Result<Option<f64>, Error> {
            let Some(shown) = row.in_other_words().filter(|_| row.is_taught()) else {
                return Ok(None);
            };
            let mean = self.mean_loss(&[shown], "loss of what is taught")?;
            Ok(Some(mean * shown.supervised_tokens() as f64))
        };
        self.setting.rows.train.iter().map(of).collect()
    }

    /// Mean loss over the validation rows.
    fn validation_loss(&self) -> Result<f64, Error> {
        let rows: Vec<&TrainSequence> = self.setting.rows.validation.iter().collect();
        self.mean_loss(&rows, "validation loss")
    }

    /// Mean loss by token over some rows; 0 without any.
    fn mean_loss(&self, rows: &[&TrainSequence], what: &'static str) -> Result<f64, Error> {
        let lengths: Vec<usize> = rows.iter().map(|row| row.rows()).collect();
        let mut sum = 0.0;
        for members in batch::pack(&lengths, self.setting.training) {
            let pass = Pass { loss_only: true, ..self.pass() };
            let loss = self.loss(members.iter().map(|row| rows[*row]), &pass)?;
            sum += f64::from(loss.to_scalar::<f32>()?);
        }
        let supervised: usize = rows.iter().map(|row| row.supervised_tokens()).sum();
        let loss = sum / supervised.max(1) as f64;
        match loss.is_finite() {
            true => Ok(loss),
            false => Err(Error::NonFinite { step: self.counters.step, what }),
        }
    }

    fn pass(&self) -> Pass {
        let throttle = Arc::clone(&self.setting.throttle);
        Pass { between: Some(Arc::new(move || throttle.yield_to_serving())), ..Pass::default() }
    }

    fn loss<'s>(
        &self,
        sequences: impl IntoIterator<Item = &'s TrainSequence>,
        pass: &Pass,
    ) -> Result<Tensor, Error> {
        let config = self.setting.trainable.model().config();
        let batch = Arc::new(TrainBatch::new(config, sequences)?);
        let adapters: Vec<Tensor> = self.variables.iter().map(|v| v.as_tensor().clone()).collect();
        Ok(self.setting.trainable.loss(&adapters, &batch, pass)?)
    }

    fn checkpoint(&self) -> Result<(), Error> {
        Checkpoint {
            counters: self.counters.clone(),
            weights: values(&self.variables)?,
            best: self.best.clone(),
            optimizer: self.optimizer.clone(),
        }
        .write(&self.setting.checkpoints, &self.setting.identity)
    }

    fn progress(
        &self,
        phase: Phase,
        step: Option<&Step>,
        validation_loss: Option<f64>,
        message: String,
    ) -> TrainingProgress {
        let counters = &self.counters;
        let seconds = self.setting.started.elapsed().as_secs_f64();
        TrainingProgress {
            phase,
            step: counters.step,
            steps: self.steps(),
            epoch: counters.epoch as f64 + counters.step_in_epoch as f64 / self.steps_now as f64,
            loss: step.map(|step| step.loss),
            validation_loss,
            learning_rate: step.map_or(0.0, |step| step.rate),
            gradient_norm: step.map(|step| step.norm),
            tokens: counters.tokens,
            supervised_tokens: counters.supervised_tokens,
            tokens_per_second: if self.speed.1 > 0.0 {
                self.speed.0 as f64 / self.speed.1
            } else {
                0.0
            },
            seconds,
            waited_seconds: self.setting.throttle.waited().as_secs_f64(),
            message,
        }
    }
}

fn values(variables: &[Var]) -> Result<Vec<Vec<f32>>, Error> {
    variables.iter().map(|variable| Ok(variable.as_tensor().to_vec1::<f32>()?)).collect()
}

/// Where a job keeps its checkpoints.
pub(crate) fn checkpoints(job_dir: &Path) -> PathBuf {
    job_dir.join("checkpoints")
}
