//! `hone adapters`: operate adapters.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use hone_api::adapter::{AdapterState, AdapterView, LiveView};
use serde_json::{Map, Value, json};

use super::{Context, Failure, Outcome, words};
use crate::cli::AdaptersCommand;
use crate::client::{Client, List};
use crate::output::Table;

/// The files of a PEFT folder.
const FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// Does what was asked for.
///
/// # Errors
/// The daemon says no, or a folder is not what it should be.
pub async fn run(context: &Context, command: AdaptersCommand) -> Outcome {
    let client = context.client()?;
    match command {
        AdaptersCommand::List => list(context, &client).await,
        AdaptersCommand::Show { adapter } => {
            show(context, &client.get(&format!("/v1/adapters/{adapter}")).await?)
        }
        AdaptersCommand::Import { folder, name } => import(context, &client, &folder, name).await,
        AdaptersCommand::Export { adapter, out } => export(context, &client, &adapter, &out).await,
        AdaptersCommand::Promote { adapter, expected_live } => {
            let body = expected(expected_live);
            moved(context, client.post(&format!("/v1/adapters/{adapter}/promote"), &body).await?)
        }
        AdaptersCommand::Rollback { to, expected_live } => {
            let mut body = expected(expected_live);
            if let Some(to) = to {
                body.insert("to".to_owned(), to.into());
            }
            moved(context, client.post("/v1/adapters/rollback", &body).await?)
        }
        AdaptersCommand::Delete { adapter } => {
            let answer = client.delete(&format!("/v1/adapters/{adapter}")).await?;
            if context.output.is_json() {
                context.output.value(&answer)?;
            }
            context.output.line(format_args!("{adapter} is deleted"))?;
            Ok(())
        }
    }
}

fn expected(live: Option<String>) -> Map<String, Value> {
    live.into_iter().map(|live| ("expected_live".to_owned(), live.into())).collect()
}

fn moved(context: &Context, live: LiveView) -> Outcome {
    if context.output.is_json() {
        context.output.value(&live)?;
    }
    let name = live.live.map_or_else(|| "the base".to_owned(), |id| id.to_string());
    context.output.line(format_args!("{name} serves now (epoch {})", live.epoch))?;
    Ok(())
}

async fn list(context: &Context, client: &Client) -> Outcome {
    let adapters: List<AdapterView> = client.get("/v1/adapters").await?;
    let mut table = Table::new(&["adapter", "name", "state", ">rank", "made", "from"]);
    for view in &adapters.data {
        if context.output.is_json() {
            context.output.value(view)?;
        }
        table.row(&[
            &view.id,
            &words::or_dash(view.name.as_ref()),
            &words::word(&view.state),
            &view.rank,
            &words::time(hone_api::UnixMillis(view.created_at.saturating_mul(1000))),
            &origin(view),
        ]);
    }
    context.output.table(&table)?;
    if !adapters.data.iter().any(|view| view.state == AdapterState::Live) {
        context.output.say("the base serves, without an adapter");
    }
    Ok(())
}

/// Where an adapter comes from, in a few words.
pub fn origin(view: &AdapterView) -> String {
    match &view.provenance {
        hone_api::adapter::Provenance::Cycle { cycle_id, .. } => cycle_id.to_string(),
        hone_api::adapter::Provenance::Import { folder } => format!("folder {folder}"),
    }
}

fn show(context: &Context, view: &AdapterView) -> Outcome {
    let output = context.output;
    if output.is_json() {
        output.value(view)?;
    }
    output.line(format_args!("{}  {}", view.id, words::word(&view.state)))?;
    let made = words::time(hone_api::UnixMillis(view.created_at.saturating_mul(1000)));
    output.line(format_args!("name    {}", words::or_dash(view.name.as_ref())))?;
    output.line(format_args!("made    {made} from {}", origin(view)))?;
    let alpha = words::number(view.alpha);
    let modules = view.target_modules.join(" ");
    output.line(format_args!("lora    rank {}, alpha {alpha}, {modules}", view.rank))?;
    output.line(format_args!("digest  {}", view.digest))?;
    if !view.scores.is_empty() {
        let mut table = Table::new(&["family", ">accuracy %"]);
        for (family, score) in &view.scores {
            table.row(&[family, &words::percent(*score)]);
        }
        output.table(&table)?;
    }
    output.line(format_args!("`hone why {}` tells why it is where it is", view.id))?;
    Ok(())
}

/// Puts the folder where the daemon may read it, then asks for the import.
async fn import(
    context: &Context,
    client: &Client,
    folder: &Path,
    name: Option<String>,
) -> Outcome {
    let own = folder.canonicalize()?;
    let own = own.file_name().context("this is no folder that an adapter could be in")?;
    let name = name.unwrap_or_else(|| own.to_string_lossy().into_owned());
    let drop = data_dir(context)?.join("drop");
    if !drop.is_dir() {
        bail_no_data(&drop)?;
    }
    let target = drop.join(&name);
    if !same(folder, &target) {
        copy(folder, &target)?;
    }
    let body = json!({"folder": name, "name": name});
    let view: AdapterView = client.post("/v1/adapters", &body).await?;
    show(context, &view)
}

async fn export(context: &Context, client: &Client, adapter: &str, out: &Path) -> Outcome {
    let view: AdapterView = client.get(&format!("/v1/adapters/{adapter}")).await?;
    let folder = data_dir(context)?.join("adapters").join(view.id.to_string());
    if !folder.is_dir() {
        bail_no_data(&folder)?;
    }
    copy(&folder, out)?;
    if context.output.is_json() {
        context.output.value(&json!({"id": view.id, "folder": out}))?;
    }
    context.output.line(format_args!("{} is in {}", view.id, out.display()))?;
    Ok(())
}

fn data_dir(context: &Context) -> Result<PathBuf, Failure> {
    Ok(context.config(Vec::new())?.config.server.data_dir)
}

fn bail_no_data(path: &Path) -> anyhow::Result<()> {
    bail!("there is no {}; name the daemon's folder with --data-dir", path.display())
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Copies the two files of an adapter into a new folder; the weights last, so that a folder with
/// weights is complete.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for file in FILES {
        if !from.join(file).is_file() {
            bail!("{} has no {file}; an adapter is a folder in PEFT's layout", from.display());
        }
        if to.join(file).exists() {
            bail!("{} already has a {file}; choose another name", to.display());
        }
    }
    fs_err::create_dir_all(to)?;
    for file in FILES {
        let part = to.join(format!(".{file}.part"));
        fs_err::copy(from.join(file), &part)?;
        fs_err::rename(&part, to.join(file))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_never_overwrites_and_needs_both_files() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs_err::create_dir(&from).unwrap();
        fs_err::write(from.join(FILES[0]), "{}").unwrap();
        let error = copy(&from, &to).unwrap_err().to_string();
        assert!(error.contains(FILES[1]), "{error}");
        fs_err::write(from.join(FILES[1]), "weights").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs_err::read_to_string(to.join(FILES[1])).unwrap(), "weights");
        assert_eq!(fs_err::read_dir(&to).unwrap().count(), 2);
        let error = copy(&from, &to).unwrap_err().to_string();
        assert!(error.contains("another name"), "{error}");
    }
}
