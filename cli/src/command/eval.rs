//! `hone eval`: score an adapter on a suite, and compare it with another.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use hone_api::AdapterRef;
use hone_api::evaluation::{EvalRequest, EvalStatus, EvalView};
use serde_json::Value;

use super::local_eval;
use super::scores::{is_word, show};
use crate::cli::EvalArgs;
use crate::client::{Client, ClientError};
use crate::context::{CommandResult, Context, Failure};
use crate::output::Bars;

/// Asks the daemon, if there is one; else does it here, and says so.
///
/// # Errors
/// The suite or an adapter is not there, or the evaluation fails.
pub fn run(context: &Context, args: &EvalArgs) -> CommandResult {
    let client = context.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let why_here = match only_here(args) {
            Some(why) => why.to_owned(),
            None if client.is_ready().await => match remote(context, &client, args).await? {
                Asked::Done => return Ok(()),
                Asked::TooLarge(why) => why,
            },
            // A daemon that was named and is not there is a mistake, not a wish to do without.
            None if context.global.url.is_some() => {
                let _: Value = client.get("/readyz").await?;
                return Err(anyhow::anyhow!("{} is not ready; try again", client.url()).into());
            }
            None => format!("no daemon answers at {}", client.url()),
        };
        context.output.say(format_args!("evaluating in this process: {why_here}"));
        local_eval::run(context, args).await
    })
}

/// Why a daemon is not asked even if there is one.
fn only_here(args: &EvalArgs) -> Option<&'static str> {
    let is_path = |name: &str| !is_word(name) && Path::new(name).is_dir();
    if args.local {
        Some("--local is given")
    } else if is_path(&args.adapter) || args.against.as_deref().is_some_and(is_path) {
        Some("a daemon knows only adapters that were imported, and this is a folder")
    } else if args.model != crate::cli::ModelArgs::default() {
        Some("--model, --weights and --threads do not change a running daemon")
    } else {
        None
    }
}

/// How asking the daemon ended.
enum Asked {
    Done,
    /// The suite is more than the daemon takes, in its own words.
    TooLarge(String),
}

async fn remote(context: &Context, client: &Client, args: &EvalArgs) -> Result<Asked, Failure> {
    let reference = |name: &str| AdapterRef::from_str(name).unwrap_or(AdapterRef::Live);
    let (suite, lines) = suite_for(&args.suite)?;
    let request = EvalRequest {
        suite,
        lines,
        adapter: Some(reference(&args.adapter)),
        against: args.against.as_deref().map(reference),
        limit: (args.limit > 0).then_some(args.limit),
    };
    let mut view: EvalView = match client.post("/v1/evals", &request).await {
        Err(ClientError::Refused { status: 413, message, .. }) => {
            return Ok(Asked::TooLarge(message));
        }
        other => other?,
    };
    let mut bar = Bars::new(context.output, "Evaluate", view.total as u64);
    while view.status == EvalStatus::Running {
        bar.at(view.done as u64, view.total as u64, "");
        tokio::time::sleep(Duration::from_millis(300)).await;
        view = client.get(&format!("/v1/evals/{}", view.id)).await?;
    }
    bar.finish("");
    if let Some(error) = view.error {
        return Err(Failure::Failed(anyhow::anyhow!(error)));
    }
    let report = view.report.unwrap_or_default();
    show(context.output, &report)?;
    Ok(Asked::Done)
}

/// The suite as the daemon is told: a name that it knows, or the lines of a file, which need not lie
/// where the daemon could read it.
fn suite_for(given: &str) -> anyhow::Result<(String, Option<String>)> {
    let path = Path::new(given);
    if hone_eval::suite::builtin_names().contains(&given) || !path.is_file() {
        return Ok((given.to_owned(), None));
    }
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok((name, Some(hone_eval::suite::read(path)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sent_along_and_a_name_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.jsonl");
        fs_err::write(&file, "{}\n").unwrap();
        let sent = suite_for(file.to_str().unwrap()).unwrap();
        assert_eq!(sent, ("mine".to_owned(), Some("{}\n".to_owned())));
        for name in ["control_add", "nothing-of-that-name"] {
            assert_eq!(suite_for(name).unwrap(), (name.to_owned(), None));
        }
    }
}
