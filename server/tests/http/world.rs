//! A server's surroundings for one test.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::test::{self, TestRequest};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use hone_adapters::{BaseShape, Import, Registry, Sizes};
use hone_api::adapter::{AdapterView, LiveView, Provenance};
use hone_api::cycle::{CycleEvent, CycleStatus, CycleView, NextCycle, Step, Trigger};
use hone_api::erasure::{ErasureView, RecallView, Removed, Subject};
use hone_api::evaluation::{EvalRequest, EvalStatus, EvalView};
use hone_api::interaction::Interaction;
use hone_api::waiting::{Votes, WaitingReason, WaitingView};
use hone_api::{AdapterId, AdapterRef, CycleId, RunId, UnixMillis};
use hone_engine::Generate;
use hone_engine::testing::{random_adapter, tiny_model};
use hone_model::{Model, Source, WeightFormat};
use hone_server::caller::Caller;
use hone_server::control::{
    Control, ControlError, ControlResult, FeedbackLimits, ImportAdapter, LoadLora, Move,
};
use hone_server::door::Door;
use hone_server::key_ring::KeyRing;
use hone_server::metrics::Metrics;
use hone_server::source::SourceHasher;
use hone_server::state::{AppState, Entry, Parts};
use hone_store::{Erasure, InteractionFilter, Order, Store};
use serde_json::Value;
use tempfile::TempDir;

use crate::setup::{engine, entry};

static TINY: LazyLock<(TempDir, Arc<Model>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    tiny_model(&folder.path().join("hf"), 1).unwrap();
    let source = Source::Folder(folder.path().join("hf"));
    let packed = hone_model::prepare(&source, WeightFormat::F32, folder.path()).unwrap();
    (folder, Arc::new(Model::open(&packed, 1).unwrap()))
});

/// Random weights, context 512, the starter's tokenizer and template.
pub(crate) fn tiny() -> Arc<Model> {
    Arc::clone(&TINY.1)
}

/// The server's surroundings. Dropping it removes the data directory.
pub(crate) struct World {
    /// Whether personal data stays out of the log.
    pub(crate) redacts: Arc<AtomicBool>,
    pub(crate) parts: Parts,
    pub(crate) state: Arc<AppState>,
    pub(crate) folder: TempDir,
}

/// One answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: actix_web::http::header::HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json()
    }

    /// The error of a refusal: all four fields are there.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        let error = self.json()["error"].clone();
        for field in ["message", "type", "param", "code"] {
            assert!(error.get(field).is_some(), "{field} is missing in {}", self.text);
        }
        error
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_engine(engine())
    }

    pub(crate) fn with_engine(engine: Arc<dyn Generate>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny();
        let config = model.config();
        let sizes = Sizes {
            num_layers: config.num_layers,
            hidden: config.hidden_size,
            intermediate: config.intermediate_size,
            query: config.num_heads * config.head_dim,
            key_value: config.num_kv_heads * config.head_dim,
        };
        let base = BaseShape::of_llama(model.digest(), sizes);
        let registry = Arc::new(Registry::open(folder.path(), base).unwrap());
        let store = Store::open(&folder.path().join("hone.db")).unwrap();
        let redacts = Arc::new(AtomicBool::new(false));
        let control = Arc::new(Desk {
            engine: Arc::clone(&engine),
            registry: Arc::clone(&registry),
            store: store.clone(),
            arrived: Mutex::default(),
            redacts: Arc::clone(&redacts),
        });
        let keys = Arc::new(KeyRing::new(store.clone(), Vec::new()));
        let parts = Parts {
            keys,
            engine,
            registry,
            store,
            control,
            metrics: Arc::new(Metrics::new().unwrap()),
            served_name: "tiny".to_owned(),
            sources: SourceHasher::new([1; 32]),
        };
        let state = Arc::new(AppState::new(parts.clone(), entry(Door::new(true, &[], &[]))));
        Self { parts, state, redacts, folder }
    }

    /// The same surroundings behind another door.
    pub(crate) fn behind(self, door: Door) -> Self {
        self.entered_by(entry(door))
    }

    /// The same surroundings with other rules at the entry.
    pub(crate) fn entered_by(mut self, entry: Entry) -> Self {
        self.state = Arc::new(AppState::new(self.parts.clone(), entry));
        self
    }

    pub(crate) async fn send(&self, request: TestRequest) -> Reply {
        let service = test::init_service(hone_server::app(Arc::clone(&self.state))).await;
        let mut request = request.to_request();
        let headers = &mut request.head_mut().headers;
        if !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
        }
        let response = test::call_service(&service, request).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = test::read_body(response).await;
        Reply { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(TestRequest::with_uri(path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(TestRequest::with_uri(path).method(Method::DELETE)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(TestRequest::post().uri(path).set_json(body)).await
    }

    pub(crate) async fn post_raw(&self, path: &str, body: impl Into<String>) -> Reply {
        self.send(TestRequest::post().uri(path).set_payload(body.into())).await
    }

    /// The JSON of each event of a stream but `[DONE]`, which must be the last one.
    pub(crate) async fn events(&self, path: &str, body: &Value) -> Vec<Value> {
        let reply = self.post(path, body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.header("content-type").starts_with("text/event-stream"));
        let mut events = events(&reply.text);
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }

    /// Puts a random adapter into the registry.
    pub(crate) fn adapter(&self, name: &str, seed: u64) -> AdapterId {
        let source = self.folder.path().join("drop").join(name);
        write_adapter(&source, seed);
        let import = Import {
            id: AdapterId::new(),
            source,
            name: Some(name.to_owned()),
            provenance: Provenance::Import { folder: name.to_owned() },
            now: UnixMillis::now(),
        };
        self.parts.registry.import(import).unwrap().id
    }
}

pub(crate) fn write_adapter(folder: &Path, seed: u64) {
    random_adapter(folder, tiny().config(), 8, 0.5, seed).unwrap();
}

pub(crate) fn events(text: &str) -> Vec<String> {
    text.split("\n\n").filter_map(|e| e.strip_prefix("data: ")).map(str::to_owned).collect()
}

/// The daemon's part, as small as it can be.
pub(crate) struct Desk {
    engine: Arc<dyn Generate>,
    registry: Arc<Registry>,
    store: Store,
    pub(crate) arrived: Mutex<usize>,
    /// Whether personal data stays out of the log.
    pub(crate) redacts: Arc<AtomicBool>,
}

impl Desk {
    fn id(&self, reference: &AdapterRef) -> ControlResult<Option<AdapterId>> {
        Ok(self.registry.resolve(reference)?)
    }

    fn swap(&self, pointer: hone_adapters::LivePointer) -> ControlResult<LiveView> {
        if let Some(id) = pointer.live {
            let load = self.engine.load(id, &self.registry.dir(id));
            load.map_err(|error| ControlError::Internal(error.to_string()))?;
        }
        self.engine
            .set_live(pointer.live, pointer.epoch)
            .map_err(|error| ControlError::Internal(error.to_string()))?;
        Ok(LiveView {
            epoch: pointer.epoch,
            live: pointer.live,
            previous: pointer.previous,
            changed_at: pointer.changed_at,
        })
    }
}

pub(crate) fn cycle(id: CycleId) -> CycleView {
    CycleView {
        id,
        object: "cycle".to_owned(),
        status: CycleStatus::Running,
        trigger: Trigger::Manual,
        step: Step::Train,
        verdict: None,
        reason: None,
        snapshot: None,
        candidate: None,
        champion: None,
        outcomes: std::collections::BTreeMap::new(),
        created_at: UnixMillis::now(),
        finished_at: None,
    }
}

impl Control for Desk {
    fn start_cycle(&self, _: &Caller) -> BoxFuture<'_, ControlResult<CycleView>> {
        async {
            let cycle = cycle(CycleId::new());
            self.store.insert_cycle(cycle.clone()).await?;
            Ok(cycle)
        }
        .boxed()
    }

    fn next_cycle(&self, _: &Caller) -> BoxFuture<'_, NextCycle> {
        let next = NextCycle {
            enabled: true,
            at: None,
            failures: Some(7),
            came: 2,
            missing: Some(5),
            message: "5 more corrections start a cycle".to_owned(),
        };
        async move { next }.boxed()
    }

    fn after_feedback(&self) -> BoxFuture<'_, String> {
        async { "5 more corrections start a cycle".to_owned() }.boxed()
    }

    fn training_max_length(&self) -> usize {
        100
    }

    fn evaluation_max_tokens(&self) -> usize {
        10
    }

    fn feedback_limits(&self) -> FeedbackLimits {
        FeedbackLimits { text: 64 << 10, tags: 8, tag_text: 4 << 10 }
    }

    fn redacts_the_log(&self) -> bool {
        self.redacts.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn waiting(&self, _: &Caller) -> BoxFuture<'_, ControlResult<Vec<WaitingView>>> {
        async move {
            let filter = InteractionFilter { order: Order::Descending, ..Default::default() };
            let all = self.store.interactions(filter).await?.items.into_iter();
            let view = |interaction: Interaction| WaitingView {
                object: "feedback.waiting".to_owned(),
                id: interaction.id,
                reason: WaitingReason::NoCorrection,
                message: WaitingReason::NoCorrection.message().to_owned(),
                messages: interaction.messages,
                answer: None,
                suggestions: Vec::new(),
                votes: Votes { good: 0, bad: 1 },
                created_at: interaction.created_at,
            };
            Ok(all.map(view).collect())
        }
        .boxed()
    }

    fn cancel_cycle(&self, _: &Caller, id: CycleId) -> BoxFuture<'_, ControlResult<CycleView>> {
        async move { Err(ControlError::Conflict(format!("{id} has ended"))) }.boxed()
    }

    fn cycle_events(
        &self,
        _: &Caller,
        id: CycleId,
        after: u64,
    ) -> BoxFuture<'_, ControlResult<BoxStream<'static, CycleEvent>>> {
        let events: Vec<_> = (after + 1..=3)
            .map(|sequence| CycleEvent {
                cycle_id: id,
                sequence,
                at: UnixMillis::now(),
                step: Step::Train,
                kind: if sequence == 3 { "finished" } else { "progress" }.to_owned(),
                message: format!("event {sequence}"),
                data: Value::Null,
            })
            .collect();
        async move { Ok(stream::iter(events).boxed()) }.boxed()
    }

    fn promote(&self, _: &Caller, change: Move) -> BoxFuture<'_, ControlResult<LiveView>> {
        async move {
            let to = self.id(&change.to.unwrap_or(AdapterRef::Base))?;
            self.swap(self.registry.promote(to, change.expected_live, UnixMillis::now())?)
        }
        .boxed()
    }

    fn rollback(&self, _: &Caller, change: Move) -> BoxFuture<'_, ControlResult<LiveView>> {
        async move {
            let to = change.to.map(|to| self.id(&to)).transpose()?;
            self.swap(self.registry.rollback(
                to,
                change.expected_live,
                UnixMillis::now(),
                &|_| false,
            )?)
        }
        .boxed()
    }

    fn import_adapter(
        &self,
        _: &Caller,
        import: ImportAdapter,
    ) -> BoxFuture<'_, ControlResult<AdapterView>> {
        async move {
            let source = self.registry.drop_path(&import.folder)?;
            Ok(self.registry.import(Import {
                id: AdapterId::new(),
                source,
                name: import.name.or(Some(import.folder.clone())),
                provenance: Provenance::Import { folder: import.folder },
                now: UnixMillis::now(),
            })?)
        }
        .boxed()
    }

    fn delete_adapter(
        &self,
        _: &Caller,
        adapter: AdapterRef,
    ) -> BoxFuture<'_, ControlResult<AdapterId>> {
        async move {
            let id = self.registry.get(&adapter)?.id;
            self.registry.delete(id)?;
            Ok(id)
        }
        .boxed()
    }

    fn load_lora(&self, _: &Caller, load: LoadLora) -> BoxFuture<'_, ControlResult<()>> {
        async move {
            if !load.in_place && self.id(&AdapterRef::Name(load.name.clone())).is_ok() {
                return Err(ControlError::Conflict(format!("`{}` is loaded already", load.name)));
            }
            let import = ImportAdapter { folder: load.path, name: Some(load.name) };
            self.import_adapter(&Caller::operator(), import).await.map(drop)
        }
        .boxed()
    }

    fn unload_lora(&self, _: &Caller, name: String) -> BoxFuture<'_, ControlResult<()>> {
        async move { self.delete_adapter(&Caller::operator(), AdapterRef::Name(name)).await.map(drop) }.boxed()
    }

    fn erase(&self, _: &Caller, subject: Subject) -> BoxFuture<'_, ControlResult<ErasureView>> {
        async move {
            let wanted = Erasure::of(subject.clone(), UnixMillis::now());
            let id = wanted.id;
            let begun = self.store.begin_erasure(wanted).await?;
            let (interactions, feedback) =
                begun.map_or((0, 0), |it| (it.interactions, it.feedback));
            Ok(ErasureView {
                id,
                object: "erasure".to_owned(),
                subject,
                at: UnixMillis::now(),
                removed: Removed { interactions, feedback, ..Removed::default() },
                snapshots: Vec::new(),
                adapters: Vec::new(),
                next: "no adapter was trained on it".to_owned(),
            })
        }
        .boxed()
    }

    fn recall(&self, _: &Caller, subject: Subject) -> BoxFuture<'_, ControlResult<RecallView>> {
        async move {
            let traces = self.store.traces(subject.clone()).await?;
            Ok(RecallView {
                object: "recall".to_owned(),
                subject,
                interactions: traces.interactions,
                feedback: traces.feedback,
                snapshots: Vec::new(),
                adapters: Vec::new(),
            })
        }
        .boxed()
    }

    fn start_eval(
        &self,
        _: &Caller,
        request: EvalRequest,
    ) -> BoxFuture<'_, ControlResult<EvalView>> {
        async move {
            Ok(EvalView {
                id: RunId::new(),
                object: "eval".to_owned(),
                status: EvalStatus::Running,
                request,
                done: 0,
                total: 10,
                report: None,
                error: None,
                created_at: UnixMillis::now(),
                finished_at: None,
            })
        }
        .boxed()
    }

    fn eval(&self, _: &Caller, id: RunId) -> BoxFuture<'_, ControlResult<EvalView>> {
        async move { Err(ControlError::NotFound(format!("there is no evaluation `{id}`"))) }.boxed()
    }

    fn feedback_arrived(&self) {
        *self.arrived.lock().unwrap() += 1;
    }
}

/// Waits for what happens a little later.
pub(crate) async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within a minute")
}
