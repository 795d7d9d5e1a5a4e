//! `hone status`: what serves now, what is running, what comes next.

use hone_api::adapter::{AdapterState, AdapterView};
use hone_api::cycle::{CycleStatus, CycleView, NextCycle};
use serde::Deserialize;
use serde_json::{Value, json};

use super::words;
use crate::client::List;
use crate::context::{CommandResult, Context, Failure};

/// The newest cycles, and what comes next by the daemon's own settings.
#[derive(Debug, Deserialize)]
struct Cycles {
    data: Vec<CycleView>,
    next: NextCycle,
}

/// Asks the daemon and tells.
///
/// # Errors
/// The daemon is not there, or it is not ready.
pub async fn run(context: &Context) -> CommandResult {
    let (client, output) = (context.client()?, context.output);
    let models: List<Value> = client.get("/v1/models").await?;
    let adapters: List<AdapterView> = client.get("/v1/adapters").await?;
    let cycles: Cycles = client.get("/v1/cycles?limit=5&order=desc").await?;
    let waiting: List<Value> = client.get("/v1/feedback/waiting?limit=100").await?;
    let waiting = waiting.data.len();
    let ready = client.is_ready().await;
    let live = adapters.data.iter().find(|view| view.state == AdapterState::Live);
    let model = models.data.first().and_then(|model| model["id"].as_str()).unwrap_or("-");
    let is_moving =
        |view: &&CycleView| matches!(view.status, CycleStatus::Queued | CycleStatus::Running);
    let running = cycles.data.iter().find(is_moving);
    let last = cycles.data.iter().find(|view| !is_moving(view));
    if output.is_json() {
        output.value(&json!({
            "url": client.url(), "ready": ready, "model": model, "engine": models.data.first().map(|card| &card["engine"]),
            "live": live, "running": running,
            "last_cycle": last, "next": cycles.next, "adapters": adapters.data.len(), "waiting": waiting,
        }))?;
        return healthy(ready);
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
    if let Some(engine) = another_engine(models.data.first()) {
        output.line(format_args!("engine   {engine}"))?;
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
    output.line(format_args!("came     {}", came(cycles.next.came)))?;
    if waiting > 0 {
        output.line(format_args!("waiting  {}: `hone feedback waiting`", for_a_person(waiting)))?;
    }
    output.line(format_args!("next     {}", cycles.next.message))?;
    healthy(ready)
}

/// The engine, if it is another than Hone's own, and what it cannot do.
fn another_engine(model: Option<&Value>) -> Option<String> {
    let model = model?;
    let engine = model["engine"].as_str().filter(|engine| *engine != "hone")?;
    let lacks: Vec<&str> = model["lacks"].as_array()?.iter().filter_map(Value::as_str).collect();
    Some(format!("{engine}, without {}", lacks.join(", ")))
}

/// A daemon that takes no requests is a failure, for those who only look at the exit status.
const fn healthy(ready: bool) -> CommandResult {
    if ready { Ok(()) } else { Err(Failure::Told) }
}

/// Answers that wait; the list ends with a hundred.
fn for_a_person(waiting: usize) -> String {
    match waiting {
        1 => "1 answer for a person to look at".to_owned(),
        100.. => "100 answers or more for a person to look at".to_owned(),
        _ => format!("{waiting} answers for a person to look at"),
    }
}

fn came(failures: u64) -> String {
    let answers = if failures == 1 { "answer" } else { "answers" };
    format!("{failures} {answers} called bad or corrected since the last cycle began")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_engine_is_told_with_what_it_lacks() {
        let card = |engine: &str, lacks: &[&str]| json!({"engine": engine, "lacks": lacks});
        assert_eq!(another_engine(Some(&card("hone", &[]))), None);
        let other = another_engine(Some(&card("mistralrs", &["embeddings", "replay"])));
        assert_eq!(other.as_deref(), Some("mistralrs, without embeddings, replay"));
    }

    #[test]
    fn one_is_not_many() {
        assert!(came(1).starts_with("1 answer called bad"));
        assert!(came(0).starts_with("0 answers called bad"));
        assert!(for_a_person(1).starts_with("1 answer for"));
        assert!(for_a_person(100).starts_with("100 answers or more"));
    }
}
