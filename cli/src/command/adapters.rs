//! `hone adapters`: operate adapters.

use std::path::{Path, PathBuf};

use anyhow::bail;
use hone_api::adapter::{AdapterState, AdapterView, LiveView};
use serde_json::{Map, Value, json};

use super::words;
use crate::cli::AdaptersCommand;
use crate::client::{Client, ClientError, List, path};
use crate::context::{CommandResult, Context, Failure};
use crate::output::Table;

/// The files of a PEFT folder.
const FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// Does what was asked for.
///
/// # Errors
/// The daemon says no, or a folder is not what it should be.
pub async fn run(context: &Context, command: AdaptersCommand) -> CommandResult {
    let client = context.client()?;
    match command {
        AdaptersCommand::List => list(context, &client).await,
        AdaptersCommand::Show { adapter } => {
            show(context, &client.get(&path::adapter(&adapter)?).await?)
        }
        AdaptersCommand::Import { folder, name } => import(context, &client, &folder, name).await,
        AdaptersCommand::Export { adapter, out } => export(context, &client, &adapter, &out).await,
        AdaptersCommand::Promote { adapter, expected_live } => {
            let body = expected(expected_live);
            moved(
                context,
                client.post(&format!("{}/promote", path::adapter(&adapter)?), &body).await?,
            )
        }
        AdaptersCommand::Rollback { to, expected_live } => {
            let mut body = expected(expected_live);
            if let Some(to) = to {
                body.insert("to".to_owned(), to.into());
            }
            moved(context, client.post("/v1/adapters/rollback", &body).await?)
        }
        AdaptersCommand::Delete { adapter } => {
            let answer = client.delete(&path::adapter(&adapter)?).await?;
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

fn moved(context: &Context, live: LiveView) -> CommandResult {
    if context.output.is_json() {
        context.output.value(&live)?;
    }
    let name = live.live.map_or_else(|| "the base".to_owned(), |id| id.to_string());
    context.output.line(format_args!("{name} serves now (epoch {})", live.epoch))?;
    Ok(())
}

async fn list(context: &Context, client: &Client) -> CommandResult {
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

fn show(context: &Context, view: &AdapterView) -> CommandResult {
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

/// Puts a copy of the folder where the daemon may read it, asks for the import, and takes the copy
/// away again, whatever the answer was: what stayed would be in the way of the next try.
async fn import(
    context: &Context,
    client: &Client,
    folder: &Path,
    name: Option<String>,
) -> CommandResult {
    // Before anything is copied: the name becomes a path.
    let name = checked_name(folder, name)?;
    let drop_dir = data_dir(context)?.join("drop");
    if !drop_dir.is_dir() {
        bail_no_data(&drop_dir)?;
    }
    let staged = Staged::copy(folder, &drop_dir, &name)?;
    let body = json!({"folder": staged.below_drop(), "name": name});
    let answer = client.post::<AdapterView>("/v1/adapters", &body).await;
    drop(staged);
    match answer {
        Ok(view) => show(context, &view),
        // It lay in our drop folder, so the daemon has another one.
        Err(ClientError::Refused { status: 404, .. }) => {
            let (url, data) = (client.url(), drop_dir.parent().unwrap_or(&drop_dir).display());
            let text = format!(
                "the daemon at {url} does not keep its data in {data}; name its folder with --data-dir, or the daemon with --url"
            );
            Err(anyhow::anyhow!(text).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The name that was given, or the folder's own.
fn checked_name(folder: &Path, given: Option<String>) -> Result<String, Failure> {
    if !folder.is_dir() {
        let folder = folder.display();
        return Err(
            anyhow::anyhow!("there is no folder {folder}; name one in PEFT's layout").into()
        );
    }
    let name = match given {
        Some(name) => name,
        None => {
            let own = fs_err::canonicalize(folder)?;
            own.file_name().unwrap_or_default().to_string_lossy().into_owned()
        }
    };
    hone_adapters::fs::check_adapter_name(&name)
        .map_err(|error| Failure::Usage(format!("--name: {error}")))?;
    Ok(name)
}

/// A copy of an adapter's folder, two steps below the drop folder: the daemon notices what lies
/// directly in it, and would import the copy by itself. It goes when this is dropped.
#[derive(Debug)]
struct Staged {
    room: PathBuf,
    name: String,
}

impl Staged {
    fn copy(folder: &Path, drop: &Path, name: &str) -> anyhow::Result<Self> {
        let room = drop.join(format!("import-{}", hone_api::RunId::new().uuid()));
        fs_err::create_dir(&room)?;
        let staged = Self { room, name: name.to_owned() };
        copy(folder, &staged.room.join(name))?;
        Ok(staged)
    }

    /// Its path as the daemon is told: relative to the drop folder.
    fn below_drop(&self) -> String {
        let room = self.room.file_name().unwrap_or_default().to_string_lossy();
        format!("{room}/{}", self.name)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs_err::remove_dir_all(&self.room); // a remainder is in nobody's way
    }
}

async fn export(context: &Context, client: &Client, adapter: &str, out: &Path) -> CommandResult {
    let view: AdapterView = client.get(&path::adapter(adapter)?).await?;
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

/// Copies the two files of an adapter into a new folder; the weights last, so that a folder with
/// weights is complete.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for file in FILES {
        if !from.join(file).is_file() {
            bail!("{} has no {file}; an adapter is a folder in PEFT's layout", from.display());
        }
        if to.join(file).exists() {
            bail!("{} already has an adapter; choose another folder", to.display());
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
        assert!(error.contains("another folder"), "{error}");
    }

    #[test]
    fn a_name_that_could_leave_the_drop_folder_is_refused_before_anything_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("Mine");
        fs_err::create_dir(&folder).unwrap();
        for bad in ["../../escaped", "live", ""].map(Some) {
            let refused = checked_name(&folder, bad.map(str::to_owned));
            assert!(matches!(refused, Err(Failure::Usage(_))), "{bad:?}");
        }
        assert_eq!(checked_name(&folder, None).unwrap(), "Mine");
        assert_eq!(checked_name(&folder, Some("mine".to_owned())).unwrap(), "mine");
        let Err(Failure::Failed(error)) = checked_name(&dir.path().join("none"), None) else {
            panic!("there is no such folder");
        };
        assert!(error.to_string().contains("none; name one"), "{error}");
    }

    #[test]
    fn the_copy_lies_where_the_watcher_does_not_look_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, drop_dir) = (dir.path().join("from"), dir.path().join("drop"));
        for folder in [&from, &drop_dir] {
            fs_err::create_dir(folder).unwrap();
        }
        assert!(Staged::copy(&from, &drop_dir, "mine").is_err(), "an empty folder is no adapter");
        assert_eq!(fs_err::read_dir(&drop_dir).unwrap().count(), 0);
        for file in FILES {
            fs_err::write(from.join(file), "x").unwrap();
        }
        let staged = Staged::copy(&from, &drop_dir, "mine").unwrap();
        let confined = hone_adapters::fs::confine(&drop_dir, &staged.below_drop()).unwrap();
        assert!(confined.join(FILES[1]).is_file());
        assert!(!confined.parent().unwrap().join(FILES[1]).exists());
        drop(staged);
        assert_eq!(fs_err::read_dir(&drop_dir).unwrap().count(), 0);
    }
}
