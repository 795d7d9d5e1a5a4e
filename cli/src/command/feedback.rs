//! `hone feedback`: record or move feedback.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use hone_api::feedback::{Feedback, Signal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::waiting;
use crate::cli::{FeedbackAdd, FeedbackCommand};
use crate::client::{Client, ClientError, List, path};
use crate::context::{CommandResult, Context, Failure};
use crate::output::Output;

/// Items in a page of the export.
const PAGE: usize = 100;

/// Does what was asked for.
///
/// # Errors
/// The daemon says no, or the file is not readable.
pub async fn run(context: &Context, command: FeedbackCommand) -> CommandResult {
    let client = context.client()?;
    match command {
        FeedbackCommand::Add(add) => {
            let tags = add.tags.iter().cloned().collect();
            let taken = send(&client, &add.interaction, &signal(&add)?, &tags).await?;
            told(context.output, &taken)
        }
        FeedbackCommand::Import { file } => import(context, &client, &file).await,
        FeedbackCommand::Export { out } => export(context, &client, out.as_deref()).await,
        FeedbackCommand::Waiting { limit } => waiting::list(context.output, &client, limit).await,
        FeedbackCommand::Discard { interaction } => {
            let taken = client.post(&path::discard(&interaction)?, &json!({})).await?;
            told(context.output, &taken)
        }
    }
}

/// What the daemon says to an item.
#[derive(Debug, Serialize, Deserialize)]
pub struct Taken {
    /// Its id.
    pub feedback_id: String,
    /// What comes next.
    #[serde(default)]
    pub next: String,
    /// Why it will not teach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl Taken {
    /// Says what comes of it, on stderr.
    pub fn say(&self, output: Output) {
        output.say(&self.next);
        if let Some(warning) = &self.warning {
            output.say(format_args!("but {warning}"));
        }
    }
}

fn told(output: Output, taken: &Taken) -> CommandResult {
    if output.is_json() {
        output.value(taken)?;
        return Ok(());
    }
    output.line(&taken.feedback_id)?;
    taken.say(output);
    Ok(())
}

fn signal(add: &FeedbackAdd) -> Result<Signal, Failure> {
    let found = match add {
        FeedbackAdd { good: true, .. } => Some(Signal::Thumbs(true)),
        FeedbackAdd { bad: true, .. } => Some(Signal::Thumbs(false)),
        FeedbackAdd { fix: Some(text), .. } => Some(Signal::Demonstration(text.clone())),
        FeedbackAdd { score: Some(score), .. } => Some(Signal::Score(*score)),
        FeedbackAdd { comment: Some(text), .. } => Some(Signal::Comment(text.clone())),
        _ => None,
    };
    found
        .ok_or_else(|| Failure::Usage("one of --good, --bad, --fix, --score, --comment".to_owned()))
}

/// Sends one item.
///
/// # Errors
/// [`ClientError`]
pub async fn send(
    client: &Client,
    interaction: &str,
    signal: &Signal,
    tags: &BTreeMap<String, String>,
) -> Result<Taken, ClientError> {
    let mut body = serde_json::to_value(signal).unwrap_or_default();
    body["inference_id"] = interaction.into();
    body["tags"] = json!(tags);
    client.post("/v1/feedback", &body).await
}

/// What became of the lines of a file.
#[derive(Debug, Default)]
struct Imported {
    new: usize,
    known: usize,
    /// Each with its number and the reason.
    failed: Vec<(usize, String)>,
    /// Those that went in but will not teach, each with its number and the reason.
    warned: Vec<(usize, String)>,
}

/// Sends every line, also after one that fails. Repeating an import adds nothing twice: a line's own
/// id (or its digest) is its idempotency key.
async fn import(context: &Context, client: &Client, file: &Path) -> CommandResult {
    let text = fs_err::read_to_string(file)?;
    let mut imported = Imported::default();
    for (number, line) in hone_dataset::lines::numbered(&text) {
        match send_line(client, line).await {
            Ok((known, taken)) => {
                *(if known { &mut imported.known } else { &mut imported.new }) += 1;
                imported.warned.extend(taken.warning.map(|warning| (number, warning)));
            }
            // All that follows would fail as well; repeating the import goes on here.
            Err(error) if is_gone(&error) => return Err(error.into()),
            Err(error) => {
                imported.failed.push((number, hone_daemon::error_chain::describe(&error)))
            }
        }
    }
    tell(context, file, &imported)
}

/// Whether the item was there already, and what the daemon says to it.
async fn send_line(client: &Client, line: &str) -> anyhow::Result<(bool, Taken)> {
    let (body, key) = importable(line)?;
    Ok(client.post_once("/v1/feedback", &body, &key).await?)
}

fn is_gone(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(ClientError::Unreachable { .. } | ClientError::Broken { .. })
    )
}

fn tell(context: &Context, file: &Path, imported: &Imported) -> CommandResult {
    let Imported { new, known, failed, warned } = imported;
    let output = context.output;
    if output.is_json() {
        let line = |(line, reason): &(usize, String)| json!({"line": line, "reason": reason});
        let lines = |all: &[(usize, String)]| all.iter().map(line).collect::<Vec<_>>();
        output.value(&json!({
            "imported": new, "already_there": known, "failed": lines(failed), "warned": lines(warned),
        }))?;
    }
    output.line(format_args!("{new} items imported, {known} were there already"))?;
    for (line, warning) in warned {
        output.say(format_args!("{}, line {line}: {warning}", file.display()));
    }
    if failed.is_empty() {
        return Ok(());
    }
    for (line, reason) in failed {
        output.say(format_args!("{}, line {line}: {reason}", file.display()));
    }
    let text = format!(
        "{} lines of {} were not imported; repair them and import the file again",
        failed.len(),
        file.display()
    );
    Err(anyhow::anyhow!(text).into())
}

/// The request that a line of a file stands for, and its idempotency key.
fn importable(line: &str) -> anyhow::Result<(Value, String)> {
    let mut value: Value = serde_json::from_str(line)
        .map_err(|error| anyhow::anyhow!("it is not JSON (column {})", error.column()))?;
    let object = value.as_object_mut().context("it is not a JSON object")?;
    let id = object.remove("id").and_then(|id| id.as_str().map(str::to_owned));
    // What the daemon adds by itself.
    object.remove("created_at");
    // Nobody can speak in the name of a source. But who were two people where this was written are
    // two people here.
    let source = object.remove("source").filter(Value::is_string);
    if let Some(source) = source.filter(|_| !object.contains_key("safety_identifier")) {
        object.entry("user").or_insert(source);
    }
    let digest = || format!("import-{}", blake3::hash(line.as_bytes()).to_hex());
    let id = id.filter(|id| id.len() <= 255 && id.bytes().all(|byte| byte.is_ascii_graphic()));
    Ok((value, id.unwrap_or_else(digest)))
}

async fn export(context: &Context, client: &Client, out: Option<&Path>) -> CommandResult {
    let mut file = match out {
        Some(path) => Some(fs_err::File::create(path)?),
        None => None,
    };
    let mut written = 0_usize;
    let mut after = String::new();
    loop {
        let page: List<Feedback> =
            client.get(&format!("/v1/feedback?limit={PAGE}&order=asc{after}")).await?;
        for item in &page.data {
            match &mut file {
                Some(file) => writeln!(file, "{}", serde_json::to_string(item)?)?,
                None => context.output.value(item)?,
            }
            written += 1;
        }
        match page.data.last() {
            Some(last) if page.has_more => after = format!("&after={}", last.id),
            _ => break,
        }
    }
    if let Some(file) = file {
        file.sync_all()?;
        context.output.say(format_args!("{written} items exported"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exported_line_can_be_imported() {
        let item = Feedback {
            id: hone_api::FeedbackId::new(),
            inference_id: hone_api::InteractionId::new(),
            signal: Signal::Thumbs(false),
            tags: BTreeMap::from([("family".to_owned(), "a".to_owned())]),
            source: Some("x".to_owned()),
            created_at: hone_api::UnixMillis(1),
        };
        let (body, key) = importable(&serde_json::to_string(&item).unwrap()).unwrap();
        let wanted = json!({
            "inference_id": item.inference_id, "metric_name": "thumbs", "value": false,
            "tags": {"family": "a"}, "user": "x",
        });
        assert_eq!(body, wanted);
        assert_eq!(key, item.id.to_string(), "the daemon knows it by that");
        let named = |name: &str| {
            let line = format!(r#"{{"source":"x","{name}":"ann"}}"#);
            importable(&line).unwrap().0
        };
        assert_eq!(named("user"), json!({"user": "ann"}));
        assert_eq!(named("safety_identifier"), json!({"safety_identifier": "ann"}));
        assert_eq!(importable(r#"{"source":null}"#).unwrap().0, json!({}));
    }

    #[test]
    fn a_line_without_an_id_has_a_key_of_its_own() {
        let one = importable(r#"{"inference_id":"a"}"#).unwrap().1;
        let other = importable(r#"{"inference_id":"b"}"#).unwrap().1;
        assert_ne!(one, other);
        assert!(importable("[]").is_err());
    }
}
