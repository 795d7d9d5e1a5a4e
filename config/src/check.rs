//! Rules that a type alone does not say. Each failure names the key that breaks it.

use crate::Config;

/// The first rule that is broken: the key and what to do.
pub(crate) fn check(config: &Config) -> Result<(), (&'static str, String)> {
    network(config)?;
    model(config)?;
    curation(config)?;
    training(config)?;
    judge(config)?;
    gate(config)
}

type Rule = Result<(), (&'static str, String)>;

fn ensure(holds: bool, key: &'static str, message: impl Into<String>) -> Rule {
    if holds { Ok(()) } else { Err((key, message.into())) }
}

fn at_least_one(value: usize, key: &'static str) -> Rule {
    ensure(value >= 1, key, "must be at least 1")
}

/// More threads than any machine has cores would only end in the system's refusal to start them.
fn threads(value: usize, key: &'static str) -> Rule {
    ensure(value <= 1024, key, format!("{value} is more than 1024; 0 takes all cores"))
}

fn between(value: f64, low: f64, high: f64, key: &'static str) -> Rule {
    ensure((low..=high).contains(&value), key, format!("{value} is not between {low} and {high}"))
}

fn network(config: &Config) -> Rule {
    let server = &config.server;
    for host in &server.hosts {
        let is_name = !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let message =
            format!("`{host}` is no name; write it without scheme and port: \"hone.lan\"");
        ensure(is_name, "server.hosts", message)?;
    }
    for origin in &server.cors_origins {
        let message = format!(
            "`{origin}` is no origin; write scheme, name and port and nothing behind them: \
             \"https://app.example.com\" (each one by name: `*` would let every page in)"
        );
        ensure(is_origin(origin), "server.cors_origins", message)?;
    }
    ensure(server.body_limit.0 >= 1024, "server.body_limit", "must be at least 1 KiB")?;
    ensure(
        server.body_memory >= server.body_limit,
        "server.body_memory",
        "must be at least server.body_limit, or the longest body would never have room",
    )?;
    let (certificate, key) = (&server.tls_certificate, &server.tls_key);
    let given = |path: &std::path::Path| !path.as_os_str().is_empty();
    ensure(
        given(certificate) || !given(key),
        "server.tls_key",
        "is of no use alone; name the certificate's file too (server.tls_certificate)",
    )?;
    ensure(
        given(key) || !given(certificate),
        "server.tls_certificate",
        "is of no use alone; name the file of its private key too (server.tls_key)",
    )?;
    at_least_one(server.workers, "server.workers")?;
    threads(server.workers, "server.workers")?;
    ensure(!server.data_dir.as_os_str().is_empty(), "server.data_dir", "must not be empty")
}

/// `https://name` or `http://name:port`, as browsers send it.
fn is_origin(origin: &str) -> bool {
    let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b))
    })
}

fn model(config: &Config) -> Rule {
    let name = config.model.name();
    ensure(
        !config.model.source.is_empty(),
        "model.source",
        "write \"starter\", a folder, a GGUF file or a hub id (org/name)",
    )?;
    ensure(
        !name.contains(':') && !name.contains(char::is_whitespace) && name != "base",
        "model.served_name",
        format!(
            "`{name}` must not be `base` nor hold a colon or a space: clients write `name:adapter`"
        ),
    )?;
    threads(config.model.threads, "model.threads")?;
    let engine = &config.engine;
    at_least_one(engine.max_sequences, "engine.max_sequences")?;
    at_least_one(engine.max_queue, "engine.max_queue")?;
    ensure(
        engine.max_step_tokens >= engine.max_sequences,
        "engine.max_step_tokens",
        "must be at least engine.max_sequences, or some sequence gets no token in a step",
    )?;
    ensure(
        engine.speculative_tokens <= 64,
        "engine.speculative_tokens",
        "must be at most 64, and is 0 where nothing is to be drafted",
    )?;
    ensure(engine.kv_memory.0 >= 1 << 20, "engine.kv_memory", "must be at least 1 MiB")?;
    between(engine.prefix_cache_share, 0.0, 1.0, "engine.prefix_cache_share")?;
    ensure(engine.adapter_memory.0 >= 1 << 20, "engine.adapter_memory", "must be at least 1 MiB")?;
    at_least_one(config.feedback.max_text.len(), "feedback.max_text")?;
    at_least_one(config.retention.adapters, "retention.adapters")
}

fn curation(config: &Config) -> Rule {
    let curation = &config.curation;
    let held = curation.holdout_percent.percent();
    ensure(
        held > 0.0 && held <= 90.0,
        "curation.holdout_percent",
        "must be above 0 and at most 90: without held-out questions no gain can be shown",
    )?;
    between(curation.replay_ratio, 0.0, 100.0, "curation.replay_ratio")?;
    between(curation.near_duplicate, 0.1, 1.0, "curation.near_duplicate")?;
    at_least_one(curation.min_examples, "curation.min_examples")?;
    ensure(
        curation.max_rows >= curation.min_examples,
        "curation.max_rows",
        "must be at least curation.min_examples",
    )
}

fn training(config: &Config) -> Rule {
    let training = &config.training;
    // What is trained must be what the registry takes: see the test of `daemon/src/training_config.rs`.
    ensure((1..=256).contains(&training.rank), "training.rank", "must be between 1 and 256")?;
    between(training.alpha, 0.01, 64.0 * training.rank as f64, "training.alpha")?;
    between(training.dropout, 0.0, 0.9, "training.dropout")?;
    between(training.kl_weight, 0.0, 1000.0, "training.kl_weight")?;
    between(training.clip, 1e-3, 1e6, "training.clip")?;
    between(training.weight_decay, 0.0, 1.0, "training.weight_decay")?;
    at_least_one(training.epochs, "training.epochs")?;
    at_least_one(training.batch_size, "training.batch_size")?;
    at_least_one(training.accumulation, "training.accumulation")?;
    at_least_one(training.checkpoint_every, "training.checkpoint_every")?;
    at_least_one(training.patience, "training.patience")?;
    ensure(training.max_length >= 16, "training.max_length", "must be at least 16 tokens")?;
    threads(training.threads, "training.threads")?;
    ensure((0..=19).contains(&training.nice), "training.nice", "must be between 0 and 19")?;
    ensure(training.timeout.0.as_secs() >= 1, "training.timeout", "must be at least 1s")
}

/// Where there is no judge, its other keys mean nothing and may stay.
fn judge(config: &Config) -> Rule {
    let evaluation = &config.evaluation;
    let url = evaluation.judge.as_str();
    if url.is_empty() {
        return Ok(());
    }
    let host = url.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap_or(rest));
    ensure(
        host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
            && !url.contains(|c: char| c.is_whitespace() || c == '?' || c == '#'),
        "evaluation.judge",
        "is no judge's address; write e.g. \"http://127.0.0.1:8000/v1\" (for https, a proxy on this \
         machine; for a key, evaluation.judge_api_key_env)",
    )?;
    ensure(
        !evaluation.judge_model.trim().is_empty(),
        "evaluation.judge_model",
        "must name the judge's model when evaluation.judge is set",
    )?;
    ensure(
        !evaluation.judge_rubric.trim().is_empty(),
        "evaluation.judge_rubric",
        "must say what makes an answer better when evaluation.judge is set",
    )?;
    let variable = evaluation.judge_api_key_env.as_str();
    ensure(
        variable.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !variable.starts_with(|c: char| c.is_ascii_digit())
            && !variable.starts_with("HONE__"),
        "evaluation.judge_api_key_env",
        "must be the name of a variable, e.g. \"JUDGE_API_KEY\", and not the key itself",
    )
}

fn gate(config: &Config) -> Rule {
    let (evaluation, promotion) = (&config.evaluation, &config.promotion);
    ensure(evaluation.max_tokens >= 1, "evaluation.max_tokens", "must be at least 1")?;
    at_least_one(evaluation.concurrency, "evaluation.concurrency")?;
    ensure(
        promotion.alpha > 0.0 && promotion.alpha <= 0.5,
        "promotion.alpha",
        "must be above 0 and at most 0.5",
    )?;
    between(promotion.control_margin, 0.0, 100.0, "promotion.control_margin")?;
    between(promotion.family_margin, 0.0, 100.0, "promotion.family_margin")?;
    at_least_one(promotion.min_items, "promotion.min_items")
}
