//! `hone keys`: who may call. The running daemon is asked; where none runs, the data directory itself, so
//! that the first key can be made before a daemon listens where others reach it.

use hone_api::UnixMillis;
use hone_api::key::{CreatedKey, KeyLimits, KeyView, NewKey};
use hone_server::caller::Caller;
use hone_server::key_ring::KeyRing;

use super::words;
use crate::cli::{KeysCommand, KeysCreate};
use crate::client::{Client, ClientError, List, path};
use crate::context::{CommandResult, Context};
use crate::output::{Output, Table};
use hone_daemon::database;
use hone_daemon::dirs::{self, Dirs};
use hone_daemon::lock::DataLock;

/// Does what was asked for.
///
/// # Errors
/// The daemon says no; there is none and the data directory cannot be used.
pub async fn run(context: &Context, command: KeysCommand) -> CommandResult {
    let client = context.client()?;
    let asked = by_daemon(context.output, &client, &command).await;
    match asked {
        // A daemon that was named must be there.
        Err(ClientError::Unreachable { .. }) if context.global.url.is_none() => {
            in_data_dir(context, command).await
        }
        Ok(told) => told,
        Err(error) => Err(error.into()),
    }
}

async fn by_daemon(
    output: Output,
    client: &Client,
    command: &KeysCommand,
) -> Result<CommandResult, ClientError> {
    Ok(match command {
        KeysCommand::Create(args) => {
            let made: CreatedKey = client.post("/v1/keys", &wanted(args)).await?;
            created(output, &made)
        }
        KeysCommand::List => {
            let keys: List<KeyView> = client.get("/v1/keys").await?;
            listed(output, &keys.data)
        }
        KeysCommand::Revoke { id } => {
            let view: KeyView = client.delete_as(&path::key(id)?).await?;
            revoked(output, &view)
        }
    })
}

async fn in_data_dir(context: &Context, command: KeysCommand) -> CommandResult {
    let output = context.output;
    let data_dir = context.config(Vec::new())?.config.server.data_dir;
    dirs::keep_private();
    let _lock = DataLock::take(&data_dir)?;
    output.say(format_args!("no daemon runs; this is the data directory {}", data_dir.display()));
    let store = database::open(&Dirs::open(&data_dir)?)?;
    let ring = KeyRing::new(store.clone(), store.keys().await?);
    let owner = Caller::operator();
    let done = match command {
        KeysCommand::Create(args) => match ring.create(&owner, wanted(&args)).await {
            Ok(made) => created(output, &made),
            Err(error) => Err(error.into()),
        },
        KeysCommand::List => listed(output, &ring.list()),
        KeysCommand::Revoke { id } => match ring.revoke(&owner, &id).await {
            Ok(view) => revoked(output, &view),
            Err(error) => Err(error.into()),
        },
    };
    store.close().await;
    done
}

fn wanted(args: &KeysCreate) -> NewKey {
    NewKey {
        name: args.name.clone(),
        scopes: args.scopes.iter().copied().collect(),
        expires_at: args.expires,
        limits: KeyLimits {
            requests_per_minute: args.requests_per_minute,
            tokens_per_minute: args.tokens_per_minute,
            max_streams: args.max_streams,
        },
    }
}

fn created(output: Output, made: &CreatedKey) -> CommandResult {
    if output.is_json() {
        output.value(made)?;
    }
    output.line(&made.key)?;
    output.say(format_args!(
        "this is the only time that the key is shown; its id is {}. Clients send it as their API key, \
         commands as HONE_API_KEY",
        made.view.id
    ));
    Ok(())
}

fn revoked(output: Output, view: &KeyView) -> CommandResult {
    if output.is_json() {
        output.value(view)?;
    }
    output.line(format_args!("{} ({}) opens nothing any more", view.id, view.name))?;
    Ok(())
}

fn listed(output: Output, keys: &[KeyView]) -> CommandResult {
    for view in keys.iter().filter(|_| output.is_json()) {
        output.value(view)?;
    }
    if keys.is_empty() {
        output.say("no key was ever made, and none is asked for; `hone keys create` makes one");
        return Ok(());
    }
    output.table(&table(keys, UnixMillis::now()))?;
    Ok(())
}

fn table(keys: &[KeyView], now: UnixMillis) -> Table {
    let mut table = Table::new(&[
        "key",
        "name",
        "scopes",
        "made",
        "ends",
        ">requests/min",
        ">tokens/min",
        ">streams",
        "state",
    ]);
    for key in keys {
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.word()).collect();
        let state = match key {
            KeyView { revoked_at: Some(at), .. } => format!("revoked {}", words::time(*at)),
            key if key.is_valid(now) => "valid".to_owned(),
            _ => "expired".to_owned(),
        };
        table.row(&[
            &key.id,
            &key.name,
            &scopes.join(","),
            &words::time(key.created_at),
            &words::or_dash(key.expires_at.map(words::time)),
            &words::or_dash(key.limits.requests_per_minute),
            &words::or_dash(key.limits.tokens_per_minute),
            &words::or_dash(key.limits.max_streams),
            &state,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use hone_api::key::Scope;
    use hone_store::Store;

    use super::*;

    #[test]
    fn a_row_says_what_a_key_may_do_and_whether_it_does() {
        let key = |revoked_at, expires_at| KeyView {
            id: "0123456789ab".to_owned(),
            object: "key".to_owned(),
            name: "app".to_owned(),
            scopes: [Scope::Feedback, Scope::Chat].into(),
            limits: KeyLimits { max_streams: Some(4), ..KeyLimits::default() },
            created_at: UnixMillis(0),
            expires_at,
            revoked_at,
        };
        let at = |time| Some(UnixMillis(time));
        let text = table(&[key(None, None), key(at(5), None), key(None, at(9))], UnixMillis(9))
            .render(false);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].contains("0123456789ab  app   chat,feedback"), "{text}");
        assert!(lines[1].ends_with("valid") && lines[3].ends_with("expired"), "{text}");
        assert!(lines[2].contains("revoked 19"), "{text}");
    }

    #[tokio::test]
    async fn without_a_daemon_the_data_directory_is_asked() {
        use clap::Parser;

        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let run = async |words: &[&str]| {
            let all = [&["hone", "--data-dir", data.to_str().unwrap(), "keys"], words].concat();
            let cli = crate::cli::Cli::try_parse_from(all).unwrap();
            let context = Context { output: Output::new(false), global: cli.global };
            let Some(crate::cli::Command::Keys(command)) = cli.command else { panic!("{words:?}") };
            in_data_dir(&context, command).await
        };
        let create = ["create", "--name", "me", "--scope", "admin", "--max-streams", "3"];
        run(&create).await.unwrap();
        run(&create).await.unwrap();
        run(&["list"]).await.unwrap();
        let keys = async || Store::open(&data.join("hone.db")).unwrap().keys().await.unwrap();
        let kept = keys().await;
        assert_eq!((kept.len(), kept[0].view.limits.max_streams), (2, Some(3)));
        run(&["revoke", &kept[0].view.id]).await.unwrap();
        assert!(run(&["revoke", &kept[1].view.id]).await.is_err(), "nobody could make another");
        assert!(keys().await[0].view.revoked_at.is_some());
        let held = DataLock::take(&data).unwrap();
        assert!(run(&["list"]).await.is_err(), "a daemon has it");
        drop(held);
    }
}
