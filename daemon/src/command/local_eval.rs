//! An evaluation in this process: no daemon, the same engine, the same checks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context as _;
use hone_adapters::Registry;
use hone_api::AdapterId;
use hone_engine::{Engine, EngineConfig, Generate, Target};
use hone_eval::{Bootstrap, Options, RowResult, Suite, answer_suite, compare};
use serde_json::json;

use super::base::Base;
use super::{Context, Failure, Outcome, eval};
use crate::assemble;
use crate::cli::EvalArgs;
use crate::lock::DataLock;
use crate::output::Bars;

/// Loads the model and the adapters, asks, and compares.
///
/// # Errors
/// The model, the suite or an adapter cannot be loaded.
pub async fn run(context: &Context, args: &EvalArgs) -> Outcome {
    let suite = Suite::find(&args.suite, args.limit)?;
    let base = Base::prepare(context, &args.model)?;
    let model = base.open()?;
    let engine = Engine::start(model, EngineConfig::default())?;
    let subject = Subject::find(&base, engine.as_ref(), &args.adapter)?;
    let against = match &args.against {
        Some(name) => Some(Subject::find(&base, engine.as_ref(), name)?),
        None => None,
    };
    let candidate = answers(context, &base, engine.as_ref(), &suite, &subject).await?;
    let report = match against {
        None => scores(&suite.name, &candidate),
        Some(against) => {
            let champion = answers(context, &base, engine.as_ref(), &suite, &against).await?;
            serde_json::to_value(compare(&champion, &candidate, Bootstrap::default())?)?
        }
    };
    eval::show(context.output, &report)
}

/// Who is asked.
#[derive(Debug)]
struct Subject {
    name: String,
    target: Target,
    digest: Option<String>,
}

impl Subject {
    /// A PEFT folder, or an adapter of the data directory; it is loaded into the engine.
    fn find(base: &Base, engine: &Engine, name: &str) -> Result<Self, Failure> {
        let folder = if !eval::is_word(name) && Path::new(name).is_dir() {
            Some(PathBuf::from(name))
        } else {
            Self::registered(base, engine, name)?
        };
        let Some(folder) = folder else {
            return Ok(Self { name: "base".to_owned(), target: Target::Base, digest: None });
        };
        let id = AdapterId::new();
        let digest = engine.load(id, &folder)?.digest;
        Ok(Self { name: name.to_owned(), target: Target::Exact(id), digest: Some(digest) })
    }

    /// The folder of an adapter that the data directory holds; `None` is the base.
    fn registered(base: &Base, engine: &Engine, name: &str) -> Result<Option<PathBuf>, Failure> {
        let data_dir = &base.config.server.data_dir;
        if name == "base" || (name == "live" && !data_dir.join("live.json").exists()) {
            return Ok(None);
        }
        let reference = name.parse().unwrap_or(hone_api::AdapterRef::Live);
        // Opening repairs; a daemon must not be at work there meanwhile.
        let _lock = DataLock::take(data_dir)?;
        let registry = Registry::open(data_dir, assemble::shape(engine.model()))?;
        let id = registry.resolve(&reference).with_context(|| {
            format!("`{name}` is neither a folder nor an adapter in {}", data_dir.display())
        })?;
        Ok(id.map(|id| registry.dir(id)))
    }
}

async fn answers(
    context: &Context,
    base: &Base,
    engine: &Engine,
    suite: &Suite,
    subject: &Subject,
) -> Result<Vec<RowResult>, Failure> {
    let title = format!("Ask {}", subject.name);
    let bar = Mutex::new(Bars::new(context.output, &title, suite.rows.len() as u64));
    let progress = |done: usize, total: usize| {
        if let Ok(mut bar) = bar.lock() {
            bar.at(done as u64, total as u64, "");
        }
    };
    let options = Options {
        max_tokens: base.config.evaluation.max_tokens,
        concurrency: base.config.evaluation.concurrency,
        adapter_digest: subject.digest.as_deref(),
        progress: Some(&progress),
        ..Options::default()
    };
    Ok(answer_suite(engine, subject.target, suite, &options).await?)
}

/// Plain scores, by family, as `POST /v1/evals` has them.
fn scores(suite: &str, rows: &[RowResult]) -> serde_json::Value {
    let mut families: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for row in rows {
        let (items, passed) = families.entry(&row.family).or_default();
        *items += 1;
        *passed += usize::from(row.passed);
    }
    let line = |(items, passed)| json!({"items": items, "passed": passed});
    let passed = rows.iter().filter(|row| row.passed).count();
    let mut report = line((rows.len(), passed));
    report["suite"] = json!(suite);
    report["families"] =
        families.into_iter().map(|(name, counts)| (name.to_owned(), line(counts))).collect();
    report
}
