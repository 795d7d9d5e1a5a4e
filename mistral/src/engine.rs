//! The engine: admits requests, lets mistralrs compute them, and swaps the model under them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hone_api::AdapterId;
use hone_engine::{
    Abilities, EmbedRequest, Embedding, Error as EngineError, Generate, Generation, GrowingAnswer,
    Health, LoadedAdapter, Request,
};
use hone_machine::Need;
use hone_model::Foreign;
use hone_peft::WEIGHTS;
use hone_text::FrontEnd;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use crate::instance::{Instance, Plan};
use crate::instances::Instances;
use crate::line::{Full, Line, Waiting};
use crate::seat::{Admitted, Common};
use crate::shared::{Counters, MistralSettings, Shared};
use crate::trial::{Trial, plain};
use crate::{Error, merge};

/// What it computes with, for whoever reads the log.
const KERNELS: &str = "mistralrs 0.8.1";
/// What it can do.
const ABILITIES: Abilities = Abilities {
    engine: "mistralrs",
    embeddings: false,
    prompt_logprobs: false,
    batches: false,
    adapters_side_by_side: false,
    repeatable: false,
    training: false,
};

/// Serves one model with mistralrs.
pub struct MistralEngine {
    shared: Arc<Shared>,
    /// Held while a model is loaded.
    loading: Mutex<()>,
    /// Where mistralrs' own answers are read.
    runtime: Option<Runtime>,
}

impl MistralEngine {
    /// Loads the base and tries it out.
    ///
    /// # Errors
    /// mistralrs does not know the family or refuses the files; there is no memory; its logits are not finite.
    pub fn start(
        model: Foreign,
        mut front_end: FrontEnd,
        settings: MistralSettings,
    ) -> Result<Arc<Self>, Error> {
        let scratch = &settings.scratch;
        // What a killed daemon left.
        if scratch.exists() {
            fs_err::remove_dir_all(scratch).map_err(Error::io(scratch))?;
        }
        fs_err::create_dir_all(scratch).map_err(Error::io(scratch))?;
        // The same files in another form answer otherwise.
        let digest = format!("{} mistralrs {}", front_end.base_digest, settings.form.name());
        front_end.base_digest = blake3::hash(digest.as_bytes()).to_hex().to_string();
        let front_end = Arc::new(front_end);
        let plain = plain(&front_end).ok_or_else(|| Error::Load {
            class: model.class.clone(),
            reason: "its tokenizer has no token of one plain letter".to_owned(),
        })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("hone-mistral")
            .enable_all()
            .build()
            .map_err(Error::io(&model.folder))?;
        let model = Arc::new(model);
        let base = Instance::load(&Plan { model: &model, form: settings.form, merged: None })?;
        let trial = Trial::of(&front_end, &base, &model.class)?;
        let instances = Instances::default();
        instances.add(base);
        let line = Line::new(settings.max_queue, settings.kv_bytes);
        let shared = Shared {
            model,
            common: Common {
                front_end,
                plain,
                stopping: Arc::default(),
                runtime: runtime.handle().clone(),
            },
            settings,
            trial,
            instances,
            line: Mutex::new(line),
            accepting: AtomicBool::new(true),
            counters: Counters::default(),
        };
        Ok(Arc::new(Self {
            shared: Arc::new(shared),
            loading: Mutex::new(()),
            runtime: Some(runtime),
        }))
    }

    /// Loads the base, or the base with an adapter merged, once there is memory for it.
    fn load_one(&self, adapter: Option<(AdapterId, &Path)>) -> Result<(), EngineError> {
        let shared = &self.shared;
        let refused = |error: Error| EngineError::Refused(error.to_string());
        let need =
            Need::of("another copy of the weights", shared.settings.form.bytes(&shared.model));
        shared.instances.make_room(&need).map_err(|error| refused(error.into()))?;
        let merged = shared.settings.scratch.join("merged.safetensors");
        if let Some((_, dir)) = adapter {
            merge::merge(&shared.model, dir, &merged).map_err(refused)?;
        }
        let loaded = Instance::load(&Plan {
            model: &shared.model,
            form: shared.settings.form,
            merged: adapter.map(|_| merged.clone()),
        });
        // It is in memory now, or not wanted.
        let _gone = fs_err::remove_file(&merged);
        let mut instance = loaded.map_err(refused)?;
        if let Some((id, dir)) = adapter {
            instance.adapter = Some(id);
            instance.effect = shared.trial.effect(&instance).map_err(refused)?;
            if !instance.effect.is_finite() {
                return Err(EngineError::Broken(id));
            }
            if instance.effect == 0.0 {
                return Err(EngineError::NoEffect(id));
            }
            let path = dir.join(WEIGHTS);
            let bytes = fs_err::read(&path).map_err(Error::io(&path)).map_err(refused)?;
            instance.digest = Some(sha256(&bytes));
        }
        shared.instances.add(instance);
        Ok(())
    }
}

impl Generate for MistralEngine {
    fn submit(&self, mut request: Request) -> Result<Generation, EngineError> {
        let shared = &self.shared;
        if request.echo_from.is_some() {
            return Err(unsupported(
                "log-probabilities of a prompt's tokens (`echo` with `logprobs`)",
            ));
        }
        let (max_new, bytes) = shared.limits(&request)?;
        if !shared.accepting.load(Ordering::Relaxed) {
            return Err(EngineError::ShuttingDown);
        }
        let instance = shared.instances.pin(request.target)?;
        let answer = GrowingAnswer::new(&mut request, max_new)?;
        let (events, generation) =
            Generation::channel(instance.adapter, instance.digest.clone(), || {});
        let (priority, prompt) = (request.priority, request.prompt);
        let model = instance.serial;
        let who = Admitted { instance, prompt, answer, events, arrived: Instant::now() };
        let joined = shared.line().join(priority, Waiting { model, bytes, who });
        if let Err(Full { waiting }) = joined {
            shared.counters.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(EngineError::QueueFull { waiting, retry_after: Duration::from_secs(1) });
        }
        shared.advance();
        Ok(generation)
    }

    fn embed(&self, _request: EmbedRequest) -> Result<Embedding, EngineError> {
        Err(unsupported("embeddings"))
    }

    fn load(&self, id: AdapterId, dir: &Path) -> Result<LoadedAdapter, EngineError> {
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_loaded(id) {
            self.load_one(Some((id, dir)))?;
        }
        let found = self.shared.instances.effect(id).ok_or(EngineError::UnknownAdapter(id))?;
        let (digest, effect) = found;
        Ok(LoadedAdapter { digest, effect })
    }

    fn load_base(&self) -> Result<(), EngineError> {
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.instances.has(None) { Ok(()) } else { self.load_one(None) }
    }

    fn unload(&self, id: AdapterId) -> bool {
        self.shared.instances.remove(id)
    }

    fn is_loaded(&self, id: AdapterId) -> bool {
        self.shared.instances.has(Some(id))
    }

    fn set_live(&self, id: Option<AdapterId>, epoch: u64) -> Result<(), EngineError> {
        if id.is_none() {
            self.load_base()?;
        }
        self.shared.instances.set_live(id, epoch)
    }

    fn live(&self) -> Option<AdapterId> {
        self.shared.instances.live().0
    }

    fn health(&self) -> Health {
        let shared = &self.shared;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (running, waiting, held) = {
            let line = shared.line();
            (line.running(), line.waiting(), line.held())
        };
        let (live, epoch) = shared.instances.live();
        let adapters = shared.instances.adapters();
        let bytes =
            usize::try_from(shared.settings.form.bytes(&shared.model)).unwrap_or(usize::MAX);
        let counters = &shared.counters;
        Health {
            running,
            waiting,
            max_sequences: 1,
            max_queue: shared.settings.max_queue,
            accepting: shared.accepting.load(Ordering::Relaxed),
            alive: shared.instances.are_alive(),
            prompt_tokens: read(&counters.prompt_tokens),
            generated_tokens: read(&counters.generated_tokens),
            finished_stop: read(&counters.finished_stop),
            finished_length: read(&counters.finished_length),
            cancelled: read(&counters.cancelled),
            failed: read(&counters.failed),
            rejected: read(&counters.rejected),
            kv_bytes: held,
            kv_capacity: shared.settings.kv_bytes,
            adapters,
            adapter_bytes: adapters.saturating_mul(bytes),
            live,
            epoch,
            // A long prompt is one step of mistralrs, so that the time since the last one says nothing.
            ..Health::default()
        }
    }

    fn front_end(&self) -> &Arc<FrontEnd> {
        &self.shared.common.front_end
    }

    fn kernels(&self) -> &str {
        KERNELS
    }

    fn abilities(&self) -> Abilities {
        ABILITIES
    }

    fn shutdown(&self, deadline: Duration) -> usize {
        self.shared.accepting.store(false, Ordering::Relaxed);
        let until = Instant::now() + deadline;
        let left = || {
            let line = self.shared.line();
            line.running() + line.waiting()
        };
        while left() > 0 && Instant::now() < until && self.shared.instances.are_alive() {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.shared.common.stopping.store(true, Ordering::Relaxed);
        let waiting = self.shared.line().clear();
        waiting + self.shared.line().running()
    }
}

impl Drop for MistralEngine {
    fn drop(&mut self) {
        self.shared.common.stopping.store(true, Ordering::Relaxed);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for MistralEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MistralEngine").field("health", &self.health()).finish_non_exhaustive()
    }
}

fn unsupported(what: &str) -> EngineError {
    EngineError::Unsupported(format!(
        "the mistralrs engine, which serves this model, has no {what}; models of families that Hone's own decoder knows do"
    ))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
