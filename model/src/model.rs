//! A packed model, opened: one forward step over a ragged batch.

use std::{path::Path, sync::Arc};

use hone_api::chat::{Message, Role};
use hone_device::{Buffer, Cpu, Device, ops::Span};
use hone_text::{ChatTemplate, FrontEnd, Tokenizer};
use smallvec::SmallVec;

use crate::{
    Adapter, Error, KvCache, ModelConfig, WeightFormat,
    decoder::{
        Decoder,
        step::{Buffers, LayerPass, Runs, Step, StepAngles, runs_among},
    },
    lora::{AdapterHome, LayerLora},
    pack::{Manifest, Pack},
};

/// Tokens of the question that a model is tried with, at most.
const TRIED_TOKENS: usize = 64;

/// A model ready to run. The weights are mapped read-only, so several processes share them.
pub struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) decoder: Decoder,
    manifest: Manifest,
    front_end: Arc<FrontEnd>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("digest", &self.manifest.digest)
            .field("format", &self.manifest.format)
            .field("device", &self.device().name())
            .finish_non_exhaustive()
    }
}

/// New tokens of one sequence.
#[derive(Debug)]
pub struct Segment<'a> {
    /// Tokens that follow those in the cache.
    pub tokens: &'a [u32],
    /// The sequence so far; the tokens are appended.
    pub cache: &'a mut KvCache,
    /// The adapter, the same that filled the cache; `None` is the base.
    pub adapter: Option<&'a Adapter>,
    /// For which tokens logits are wanted.
    pub logits: LogitsFor,
}

/// For which tokens of a segment logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitsFor {
    /// For none: a part of a prompt.
    None,
    /// For the last.
    Last,
    /// For each.
    All,
}

/// Logits of a step: one row of `vocab_size` for each wanted token, in the order of segments and tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    data: Vec<f32>,
    vocab: usize,
}

impl Logits {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.data.len() / self.vocab.max(1)
    }

    /// One row.
    ///
    /// # Panics
    /// If `index` is not below [`Logits::rows`].
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.vocab..][..self.vocab]
    }

    /// One row, to be changed by a sampler.
    ///
    /// # Panics
    /// If `index` is not below [`Logits::rows`].
    pub fn row_mut(&mut self, index: usize) -> &mut [f32] {
        &mut self.data[index * self.vocab..][..self.vocab]
    }
}

/// Sequences of a step whose caches are listed without memory of their own.
const FEW_SEQUENCES: usize = 64;

/// Working memory of a step, kept between steps.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) hidden: Buffer,
    normed: Buffer,
    buffers: Buffers,
    angles: StepAngles,
    spans: Vec<Span>,
    tokens: Vec<u32>,
    wanted: Vec<usize>,
    logits: Buffer,
    /// The logits of a step before.
    given_back: Vec<f32>,
}

impl Scratch {
    /// Empty working memory; it grows with the first steps.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes logits that are no longer needed, so that the next step has their memory.
    pub fn give_back(&mut self, logits: Logits) {
        self.given_back = logits.data;
    }
}

impl Model {
    /// Opens a folder that [`crate::prepare`] made, to run on `threads` threads.
    ///
    /// # Errors
    /// Those of [`Pack::open`] and [`Model::of`].
    pub fn open(packed: &Path, threads: usize) -> Result<Self, Error> {
        Self::of(&Pack::open(packed)?, threads)
    }

    /// A packed base, to run on `threads` threads of the processor.
    ///
    /// # Errors
    /// Those of [`Model::on`]; or no threads can be started.
    pub fn of(pack: &Pack, threads: usize) -> Result<Self, Error> {
        let cpu = Cpu::new(threads).map_err(Error::io(pack.folder()))?;
        Self::on(pack, Arc::new(cpu))
    }

    /// A packed base, to run on a device.
    ///
    /// # Errors
    /// If the weights do not belong to the configuration, or the tokenizer or the template is none that can be used.
    pub fn on(pack: &Pack, device: Arc<dyn Device>) -> Result<Self, Error> {
        let small = &pack.small;
        let config = ModelConfig::parse(&small.config, small.generation.as_deref())?;
        let front_end = FrontEnd {
            tokenizer: Tokenizer::from_bytes(&small.tokenizer)?,
            template: ChatTemplate::from_config(&small.tokenizer_config)?,
            end_tokens: config.eos_token_ids.clone(),
            context: config.max_positions,
            vocab_size: config.vocab_size,
            sampling: config.sampling,
            hidden_size: config.hidden_size,
            base_digest: pack.manifest.digest.clone(),
        };
        Ok(Self {
            decoder: Decoder::open(&config, &pack.weights, device)?,
            front_end: Arc::new(front_end),
            config,
            manifest: pack.manifest.clone(),
        })
    }

    /// Asks it one plain question, as far as the first logits: a model that could answer nothing but errors must not start
    /// to serve.
    ///
    /// # Errors
    /// The template refuses a plain question, the tokenizer makes ids that the model does not have, or the logits are not
    /// finite, which says that a number of `config.json` does not belong to these weights.
    pub fn try_out(&self) -> Result<(), Error> {
        let FrontEnd { tokenizer, template, .. } = &*self.front_end;
        let mut tokens = if template.is_there() {
            let question = [Message::new(Role::User, "Hello")];
            template.encode_chat(tokenizer, &question, true)?
        } else {
            tokenizer.encode("Hello", true)?
        };
        tokens.truncate(self.config.max_positions.min(TRIED_TOKENS));
        let mut cache = KvCache::new(&self.config);
        let segment =
            Segment { tokens: &tokens, cache: &mut cache, adapter: None, logits: LogitsFor::Last };
        let logits = self.forward(&mut [segment], &mut Scratch::new())?;
        if logits.data.iter().all(|logit| logit.is_finite()) {
            return Ok(());
        }
        Err(Error::invalid(
            "config.json",
            "with these numbers the model computes nothing finite; copy config.json again from where \
             the weights are from",
        ))
    }

    /// Sizes and constants.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Digest of the source files, the format and the layout; hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.manifest.digest
    }

    /// Number format of the linear layers.
    #[must_use]
    pub fn format(&self) -> WeightFormat {
        self.manifest.format
    }

    /// Loads an adapter as it is served: in bf16, and beside weights in f32 as it was written.
    ///
    /// # Errors
    /// As [`Adapter::load`].
    pub fn load_adapter(&self, dir: &Path) -> Result<Adapter, Error> {
        let home = AdapterHome { device: self.device(), format: self.adapter_format() };
        Adapter::load(dir, self.config(), home)
    }

    /// Number format in which adapters are served.
    #[must_use]
    pub fn adapter_format(&self) -> WeightFormat {
        match self.format() {
            WeightFormat::F32 => WeightFormat::F32,
            WeightFormat::Bf16 => WeightFormat::Bf16,
            WeightFormat::Q8 | WeightFormat::Q4 => WeightFormat::Q8,
        }
    }

    /// Tokenizer, template and limits.
    #[must_use]
    pub fn front_end(&self) -> &Arc<FrontEnd> {
        &self.front_end
    }

    /// What it runs on.
    #[must_use]
    pub fn device(&self) -> &dyn Device {
        &*self.decoder.device
    }

    /// Name of the device, or of the processor's instruction set that runs the kernels.
    #[must_use]
    pub fn kernels(&self) -> &'static str {
        self.device().name()
    }

    /// Threads of a step.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.device().threads()
    }

    /// Runs one step over a ragged batch: prompts, parts of prompts and single tokens, of different adapters.
    ///
    /// The logits of a token have the same bits whatever else is in the batch, however its prompt was cut into steps and
    /// on however many threads. Rows without an adapter cost the same beside rows with one; segments of one adapter
    /// should stand together, for then they share its products.
    ///
    /// # Errors
    /// If a token is outside of the vocabulary, a sequence would pass the context, or a cache or adapter belongs to
    /// another model. Nothing is changed then.
    pub fn forward(
        &self,
        segments: &mut [Segment<'_>],
        scratch: &mut Scratch,
    ) -> Result<Logits, Error> {
        self.run_layers(segments, scratch)?;
        Ok(self.logits(scratch))
    }

    /// All layers; leaves the rows whose logits are wanted in `scratch.hidden`.
    pub(crate) fn run_layers(
        &self,
        segments: &mut [Segment<'_>],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        self.check(segments)?;
        let device = self.device();
        let Scratch { hidden, buffers, angles, spans, tokens, wanted, .. } = scratch;
        spans.clear();
        let mut rows = 0;
        for segment in segments.iter_mut() {
            let count = segment.tokens.len();
            spans.push(Span { rows: rows..rows + count, start: segment.cache.len() });
            segment.cache.reserve(device, count);
            rows += count;
        }
        let positions = spans.iter().flat_map(|s| s.start..s.start + s.rows.len());
        self.decoder.angles(positions, angles);
        tokens.clear();
        tokens.extend(segments.iter().flat_map(|s| s.tokens));
        self.decoder.embed(tokens, hidden);

        let angles = &angles.of_kinds;
        let step = Step { device, config: &self.config, spans, prefixes: None, angles };
        let runs = adapter_runs(segments, spans);
        wanted.clear();
        wanted.extend(wanted_rows(segments, spans));
        let runs_after = runs_among(&runs, wanted);
        for (index, layer) in self.decoder.layers.iter().enumerate() {
            let mut caches: SmallVec<[_; FEW_SEQUENCES]> =
                segments.iter_mut().map(|s| s.cache.layer(index)).collect();
            let is_last = index + 1 == self.decoder.layers.len();
            let loras = of_layer(&runs, index);
            let loras_after = if is_last { of_layer(&runs_after, index) } else { loras.clone() };
            let pass = LayerPass {
                step,
                loras: &loras,
                rows_after: is_last.then_some(wanted),
                loras_after: &loras_after,
                dropout: None,
            };
            layer.forward(&pass, &mut caches, hidden, buffers, None);
        }
        for segment in segments.iter_mut() {
            segment.cache.advance(segment.tokens.len());
        }
        Ok(())
    }

    /// Final norm and output head.
    fn logits(&self, scratch: &mut Scratch) -> Logits {
        let (device, vocab) = (self.device(), self.config.vocab_size);
        let Scratch { hidden, normed, logits, given_back, .. } = scratch;
        device.resize(normed, hidden.len());
        let head = self.decoder.head();
        device.norm(head.norm, hidden, normed, None);
        device.resize(logits, hidden.len() / self.config.hidden_size * vocab);
        head.logits(device, normed, logits);
        let mut data = std::mem::take(given_back);
        device.download_into(logits, &mut data);
        Logits { data, vocab }
    }

    fn check(&self, segments: &[Segment<'_>]) -> Result<(), Error> {
        let vocab = self.config.vocab_size;
        for segment in segments {
            segment.cache.check(&self.config)?;
            if let Some(adapter) = segment.adapter {
                adapter.check(&self.config)?;
            }
            let tokens = segment.cache.len() + segment.tokens.len();
            if tokens > self.config.max_positions {
                return Err(Error::ContextFull { tokens, max: self.config.max_positions });
            }
            if let Some(token) = segment.tokens.iter().find(|t| **t as usize >= vocab) {
                return Err(Error::TokenRange { token: *token, vocab });
            }
        }
        Ok(())
    }
}

/// Adjacent segments of the same adapter, joined.
fn adapter_runs<'a>(segments: &[Segment<'a>], spans: &[Span]) -> Runs<&'a Adapter> {
    let mut runs: Runs<&Adapter> = Runs::new();
    for (segment, span) in segments.iter().zip(spans) {
        let Some(adapter) = segment.adapter else { continue };
        match runs.last_mut() {
            Some((rows, last)) if std::ptr::eq(*last, adapter) && rows.end == span.rows.start => {
                rows.end = span.rows.end;
            }
            _ if span.rows.is_empty() => {}
            _ => runs.push((span.rows.clone(), adapter)),
        }
    }
    runs
}

/// The rows whose logits are wanted, ascending.
fn wanted_rows(segments: &[Segment<'_>], spans: &[Span]) -> impl Iterator<Item = usize> {
    let of_segment = |(segment, span): (&Segment<'_>, &Span)| match segment.logits {
        LogitsFor::None => span.rows.end..span.rows.end,
        LogitsFor::Last => span.rows.end.saturating_sub(1).max(span.rows.start)..span.rows.end,
        LogitsFor::All => span.rows.clone(),
    };
    segments.iter().zip(spans).flat_map(of_segment)
}

/// The adapters' shares of one layer.
fn of_layer<'a>(runs: &Runs<&'a Adapter>, index: usize) -> Runs<&'a LayerLora> {
    runs.iter().filter_map(|(rows, adapter)| Some((rows.clone(), adapter.layer(index)?))).collect()
}
