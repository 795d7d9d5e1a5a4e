//! `hone eval`: score an adapter on a suite, and compare it with another.

use std::path::Path;
use std::time::Duration;

use hone_api::evaluation::{EvalRequest, EvalStatus, EvalView};
use hone_eval::Report;
use serde_json::Value;

use super::{Context, Failure, Outcome, local_eval, words};
use crate::cli::EvalArgs;
use crate::client::Client;
use crate::output::{Bars, Output, Table};

/// Asks the daemon, if there is one; else does it here.
///
/// # Errors
/// The suite or an adapter is not there, or the evaluation fails.
pub fn run(context: &Context, args: &EvalArgs) -> Outcome {
    let is_path = |name: &str| !is_word(name) && Path::new(name).is_dir();
    let local = args.local
        || is_path(&args.adapter)
        || args.against.as_deref().is_some_and(is_path)
        || args.model != crate::cli::ModelArgs::default();
    let client = context.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if !local && client.is_ready().await {
            return remote(context, &client, args).await;
        }
        local_eval::run(context, args).await
    })
}

/// Whether it is a word for an adapter, and no folder of that name is meant.
pub fn is_word(name: &str) -> bool {
    matches!(name, "base" | "live" | "previous" | "candidate")
}

async fn remote(context: &Context, client: &Client, args: &EvalArgs) -> Outcome {
    let reference = |name: &str| name.parse().unwrap_or(hone_api::AdapterRef::Live);
    let request = EvalRequest {
        suite: suite_for(context, &args.suite)?,
        adapter: Some(reference(&args.adapter)),
        against: args.against.as_deref().map(reference),
        limit: (args.limit > 0).then_some(args.limit),
    };
    let mut view: EvalView = client.post("/v1/evals", &request).await?;
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
    Ok(())
}

/// The suite as the daemon knows it: a built-in name, or the full path of a file.
fn suite_for(context: &Context, given: &str) -> Result<String, Failure> {
    if !Path::new(given).is_file() {
        return Ok(given.to_owned());
    }
    let file = fs_err::canonicalize(given)?;
    let data_dir = context.config(Vec::new())?.config.server.data_dir;
    if fs_err::canonicalize(&data_dir).is_ok_and(|dir| file.starts_with(dir)) {
        return Ok(file.to_string_lossy().into_owned());
    }
    let text = format!(
        "the daemon reads suites below its data directory only; put {given} below {}, or evaluate here with --local",
        data_dir.display()
    );
    Err(Failure::Failed(anyhow::anyhow!(text)))
}

/// A comparison as a table, plain scores as one too.
pub fn show(output: Output, report: &Value) -> Outcome {
    if output.is_json() {
        output.value(report)?;
        return Ok(());
    }
    if let Ok(report) = serde_json::from_value::<Report>(report.clone()) {
        output.line(report.table().trim_end())?;
        return Ok(());
    }
    let mut table = Table::new(&["family", ">n", ">accuracy %"]);
    for (family, line) in report["families"].as_object().into_iter().flatten() {
        let count = |name: &str| line[name].as_f64().unwrap_or(0.0);
        let accuracy = 100.0 * count("passed") / count("items").max(1.0);
        table.row(&[&family, &words::number(count("items")), &format!("{accuracy:.1}")]);
    }
    if table.is_empty() {
        output.line(words::figures(report))?;
    }
    output.table(&table)?;
    Ok(())
}
