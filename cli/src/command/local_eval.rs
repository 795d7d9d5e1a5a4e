//! An evaluation in this process: no daemon, the same engine, the same checks.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;

use hone_api::{AdapterId, AdapterRef};
use hone_engine::{Engine, Generate, Target};
use hone_eval::{EvalOptions, RowResult, Suite, answer_suite};

use super::base::Base;
use super::scores::{is_word, show};
use crate::cli::EvalArgs;
use crate::context::{CommandResult, Context, Failure};
use crate::output::Bars;
use hone_daemon::evals::{comparison, summary};
use hone_daemon::served;

/// Loads the model and the adapters, asks, and compares.
///
/// # Errors
/// The model, the suite or an adapter cannot be loaded.
pub async fn run(context: &Context, args: &EvalArgs) -> CommandResult {
    let suite = Suite::find(&args.suite, args.limit)?;
    let (base, budget) = Base::prepare_to_serve(context, &args.model)?;
    let model = base.open()?;
    let engine = Engine::start(model, budget.engine(&base.config.engine))?;
    let subject = Subject::find(&base, engine.as_ref(), &args.adapter)?;
    let against = match &args.against {
        Some(name) => Some(Subject::find(&base, engine.as_ref(), name)?),
        None => None,
    };
    let candidate = answers(context, &base, engine.as_ref(), &suite, &subject).await?;
    let report = match against {
        None => summary(&subject.name, &candidate),
        Some(against) => {
            let champion = answers(context, &base, engine.as_ref(), &suite, &against).await?;
            comparison((&subject.name, &candidate), (&against.name, &champion))?
        }
    };
    show(context.output, &report)
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
    fn find(base: &Base, engine: &Engine, given: &str) -> Result<Self, Failure> {
        let found = if !is_word(given) && Path::new(given).is_dir() {
            // What an import would refuse, gives no answers here either.
            hone_adapters::verify(Path::new(given), &served::shape(engine.model()))?;
            Some((AdapterId::new(), given.to_owned(), PathBuf::from(given)))
        } else {
            registered(base, engine, given)?
        };
        let Some((id, name, folder)) = found else {
            return Ok(Self { name: "base".to_owned(), target: Target::Base, digest: None });
        };
        let digest = engine.load(id, &folder)?.digest;
        Ok(Self { name, target: Target::Exact(id), digest: Some(digest) })
    }
}

/// An adapter that the data directory holds, by its id, with its folder; `None` is the base. A daemon
/// may be at work there: it is only looked at.
fn registered(
    base: &Base,
    engine: &Engine,
    given: &str,
) -> Result<Option<(AdapterId, String, PathBuf)>, Failure> {
    let data_dir = &base.config.server.data_dir;
    let reference = AdapterRef::from_str(given).unwrap_or(AdapterRef::Live);
    let found = hone_adapters::lookup(data_dir, &served::shape(engine.model()), &reference);
    let found = found.map_err(|error| match error {
        hone_adapters::Error::Unknown(_) => {
            anyhow::anyhow!(
                "`{given}` is neither a folder nor an adapter in {}",
                data_dir.display()
            )
        }
        other => other.into(),
    })?;
    Ok(found.map(|(id, folder)| (id, id.to_string(), folder)))
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
    let options = EvalOptions {
        adapter_digest: subject.digest.as_deref(),
        progress: Some(&progress),
        ..EvalOptions::from(&base.config.evaluation)
    };
    Ok(answer_suite(engine, subject.target, suite, &options).await?)
}
