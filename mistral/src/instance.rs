//! One loaded model: the base, or the base with an adapter merged into it. Its memory is free when the last request that
//! began with it has ended.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use hone_api::AdapterId;
use hone_model::Foreign;
use mistralrs::core::{
    AdapterPaths, Constraint, CustomLogitsProcessor, DefaultSchedulerMethod, DeviceMapSetting,
    IsqType, LocalModelPaths, MistralRs, MistralRsBuilder, ModelPaths, NormalLoaderBuilder,
    NormalRequest, NormalSpecificConfig, Request, RequestMessage, Response, SamplingParams,
    SchedulerConfig,
};
use tokio::sync::mpsc;

use crate::{Error, WeightForm};

/// Chunks that mistralrs may have sent before the first is read. It says one with each token.
const CHUNKS: usize = 1024;
/// How many were loaded.
static SERIALS: AtomicUsize = AtomicUsize::new(0);
/// How long the memory of a dropped instance may take to come back.
const FREED: Duration = Duration::from_secs(20);

/// A loaded model.
pub(crate) struct Instance {
    /// What is merged into it; `None` is the base.
    pub(crate) adapter: Option<AdapterId>,
    /// SHA-256 of the adapter's weights, hex.
    pub(crate) digest: Option<String>,
    /// The largest change of a logit on the prompts of a probe; 0 of the base.
    pub(crate) effect: f32,
    /// Tells it from the others of this process.
    pub(crate) serial: usize,
    sender: mpsc::Sender<Request>,
    /// Keeps mistralrs' thread; dropping it ends the thread.
    _mistral: Arc<MistralRs>,
    requests: AtomicUsize,
    used: Mutex<Instant>,
}

/// What is loaded, and how.
pub(crate) struct Plan<'a> {
    pub(crate) model: &'a Arc<Foreign>,
    pub(crate) form: WeightForm,
    /// Tensors that stand before the model's own of the same names.
    pub(crate) merged: Option<PathBuf>,
}

impl Instance {
    /// Loads a model. Blocks; mistralrs runs in threads of its own.
    ///
    /// # Errors
    /// mistralrs refuses the model, or panics over it.
    pub(crate) fn load(plan: &Plan<'_>) -> Result<Self, Error> {
        let (model, form) = (Arc::clone(plan.model), plan.form);
        let merged = plan.merged.clone();
        // A thread of its own: mistralrs keeps what is being loaded in variables of the thread, and panics over some files.
        let thread = std::thread::Builder::new().name("hone-mistral-load".to_owned());
        let loading = thread
            .spawn(move || start(&model, form, merged))
            .map_err(Error::io(&plan.model.folder))?;
        let mistral = loading.join().map_err(|_| Error::Ended)??;
        let sender = mistral.get_sender(None).map_err(|_| Error::Ended)?;
        Ok(Self {
            adapter: None,
            digest: None,
            effect: 0.0,
            serial: SERIALS.fetch_add(1, Ordering::Relaxed),
            sender,
            _mistral: mistral,
            requests: AtomicUsize::new(1),
            used: Mutex::new(Instant::now()),
        })
    }

    /// Whether mistralrs' thread lives.
    pub(crate) fn is_alive(&self) -> bool {
        !self.sender.is_closed()
    }

    /// When it was asked last.
    pub(crate) fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that it is asked.
    pub(crate) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Computes what follows a prompt, at most `max_new` tokens. `samples` is shown the logits of each and says which token it
    /// is, by leaving no other. What comes back is of interest only for its end.
    pub(crate) fn compute(
        &self,
        prompt: Vec<u32>,
        max_new: usize,
        samples: Arc<dyn CustomLogitsProcessor>,
    ) -> Option<mpsc::Receiver<Response>> {
        let (response, responses) = mpsc::channel(CHUNKS);
        let mut request = NormalRequest::new_simple(
            RequestMessage::CompletionTokens(prompt),
            SamplingParams { max_len: Some(max_new), ..SamplingParams::deterministic() },
            response,
            self.requests.fetch_add(1, Ordering::Relaxed),
            None,
            None,
        );
        request.is_streaming = true;
        request.constraint = Constraint::None;
        request.logits_processors = Some(vec![samples]);
        self.sender.try_send(Request::Normal(Box::new(request))).ok()?;
        Some(responses)
    }

    /// The logits after a prompt. For an instance that nobody else asks yet. Blocks.
    ///
    /// # Errors
    /// mistralrs fails at it.
    pub(crate) fn logits(&self, prompt: &[u32]) -> Result<Vec<f32>, Error> {
        let seen: Arc<Mutex<Vec<f32>>> = Arc::default();
        let keeps = {
            let seen = Arc::clone(&seen);
            move |logits: &Tensor, _: &[u32]| {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = logits.to_vec1()?;
                // What is sampled from them does not matter, and broken ones must not end mistralrs.
                logits.zeros_like()
            }
        };
        let responses = self.compute(prompt.to_vec(), 1, Arc::new(keeps));
        let mut responses = responses.ok_or(Error::Ended)?;
        let mut why = None;
        // Blocking receives panic inside of a runtime; a new thread has none.
        std::thread::scope(|scope| {
            let read = || {
                while let Some(response) = responses.blocking_recv() {
                    why = why.take().or(failure(response));
                }
            };
            scope.spawn(read).join().map_err(|_| Error::Ended)
        })?;
        let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
        match why {
            Some(why) => Err(Error::Compute(why)),
            None if seen.is_empty() => Err(Error::Ended),
            None => Ok(seen),
        }
    }

    /// Drops an instance that nobody asks any more, and waits until its memory is free.
    pub(crate) fn free(self: Arc<Self>) {
        let sender = self.sender.clone();
        drop(self);
        let until = Instant::now() + FREED;
        while !sender.is_closed() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("adapter", &self.adapter).finish_non_exhaustive()
    }
}

/// Why mistralrs gave a request up, if it did; its backtraces are in its log.
pub(crate) fn failure(response: Response) -> Option<String> {
    let why = match response {
        Response::InternalError(error) | Response::ValidationError(error) => error.to_string(),
        Response::CompletionModelError(error, _) | Response::ModelError(error, _) => error,
        _ => return None,
    };
    why.lines().next().map(str::to_owned)
}

/// Loads the weights and starts mistralrs' thread.
fn start(
    model: &Foreign,
    form: WeightForm,
    merged: Option<PathBuf>,
) -> Result<Arc<MistralRs>, Error> {
    let refused = |reason: String| Error::Load { class: model.class.clone(), reason };
    let name = model.folder.display().to_string();
    let config = NormalSpecificConfig::default();
    let loader = NormalLoaderBuilder::new(config, None, None, Some(name), false, None)
        .build(None)
        .map_err(|error| refused(format!("{error:#}")))?;
    let isq = match form {
        WeightForm::F32 => None,
        WeightForm::Q8 => Some(IsqType::Q8_0),
        WeightForm::Q4 => Some(IsqType::Q4_0),
    };
    let pipeline = loader
        .load_model_from_path(
            &files(model, merged),
            &DType::F32,
            &Device::Cpu,
            true,
            DeviceMapSetting::dummy(),
            isq,
            None,
        )
        .map_err(|error| refused(format!("{error:#}")))?;
    let one = DefaultSchedulerMethod::Fixed(NonZeroUsize::MIN);
    let method = SchedulerConfig::DefaultScheduler { method: one };
    let builder = MistralRsBuilder::new(pipeline, method, false, None)
        // Prompts of different callers must not tell on each other by how long they take.
        .with_no_prefix_cache(true)
        .with_prefix_cache_n(0)
        // Hone says where answers end.
        .with_disable_eos_stop(true);
    // On a runtime of one thread mistralrs asks itself no question first; Hone does.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io(&model.folder))?;
    Ok(runtime.block_on(builder.build()))
}

/// The model's own files, without its template, which is Hone's affair. Of a tensor that is in two files the last one counts.
fn files(model: &Foreign, merged: Option<PathBuf>) -> Box<dyn ModelPaths> {
    let file = |name: &str| Path::new(&model.folder).join(name);
    Box::new(LocalModelPaths {
        tokenizer_filename: file("tokenizer.json"),
        config_filename: file("config.json"),
        template_filename: None,
        filenames: model.shards.iter().cloned().chain(merged).collect(),
        adapter_paths: AdapterPaths::None,
        gen_conf: None,
        preprocessor_config: None,
        processor_config: None,
        chat_template_json_filename: None,
    })
}
