//! The sections. `hone.toml` beside this crate says what each key means and why its default is
//! what it is; the types here say what values it may have.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cron::{Cron, Zone};
use crate::unit::{Bytes, Hours, LearningRate, Listen, Network, Percent, Seconds, address};

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field:meta])* $key:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field])* pub $key: $kind,)* }
    };
}

section! {
    /// `[server]`: the HTTP side.
    ServerSettings {
        /// Address and port.
        #[serde(deserialize_with = "address")]
        listen: SocketAddr,
        /// Names beside the loopback ones by which requests may call a daemon on loopback.
        hosts: Vec<String>,
        /// Origins whose pages may use the API.
        cors_origins: Vec<String>,
        /// Proxies whose `x-forwarded-for` is believed.
        trusted_proxies: Vec<Network>,
        /// Certificates in PEM; empty is no TLS.
        tls_certificate: PathBuf,
        /// Their private key in PEM.
        tls_key: PathBuf,
        /// The data directory.
        data_dir: PathBuf,
        /// Longest request body.
        body_limit: Bytes,
        /// All bodies together.
        body_memory: Bytes,
        /// Whether `/v1/embeddings` answers.
        embeddings: bool,
        /// How long open streams may go on after SIGTERM.
        drain: Seconds,
        /// HTTP threads.
        workers: usize,
    }
}

section! {
    /// `[auth]`: who may do what.
    AuthSettings {
        /// Serve everybody on a non-loopback address while there are no keys.
        allow_unauthenticated: bool,
        /// Requests a minute of one address while there are no keys; 0 is no limit.
        address_requests_per_minute: u32,
        /// Its tokens a minute.
        address_tokens_per_minute: u32,
        /// Its answers under way at once.
        address_max_streams: u32,
    }
}

/// The form of the base weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// 8-bit blocks if the model fits comfortably, else 4-bit ones.
    Auto,
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
    /// 8-bit blocks.
    Q8,
    /// 4-bit blocks.
    Q4,
}

impl std::fmt::Display for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        })
    }
}

section! {
    /// `[model]`: what is served.
    ModelSettings {
        /// `starter`, a folder, a GGUF file or a hub id.
        source: String,
        /// A Jinja file with the chat template in place of the model's own; empty keeps that.
        chat_template: PathBuf,
        /// The form of its weights.
        weights: Weights,
        /// Cores; 0 is all.
        threads: usize,
        /// Name in the API; empty is the folder's or the file's.
        served_name: String,
    }
}

impl ModelSettings {
    /// Whether the model that ships inside the binary is served.
    #[must_use]
    pub fn is_starter(&self) -> bool {
        self.source == "starter"
    }

    /// The name in the API: the configured one, else the folder's, or the file's without its ending.
    #[must_use]
    pub fn name(&self) -> String {
        if !self.served_name.is_empty() {
            return self.served_name.clone();
        }
        if self.is_starter() {
            return "hone-starter".to_owned();
        }
        let path = std::path::Path::new(&self.source);
        // A revision and a quantisation behind a hub id are no part of its name, and `:` is what names an adapter.
        let id = if path.exists() { &self.source } else { before(before(&self.source, '@'), ':') };
        let path = std::path::Path::new(id);
        let is_gguf = path.extension().is_some_and(|ending| ending == "gguf");
        if let Some(name) = of_a_hub_snapshot(path) {
            return name;
        }
        let name = if is_gguf { path.file_stem() } else { path.file_name() };
        name.map_or_else(|| "hone".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// Cores for the model: the configured number, else all that this process may use.
    #[must_use]
    pub fn cores(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        }
    }
}

/// The model's name by a folder in the hub's cache, `models--OWNER--NAME/snapshots/COMMIT`, which itself is named by a hash.
fn of_a_hub_snapshot(path: &std::path::Path) -> Option<String> {
    let snapshots = path.parent().filter(|parent| parent.ends_with("snapshots"))?;
    let repository = snapshots.parent()?.file_name()?.to_str()?.strip_prefix("models--")?;
    repository.rsplit("--").next().map(str::to_owned)
}

/// What stands before the last `sign`, or all.
fn before(text: &str, sign: char) -> &str {
    text.rsplit_once(sign).map_or(text, |(before, _)| before)
}

/// What computes the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// Hone's own decoder where it knows the family, else mistralrs.
    Auto,
    /// Hone's own decoder.
    Hone,
    /// mistralrs, whatever the family.
    Mistralrs,
}

section! {
    /// `[engine]`: what computes the model, and how requests share it.
    EngineSettings {
        /// What computes it.
        kind: EngineKind,
        /// Sequences in one step.
        max_sequences: usize,
        /// Requests that may wait.
        max_queue: usize,
        /// Tokens in one step.
        max_step_tokens: usize,
        /// How long a step that decodes may take beside a prompt; 0 is no target.
        target_token_gap: Seconds,
        /// Drafts of a sequence in a step, at most; 0 decodes token by token.
        speculative_tokens: usize,
        /// Memory for attention's caches.
        kv_memory: Bytes,
        /// Share of it for the prefix cache at most, 0 to 1.
        prefix_cache_share: f64,
        /// Memory for loaded adapters.
        adapter_memory: Bytes,
    }
}

impl EngineSettings {
    /// The prefix cache's part of so many bytes.
    #[must_use]
    pub fn prefix_cache_of(&self, kv_bytes: u64) -> u64 {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let part = (kv_bytes as f64 * self.prefix_cache_share) as u64; // the share is 0 to 1
        part
    }
}

/// An endpoint whose answers may teach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Teaches {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
}

section! {
    /// `[feedback]`: what users' words do.
    FeedbackSettings {
        /// Feedback on answers of these endpoints teaches.
        endpoints: Vec<Teaches>,
        /// Longest demonstration or comment.
        max_text: Bytes,
        /// Tags of one item.
        max_tags: usize,
        /// All tags of one item, names and values.
        max_tag_text: Bytes,
    }
}

section! {
    /// `[curation]`: from feedback to a snapshot.
    CurationSettings {
        /// Share of many new corrections that judges.
        holdout_percent: Percent,
        /// Replay rows per corrected row.
        replay_ratio: f64,
        /// Similarity from which two rows are one, 0 to 1.
        near_duplicate: f64,
        /// Take personal data out.
        redact: bool,
        /// Corrected examples that a cycle needs.
        min_examples: usize,
        /// Rows in a snapshot at most.
        max_rows: usize,
        /// Seed of the split.
        seed: u64,
    }
}

/// Whether activations are computed again in the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Kept while they fit in half of the free memory.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

section! {
    /// `[training]`: how a candidate is trained.
    TrainingSettings {
        /// LoRA rank.
        rank: usize,
        /// LoRA alpha.
        alpha: f64,
        /// Dropout on the adapter's inputs, 0 to 0.9.
        dropout: f64,
        /// What the divergence from the base counts on replay rows.
        kl_weight: f64,
        /// Peak of the learning rate.
        learning_rate: LearningRate,
        /// Share of steps in which it rises.
        warmup_percent: Percent,
        /// Passes over the rows at most.
        epochs: usize,
        /// Conversations per forward pass.
        batch_size: usize,
        /// Forward passes per optimiser step.
        accumulation: usize,
        /// Longest gradient.
        clip: f64,
        /// Decay of weights.
        weight_decay: f64,
        /// Longest row in tokens.
        max_length: usize,
        /// Epochs without a better validation loss.
        patience: usize,
        /// Cores; 0 is as many as the model's.
        threads: usize,
        /// Niceness of the child process.
        nice: i32,
        /// Whether activations are computed again.
        recompute: Recompute,
        /// Steps between checkpoints.
        checkpoint_every: usize,
        /// Seed of weights and order.
        seed: u64,
        /// Longest run.
        timeout: Seconds,
    }
}

section! {
    /// `[evaluation]`: how adapters are compared.
    EvaluationSettings {
        /// Control suites: `starter`, names of built-in suites, paths.
        suites: Vec<String>,
        /// Rows of each control suite; 0 is all.
        rows_per_suite: usize,
        /// Held-out rows; 0 is all.
        heldout_rows: usize,
        /// Longest answer in tokens.
        max_tokens: u32,
        /// Questions under way at once.
        concurrency: usize,
        /// Evaluations that are asked for and may run at once.
        on_demand: usize,
        /// Their questions together.
        on_demand_rows: usize,
        /// Address of an OpenAI-compatible judge; empty is none.
        judge: String,
        /// The judge's model.
        judge_model: String,
        /// What makes an answer better.
        judge_rubric: String,
        /// Name of the variable that holds the judge's key; empty is no key.
        judge_api_key_env: String,
    }
}

section! {
    /// `[promotion]`: what the gate asks for.
    PromotionSettings {
        /// Promote without a person.
        automatic: bool,
        /// What one night may risk.
        alpha: f64,
        /// Fewest rows of a suite that is judged alone.
        min_items: usize,
        /// Points that all controls together may fall.
        control_margin: f64,
        /// Points that one control suite may fall.
        family_margin: f64,
        /// Adapters kept besides live and previous.
        keep: usize,
    }
}

section! {
    /// `[schedule]`: when cycles start by themselves.
    ScheduleSettings {
        /// Whether they do.
        enabled: bool,
        /// By the clock.
        cron: Cron,
        /// Zone of cron and quiet hours.
        timezone: Zone,
        /// By new failures; 0 is never.
        failures: u64,
        /// Shortest time between the starts of two cycles.
        min_interval: Seconds,
        /// When none starts.
        quiet_hours: Hours,
    }
}

section! {
    /// `[retention]`: what is kept.
    RetentionSettings {
        /// Run folders.
        runs: usize,
        /// Snapshots without an adapter.
        snapshots: usize,
        /// Adapters at which imports are refused.
        adapters: usize,
        /// How long answers of which nobody says anything stay in the log; 0: for ever.
        interactions: Seconds,
        /// How long feedback stays, and with it the answers that it speaks of; 0: for ever.
        feedback: Seconds,
        /// How long the events of a cycle stay; 0: for ever.
        events: Seconds,
        /// How large the log may become; 0: of any size.
        log: Bytes,
        /// Personal data is taken out before anything is written.
        redact: bool,
    }
}

section! {
    /// `[telemetry]`: what is told.
    TelemetrySettings {
        /// Log filter.
        log: String,
        /// Log as JSON lines.
        json: bool,
        /// An address of its own for `/metrics`.
        metrics_listen: Listen,
    }
}
