//! Typed settings: documented defaults, layering, validation, and who set what.
//!
//! A wrong setting must be found when it is read, not when a cycle starts at three in the morning:
//! unknown keys are errors, values are parsed into types, ranges are checked, and every message
//! names the key and the layer that it came from. A crate of Hone receives only its own section.
//!
//! ```
//! let loaded = hone_config::ConfigSources::default().load()?;
//! assert_eq!(loaded.config.server.listen.port(), 8080);
//! assert_eq!(loaded.layer_of("server.listen"), Some("default"));
//! # Ok::<(), hone_config::Error>(())
//! ```

#![forbid(unsafe_code)]

mod check;
mod error;
mod layer;
mod section;

pub mod cron;
pub mod unit;

use std::path::{Path, PathBuf};

use figment::Figment;
use serde::{Deserialize, Serialize};

pub use cron::{Cron, Zone};
pub use error::Error;
pub use section::{
    AuthSettings, CurationSettings, EngineKind, EngineSettings, EvaluationSettings,
    FeedbackSettings, ModelSettings, PromotionSettings, Recompute, RetentionSettings,
    ScheduleSettings, ServerSettings, Teaches, TelemetrySettings, TrainingSettings, Weights,
};
pub use unit::{Bytes, Hours, LearningRate, Listen, Network, Percent, Seconds};

/// The default layer: every key with its default and its reason, as TOML.
pub const DEFAULTS: &str = layer::DEFAULTS;
/// The file that is read from the working directory when none is named.
pub const FILE: &str = "hone.toml";

/// All settings. See `config/hone.toml` for what each key means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The HTTP side.
    pub server: ServerSettings,
    /// Who may do what.
    pub auth: AuthSettings,
    /// What is served.
    pub model: ModelSettings,
    /// What computes the model, and how requests share it.
    pub engine: EngineSettings,
    /// What users' words do.
    pub feedback: FeedbackSettings,
    /// From feedback to a snapshot.
    pub curation: CurationSettings,
    /// How a candidate is trained.
    pub training: TrainingSettings,
    /// How adapters are compared.
    pub evaluation: EvaluationSettings,
    /// What the gate asks for.
    pub promotion: PromotionSettings,
    /// When cycles start by themselves.
    pub schedule: ScheduleSettings,
    /// What is kept.
    pub retention: RetentionSettings,
    /// What is told.
    pub telemetry: TelemetrySettings,
}

/// A command-line flag that sets a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// As the user wrote it, for messages: `--listen`.
    pub name: String,
    /// The dotted key: `server.listen`.
    pub key: String,
    /// Its value as text.
    pub value: String,
}

/// Where settings come from, lowest first: defaults, file, variables, flags.
#[derive(Debug, Clone, Default)]
pub struct ConfigSources {
    /// The file named by `--config`; it must exist.
    pub file: Option<PathBuf>,
    /// Where `hone.toml` is looked for when no file is named; `None` looks nowhere.
    pub working_dir: Option<PathBuf>,
    /// Environment variables; those that do not begin with `HONE__` are passed over.
    pub environment: Vec<(String, String)>,
    /// Command-line flags.
    pub flags: Vec<Flag>,
}

/// One effective setting and who set it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    /// The dotted key.
    pub key: String,
    /// Its value.
    pub value: serde_json::Value,
    /// `default`, a file's path, a variable's name, a flag.
    pub layer: String,
}

/// Settings that passed all checks, with their origin.
#[derive(Debug, Clone)]
pub struct LoadedConfig {
    /// The settings.
    pub config: Config,
    /// The file that was read, if any: the one to watch.
    pub file: Option<PathBuf>,
    explained: Vec<Explained>,
}

impl ConfigSources {
    /// The process's environment and working directory.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let text = |part: std::ffi::OsString| part.to_string_lossy().into_owned();
        Self {
            file,
            working_dir: Some(PathBuf::from(".")),
            environment: std::env::vars_os().map(|(k, v)| (text(k), text(v))).collect(),
            flags,
        }
    }

    /// Reads all layers, merges them and checks the result. Reading again after the file changed
    /// gives the new settings; on an error the caller keeps its old ones.
    ///
    /// # Errors
    /// [`Error`], which names the key and its layer.
    pub fn load(&self) -> Result<LoadedConfig, Error> {
        let file = self.existing_file();
        let defaults = layer::Layer::defaults()?;
        let schema = defaults.dict.clone();
        let mut layers = vec![defaults];
        if let Some(path) = &file {
            layers.push(layer::Layer::file(path)?);
        }
        for (name, key, text) in layer::variables(self.environment.iter().cloned()) {
            layers.push(layer::Layer::single(name, &key, &text, &schema)?);
        }
        for Flag { name, key, value } in &self.flags {
            layers.push(layer::Layer::single(name.clone(), key, value, &schema)?);
        }
        let mut figment = Figment::new();
        for layer in layers {
            layer.check_keys(&schema)?;
            figment = figment.merge(layer);
        }
        let layer_of = |key: &str| {
            let found = figment.find_metadata(key);
            found.map_or_else(|| layer::DEFAULT_LAYER.to_owned(), |found| found.name.to_string())
        };
        let config: Config = figment.extract().map_err(|error| value_error(&error, &layer_of))?;
        check::check(&config).map_err(|(key, message)| Error::Value {
            layer: layer_of(key),
            key: key.to_owned(),
            message,
        })?;
        let explained = explain(&config, &schema, &layer_of);
        Ok(LoadedConfig { config, file, explained })
    }

    fn existing_file(&self) -> Option<PathBuf> {
        self.file.clone().or_else(|| {
            let path = self.working_dir.as_ref()?.join(FILE);
            path.is_file().then_some(path)
        })
    }
}

impl LoadedConfig {
    /// Each effective setting with the layer that set it, sorted by key.
    #[must_use]
    pub fn explain(&self) -> &[Explained] {
        &self.explained
    }

    /// The layer that set a key.
    #[must_use]
    pub fn layer_of(&self, key: &str) -> Option<&str> {
        self.explained.iter().find(|one| one.key == key).map(|one| one.layer.as_str())
    }
}

impl Config {
    /// What `hone.toml` beside this crate says, without any other layer.
    ///
    /// # Errors
    /// None in practice: a test reads the compiled-in layer.
    pub fn shipped() -> Result<Self, Error> {
        Ok(ConfigSources::default().load()?.config)
    }

    /// The defaults, with a data directory: for tests and tools that need no layers.
    ///
    /// # Errors
    /// None in practice, as [`Config::shipped`].
    pub fn defaults(data_dir: &Path) -> Result<Self, Error> {
        let mut config = Self::shipped()?;
        config.server.data_dir = data_dir.to_owned();
        Ok(config)
    }

    /// Cores for training: `training.threads`, else as many as the model has.
    #[must_use]
    pub fn training_threads(&self) -> usize {
        match self.training.threads {
            0 => self.model.cores(),
            threads => threads,
        }
    }

    /// The keys whose values differ.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> Vec<String> {
        let flat = |config: &Self| serde_json::to_value(config).unwrap_or_default();
        let (old, new) = (flat(self), flat(newer));
        let mut changed = Vec::new();
        for (section, fields) in old.as_object().into_iter().flatten() {
            let fields = fields.as_object().into_iter().flatten();
            let differ = fields.filter(|(name, value)| new[section][name.as_str()] != **value);
            changed.extend(differ.map(|(name, _)| format!("{section}.{name}")));
        }
        changed
    }

    /// The keys whose values differ and that a running daemon does not take over: it needs a
    /// restart for them.
    #[must_use]
    pub fn needs_restart(&self, newer: &Self) -> Vec<String> {
        let flat = |config: &Self| serde_json::to_value(config).unwrap_or_default();
        let (old, new) = (flat(self), flat(newer));
        let mut changed = Vec::new();
        for section in ["server", "auth", "model", "engine"] {
            let fields = old[section].as_object().into_iter().flatten();
            changed.extend(
                fields
                    .filter(|(name, value)| new[section][name.as_str()] != **value)
                    .map(|(name, _)| format!("{section}.{name}")),
            );
        }
        let (telemetry, new) = (&self.telemetry, &newer.telemetry);
        for (key, differs) in [
            ("telemetry.json", telemetry.json != new.json),
            ("telemetry.metrics_listen", telemetry.metrics_listen != new.metrics_listen),
        ] {
            if differs {
                changed.push(key.to_owned());
            }
        }
        changed
    }
}

fn value_error(error: &figment::Error, layer_of: &dyn Fn(&str) -> String) -> Error {
    let key = error.path.join(".");
    // An element of a list has no layer of its own (`feedback.endpoints.1`): the list has.
    let list = error.path.iter().take_while(|part| part.parse::<usize>().is_err());
    let list = list.map(String::as_str).collect::<Vec<_>>().join(".");
    Error::Value { layer: layer_of(&list), key, message: describe(&error.kind) }
}

/// What is wrong with a value, without the names of Rust's types.
fn describe(kind: &figment::error::Kind) -> String {
    use figment::error::Kind::{InvalidType, InvalidValue};
    let (InvalidType(found, expected) | InvalidValue(found, expected)) = kind else {
        return kind.to_string();
    };
    let expected = match expected.as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 up",
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list, e.g. [\"one\", \"two\"]",
        section if section.starts_with("struct ") => "a section with keys",
        other => other,
    };
    format!("found {found}, expected {expected}")
}

fn explain(
    config: &Config,
    schema: &figment::value::Dict,
    layer_of: &dyn Fn(&str) -> String,
) -> Vec<Explained> {
    let values = serde_json::to_value(config).unwrap_or_default();
    let explained = |key: String| Explained {
        value: values.pointer(&format!("/{}", key.replace('.', "/"))).cloned().unwrap_or_default(),
        layer: layer_of(&key),
        key,
    };
    layer::keys(schema).into_iter().map(explained).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str) -> (tempfile::TempDir, ConfigSources) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        let sources =
            ConfigSources { working_dir: Some(dir.path().to_owned()), ..ConfigSources::default() };
        (dir, sources)
    }

    fn variable(name: &str, value: &str) -> ConfigSources {
        ConfigSources { environment: vec![(name.into(), value.into())], ..ConfigSources::default() }
    }

    #[test]
    fn a_model_is_called_after_its_folder_file_or_id() {
        for (source, name) in [
            ("starter", "hone-starter"),
            (
                "/cache/hub/models--Qwen--Qwen2.5-0.5B-Instruct/snapshots/7ae557604adf67be50417f59c2c2f167def9a775",
                "Qwen2.5-0.5B-Instruct",
            ),
            ("/models/my-llama", "my-llama"),
            ("/models/Some-135M.Q4_1.gguf", "Some-135M.Q4_1"),
            ("Some/Model-1B", "Model-1B"),
            ("Some/Model-1B@refs/pr/1", "Model-1B"),
            ("Some/Model-1B-GGUF:Q4_K_M@v2", "Model-1B-GGUF"),
            ("Some/Model-1B-GGUF/model.Q8_0.gguf", "model.Q8_0"),
        ] {
            let loaded = variable("HONE__MODEL__SOURCE", source).load().unwrap();
            assert_eq!(loaded.config.model.name(), name);
        }
    }

    fn message(sources: &ConfigSources) -> String {
        sources.load().unwrap_err().to_string()
    }

    #[test]
    fn the_default_layer_is_complete_and_valid() {
        let loaded = ConfigSources::default().load().unwrap();
        assert!(loaded.explain().len() > 60);
        assert!(loaded.explain().iter().all(|one| one.layer == "default" && !one.value.is_null()));
        // Every section and key of the types stands in hone.toml, and the other way round.
        let values = serde_json::to_value(&loaded.config).unwrap();
        let count: usize =
            values.as_object().unwrap().values().map(|s| s.as_object().unwrap().len()).sum();
        assert_eq!(count, loaded.explain().len());
    }

    #[test]
    fn later_layers_win_and_are_named() {
        let (dir, mut sources) = with_file("[training]\nrank = 8\nepochs = 2\nalpha = 4.0\n");
        sources.environment = vec![
            ("HONE__TRAINING__EPOCHS".into(), "4".into()),
            ("HONE__TRAINING__ALPHA".into(), "8".into()),
            ("HONE__SCHEDULE__CRON".into(), "5 4 * * 1".into()),
            ("HONE_API_KEY".into(), "no setting".into()),
        ];
        sources.flags =
            vec![Flag { name: "--alpha".into(), key: "training.alpha".into(), value: "64".into() }];
        let loaded = sources.load().unwrap();
        let training = &loaded.config.training;
        assert_eq!((training.rank, training.epochs, training.alpha), (8, 4, 64.0));
        assert_eq!(loaded.config.schedule.cron.to_string(), "5 4 * * 1");
        let file = dir.path().join(FILE);
        assert_eq!(loaded.layer_of("training.rank"), Some(file.to_str().unwrap()));
        assert_eq!(loaded.layer_of("training.epochs"), Some("HONE__TRAINING__EPOCHS"));
        assert_eq!(loaded.layer_of("training.alpha"), Some("--alpha"));
        assert_eq!(loaded.layer_of("training.seed"), Some("default"));
        assert_eq!(loaded.file, Some(file));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_layer_and_a_hint() {
        let (_dir, sources) = with_file("[server]\nlisten_on = \"127.0.0.1:1\"\n");
        let text = message(&sources);
        assert!(text.contains("hone.toml: unknown key `server.listen_on`"), "{text}");
        assert!(text.contains("did you mean `server.listen`"), "{text}");
        let text = message(&variable("HONE__TRAINNG__RANK", "8"));
        assert!(text.starts_with("HONE__TRAINNG__RANK: unknown key `trainng.rank`"), "{text}");
        let (_dir, sources) = with_file("[plugins]\n");
        assert!(message(&sources).contains("unknown key `plugins`"));
    }

    #[test]
    fn a_wrong_value_names_key_layer_and_form() {
        for (name, value, expected) in [
            (
                "HONE__TRAINING__RANK",
                "many",
                "`training.rank`: found string \"many\", expected a whole number",
            ),
            ("HONE__TRAINING__ALPHA", "much", "expected a number"),
            ("HONE__TRAINING", "8", "expected a section"),
            ("HONE__EVALUATION__SUITES", "starter", "expected a list"),
            ("HONE__EVALUATION__SUITES", "[1]", "HONE__EVALUATION__SUITES: `evaluation.suites.0`"),
            (
                "HONE__FEEDBACK__ENDPOINTS",
                "['chat', 'mail']",
                "HONE__FEEDBACK__ENDPOINTS: `feedback.endpoints.1`",
            ),
            ("HONE__TRAINING__RANK", "0", "between 1 and 256"),
            ("HONE__TRAINING__ALPHA", "2000", "between 0.01 and 1024"),
            ("HONE__MODEL__THREADS", "99999", "more than 1024"),
            ("HONE__SERVER__LISTEN", "localhost", "`localhost` is no address"),
            ("HONE__SERVER__LISTEN", "foo", "127.0.0.1:8080"),
            ("HONE__SERVER__BODY_LIMIT", "huge", "64 MiB"),
            ("HONE__SERVER__HOSTS", "['http://hone.lan:80']", "\"hone.lan\""),
            ("HONE__SERVER__CORS_ORIGINS", "['*']", "each one by name"),
            ("HONE__SERVER__CORS_ORIGINS", "['https://app.example/']", "nothing behind"),
            ("HONE__SERVER__TRUSTED_PROXIES", "['10.0.0.0/33']", "192.168.0.0/16"),
            ("HONE__SERVER__BODY_MEMORY", "1 MiB", "server.body_limit"),
            ("HONE__SERVER__TLS_KEY", "key.pem", "server.tls_certificate"),
            ("HONE__SERVER__TLS_CERTIFICATE", "chain.pem", "server.tls_key"),
            ("HONE__TELEMETRY__METRICS_LISTEN", "9464", "127.0.0.1:9464"),
            ("HONE__SCHEDULE__CRON", "every day", "0 3 * * *"),
            ("HONE__SCHEDULE__TIMEZONE", "Nowhere", "Europe/Vienna"),
            ("HONE__SCHEDULE__QUIET_HOURS", "8 to 9", "08:00-18:00"),
            ("HONE__MODEL__WEIGHTS", "q5", "q4"),
            ("HONE__MODEL__SERVED_NAME", "a:b", "colon"),
            ("HONE__CURATION__HOLDOUT_PERCENT", "120", "0 to 100"),
            ("HONE__CURATION__HOLDOUT_PERCENT", "0", "held-out"),
            ("HONE__PROMOTION__AUTOMATIC", "yes", "`promotion.automatic`"),
        ] {
            let text = message(&variable(name, value));
            assert!(text.starts_with(name) && text.contains(expected), "{text}");
        }
        let (_dir, sources) = with_file("[server\n");
        assert!(message(&sources).contains("is not TOML: line 1: "));
        let (_dir, sources) = with_file("[server]\nworkers = 2\n\nworkers = 3\n");
        let text = message(&sources);
        assert!(text.contains("line 4: duplicate key") && !text.contains('\n'), "{text}");
        let absent =
            ConfigSources { file: Some("/nowhere/hone.toml".into()), ..ConfigSources::default() };
        assert!(message(&absent).contains("/nowhere/hone.toml"));
    }

    #[test]
    fn a_judge_needs_an_address_a_model_and_a_variable() {
        let with = |judge: &str, model: &str, variable: &str| {
            let key = |key: &str, value: &str| {
                (format!("HONE__EVALUATION__JUDGE{key}"), value.to_owned())
            };
            let environment =
                vec![key("", judge), key("_MODEL", model), key("_API_KEY_ENV", variable)];
            ConfigSources { environment, ..ConfigSources::default() }
        };
        assert!(with("http://127.0.0.1:8000/v1", "m", "JUDGE_API_KEY").load().is_ok());
        assert!(with("http://[::1]:8000/v1", "m", "").load().is_ok());
        assert!(with("", "", "sk-no judge, no matter").load().is_ok());
        for (judge, model, variable, key) in [
            ("127.0.0.1:8000", "m", "", "HONE__EVALUATION__JUDGE:"),
            ("https://judge.example/v1", "m", "", "HONE__EVALUATION__JUDGE:"),
            ("http://me:secret@localhost/v1", "m", "", "HONE__EVALUATION__JUDGE:"),
            ("http:///v1", "m", "", "HONE__EVALUATION__JUDGE:"),
            ("http://localhost", " ", "", "HONE__EVALUATION__JUDGE_MODEL:"),
            ("http://localhost", "m", "sk-1234", "HONE__EVALUATION__JUDGE_API_KEY_ENV:"),
        ] {
            let text = message(&with(judge, model, variable));
            assert!(text.starts_with(key), "{text}");
            assert!(!text.contains("sk-1234") && !text.contains("secret"), "{text}");
        }
        let mut without = with("http://localhost", "m", "");
        without.environment.push(("HONE__EVALUATION__JUDGE_RUBRIC".into(), String::new()));
        assert!(message(&without).contains("what makes an answer better"));
    }

    #[test]
    fn integers_serve_as_floats_and_lists_can_be_set() {
        let loaded = variable("HONE__CURATION__HOLDOUT_PERCENT", "25").load().unwrap();
        assert_eq!(loaded.config.curation.holdout_percent.percent(), 25.0);
        let loaded = variable("HONE__EVALUATION__SUITES", "[\"a\", \"b\"]").load().unwrap();
        assert_eq!(loaded.config.evaluation.suites, ["a", "b"]);
    }

    #[test]
    fn training_has_as_many_threads_as_the_model_unless_it_has_its_own() {
        let mut config = Config::shipped().unwrap();
        config.model.threads = 3;
        assert_eq!(config.training_threads(), 3);
        config.training.threads = 2;
        assert_eq!(config.training_threads(), 2);
    }

    #[test]
    fn localhost_is_this_machine() {
        let loaded = variable("HONE__SERVER__LISTEN", "localhost:81").load().unwrap();
        assert_eq!(loaded.config.server.listen.to_string(), "127.0.0.1:81");
    }

    #[test]
    fn keys_that_need_a_restart_are_told_apart() {
        let old = Config::defaults(Path::new("d")).unwrap();
        let mut new = old.clone();
        new.training.rank = 8;
        new.schedule.failures = 3;
        assert!(old.needs_restart(&new).is_empty());
        new.engine.max_queue = 1;
        new.model.threads = 1;
        assert_eq!(old.needs_restart(&new), ["model.threads", "engine.max_queue"]);
        assert!(old.changes(&new).contains(&"model.threads".to_owned()));
        assert!(old.changes(&old).is_empty());
    }
}
