//! `hone status`: what serves now, what is running, what comes next.

use hone_api::adapter::{AdapterState, AdapterView};
use hone_api::cycle::{CycleStatus, CycleView};
use serde_json::{Value, json};

use super::{Context, Failure, Outcome, words};
use crate::client::List;

/// Asks the daemon and tells.
///
/// # Errors
/// The daemon is not there.
pub async fn run(context: &Context) -> Outcome {
    let (client, output) = (context.client()?, context.output);
    let models: List<Value> = client.get("/v1/models").await?;
    let adapters: List<AdapterView> = client.get("/v1/adapters").await?;
    let cycles: List<CycleView> = client.get("/v1/cycles?limit=5&order=desc").await?;
    let ready = client.is_ready().await;
    let live = adapters.data.iter().find(|view| view.state == AdapterState::Live);
    let model = models.data.first().and_then(|model| model["id"].as_str()).unwrap_or("-");
    let is_moving =
        |view: &&CycleView| matches!(view.status, CycleStatus::Queued | CycleStatus::Running);
    let running = cycles.data.iter().find(is_moving);
    let last = cycles.data.iter().find(|view| !is_moving(view));
    if output.is_json() {
        output.value(&json!({
            "url": client.url(), "ready": ready, "model": model, "live": live, "running": running,
            "last_cycle": last, "adapters": adapters.data.len(),
        }))?;
        return Ok(());
    }
    let state = if ready { "ready" } else { "not ready" };
    output.line(format_args!("daemon   {}  {state}", client.url()))?;
    match live {
        Some(view) => {
            let since = words::time(hone_api::UnixMillis(view.created_at.saturating_mul(1000)));
            output.line(format_args!("serves   {model} with {} (made {since})", view.id))?;
        }
        None => output.line(format_args!("serves   {model}, the base without an adapter"))?,
    }
    match running {
        Some(view) => output.line(format_args!(
            "running  {}  {} since {}",
            view.id,
            words::word(&view.step),
            words::time(view.created_at)
        ))?,
        None => output.line("running  no cycle")?,
    }
    match last {
        Some(view) => {
            let verdict =
                view.verdict.map_or_else(|| words::word(&view.status), |v| words::word(&v));
            let reason = view.reason.as_deref().unwrap_or("no reason given");
            output.line(format_args!("last     {}  {verdict}: {reason}", view.id))?;
        }
        None => output.line("last     no cycle yet; `hone cycle run` starts one")?,
    }
    output.line(format_args!("next     {}", next(context)?))?;
    Ok(())
}

/// When a cycle starts by itself, by the settings of this folder, which the daemon should have too.
fn next(context: &Context) -> Result<String, Failure> {
    let schedule = context.config(Vec::new())?.config.schedule;
    if !schedule.enabled {
        return Ok("no cycle starts by itself (schedule.enabled is false)".to_owned());
    }
    let clock = crate::schedule::next_run(&schedule, hone_api::UnixMillis::now());
    let mut when: Vec<String> = clock.map(words::time).into_iter().collect();
    if schedule.failures > 0 {
        when.push(format!("after {} new failures", schedule.failures));
    }
    Ok(if when.is_empty() {
        "`hone cycle run`; nothing is scheduled".to_owned()
    } else {
        format!("a cycle: {}", when.join(", or "))
    })
}
