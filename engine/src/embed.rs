//! Embeddings: the mean of a text's last hidden states. One request, computed piece by piece.

use std::sync::Arc;

use hone_api::AdapterId;
use hone_model::{KvCache, LogitsFor, Model, Scratch, Segment};
use tokio::sync::oneshot;

use crate::slots::Slot;
use crate::{Error, Party, Target};

/// Requests that may be under way or wait.
pub(crate) const WAITING: usize = 64;
/// Texts whose embeddings are wanted.
#[derive(Debug, Clone)]
pub struct EmbedRequest {
    /// Each as token ids; none of them empty.
    pub inputs: Vec<Vec<u32>>,
    /// Which weights read them.
    pub target: Target,
    /// Who asks.
    pub party: Party,
}

/// Embeddings under way. Drop it, and they are given up.
#[derive(Debug)]
pub struct Embedding {
    /// The adapter that reads the texts; `None` is the base.
    pub adapter: Option<AdapterId>,
    /// SHA-256 of that adapter's weights, hex.
    pub adapter_digest: Option<String>,
    pub(crate) reply: oneshot::Receiver<Result<Vec<Vec<f32>>, Error>>,
}

impl Embedding {
    /// The vectors, in the order of the texts.
    ///
    /// # Errors
    /// The model's; [`Error::ShuttingDown`].
    pub async fn vectors(self) -> Result<Vec<Vec<f32>>, Error> {
        self.reply.await.unwrap_or(Err(Error::ShuttingDown))
    }
}

/// One request, as far as it has come.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) caller: u64,
    slot: Option<Arc<Slot>>,
    inputs: Vec<Vec<u32>>,
    /// Inputs that were begun before, from the front.
    begun: usize,
    pub(crate) done: Vec<Vec<f32>>,
    /// The input that a piece ended in the middle of.
    pub(crate) open: Option<Open>,
    pub(crate) reply: oneshot::Sender<Result<Vec<Vec<f32>>, Error>>,
}

/// An input of which a part is computed.
#[derive(Debug)]
pub(crate) struct Open {
    input: usize,
    cache: KvCache,
    sum: Vec<f64>,
}

impl Job {
    pub(crate) fn new(
        request: EmbedRequest,
        slot: Option<Arc<Slot>>,
        reply: oneshot::Sender<Result<Vec<Vec<f32>>, Error>>,
    ) -> Self {
        let EmbedRequest { inputs, party, .. } = request;
        let done = Vec::with_capacity(inputs.len());
        Self { caller: party.caller, slot, inputs, begun: 0, done, open: None, reply }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.len() == self.inputs.len()
    }

    /// Computes at most so many tokens, of as many inputs as they last for.
    pub(crate) fn advance(
        &mut self,
        model: &Model,
        scratch: &mut Scratch,
        tokens: usize,
    ) -> Result<(), Error> {
        let width = model.config().hidden_size;
        let mut piece: Vec<Open> = self.open.take().into_iter().collect();
        let mut spans = Vec::new();
        let mut left = tokens.max(1);
        for at in 0.. {
            if at == piece.len() {
                if self.begun == self.inputs.len() {
                    break;
                }
                let (cache, sum) = (KvCache::new(model.config()), vec![0.0; width]);
                piece.push(Open { input: self.begun, cache, sum });
                self.begun += 1;
            }
            let open = &piece[at];
            let start = open.cache.len();
            let end = self.inputs[open.input].len().min(start + left);
            spans.push(start..end);
            left -= end - start;
            if left == 0 {
                break;
            }
        }
        let adapter = self.slot.as_ref().map(|slot| slot.adapter.as_ref());
        let mut segments: Vec<Segment<'_>> = piece
            .iter_mut()
            .zip(&spans)
            .map(|(open, span)| Segment {
                tokens: &self.inputs[open.input][span.clone()],
                cache: &mut open.cache,
                adapter,
                logits: LogitsFor::All,
            })
            .collect();
        let hidden = model.hidden(&mut segments, scratch)?;
        let mut rows = hidden.chunks_exact(width);
        for (mut open, span) in piece.into_iter().zip(spans) {
            for row in rows.by_ref().take(span.len()) {
                open.sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            let length = self.inputs[open.input].len();
            if span.end < length {
                self.open = Some(open);
                continue;
            }
            #[allow(clippy::cast_possible_truncation)] // the mean of f32 values
            let mean = open.sum.iter().map(|sum| (sum / length as f64) as f32).collect();
            self.done.push(mean);
        }
        Ok(())
    }
}
