//! A server's surroundings for one test.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::test::{self, TestRequest};
use hone_adapters::{BaseShape, Import, Registry};
use hone_api::adapter::Provenance;
use hone_api::{AdapterId, UnixMillis};
use hone_engine::Generate;
use hone_engine::testing::{random_adapter, tiny_model};
use hone_model::{Model, Source, WeightFormat};
use hone_server::door::Door;
use hone_server::key_ring::KeyRing;
use hone_server::metrics::Metrics;
use hone_server::source::SourceHasher;
use hone_server::state::{AppState, Dependencies, Entry};
use hone_store::Store;
use serde_json::Value;
use tempfile::TempDir;

use crate::desk::Desk;
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
    pub(crate) dependencies: Dependencies,
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
        let (digest, num_layers) = (model.digest().to_owned(), config.num_layers);
        let base = BaseShape { digest, num_layers, modules: config.modules() };
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
        let dependencies = Dependencies {
            keys,
            engine,
            registry,
            store,
            control,
            metrics: Arc::new(Metrics::new().unwrap()),
            served_name: "tiny".to_owned(),
            sources: SourceHasher::new([1; 32]),
        };
        let state = Arc::new(AppState::new(dependencies.clone(), entry(Door::new(true, &[], &[]))));
        Self { dependencies, state, redacts, folder }
    }

    /// The same surroundings behind another door.
    pub(crate) fn behind(self, door: Door) -> Self {
        self.entered_by(entry(door))
    }

    /// The same surroundings with other rules at the entry.
    pub(crate) fn entered_by(mut self, entry: Entry) -> Self {
        self.state = Arc::new(AppState::new(self.dependencies.clone(), entry));
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
        self.dependencies.registry.import(import).unwrap().id
    }
}

pub(crate) fn write_adapter(folder: &Path, seed: u64) {
    random_adapter(folder, tiny().config(), 8, 0.5, seed).unwrap();
}

pub(crate) fn events(text: &str) -> Vec<String> {
    text.split("\n\n").filter_map(|e| e.strip_prefix("data: ")).map(str::to_owned).collect()
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
