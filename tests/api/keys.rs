//! Keys from the command line to the log: made, used, revoked, and never written down.

use std::path::Path;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use hone_tests::{Hone, hone_binary};
use serde_json::{Value, json};

fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn key_of(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "{}", talk(output));
    Ok(String::from_utf8(output.stdout.clone())?.trim().to_owned())
}

fn secret(key: &str) -> &str {
    key.rsplit('-').next().unwrap_or(key)
}

async fn get(hone: &Hone, path: &str, key: &str) -> Result<(u16, Value)> {
    let answer = hone.http().get(hone.at(path)).bearer_auth(key).send().await?;
    let status = answer.status().as_u16();
    Ok((status, serde_json::from_str(&answer.text().await?).unwrap_or_default()))
}

/// All bytes below a folder.
fn all_files(folder: &Path, into: &mut Vec<u8>) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            all_files(&path, into)?;
            continue;
        }
        match fs_err::read(path) {
            Ok(bytes) => into.extend(bytes),
            // A file that is replaced in one step has another name for a moment.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_keys_life_leaves_no_trace_of_its_secret() -> Result<()> {
    let mut hone = Hone::builder().argument("-vv").start().await?;
    let make = |by: &str, words: &[&str]| {
        let all = [&["keys", "create", "--api-key", by], words].concat();
        hone.cli(&all)
    };
    let first = make("none", &["--name", "app", "--scope", "chat"])?;
    ensure!(talk(&first).contains("--scope admin"), "{}", talk(&first));
    let admin = key_of(&make("none", &["--name", "operator", "--scope", "admin"])?)?;
    let refused = make("none", &["--name", "x", "--scope", "chat"])?;
    ensure!(refused.status.code() == Some(1) && talk(&refused).contains("not valid"));
    let app =
        key_of(&make(&admin, &["--name", "app", "--scope", "chat,feedback", "--expires", "1h"])?)?;

    let body =
        json!({"model": "hone", "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]});
    let ask = hone.http().post(hone.at("/v1/chat/completions")).bearer_auth(&app);
    let answer: Value = ask.json(&body).send().await?.error_for_status()?.json().await?;
    let said = json!({"inference_id": answer["id"], "metric_name": "thumbs", "value": false});
    let say = hone.http().post(hone.at("/v1/feedback")).bearer_auth(&app).json(&said);
    say.send().await?.error_for_status()?;
    let mut seen = String::new();
    for (path, expected) in [("/v1/interactions", 403), ("/v1/keys", 403), ("/v1/models", 200)] {
        let (status, body) = get(&hone, path, &app).await?;
        assert_eq!(status, expected, "{path}");
        seen.push_str(&body.to_string());
    }
    // Almost the key, and the key where it does not belong.
    let (status, body) = get(&hone, "/v1/models", &format!("{app}x")).await?;
    assert_eq!(status, 401);
    seen.push_str(&body.to_string());
    for path in [format!("/v1/keys/{app}"), format!("/{app}"), format!("/v1/models/{app}")] {
        seen.push_str(&get(&hone, &path, &app).await?.1.to_string());
    }
    let path = format!("/v1/interactions/{}", answer["id"].as_str().context("id")?);
    let (_, kept) = get(&hone, &path, &admin).await?;
    let id = app.split('-').nth(1).context("an id")?;
    assert_eq!(kept["key_id"], id);

    let list = hone.cli(&["keys", "list", "--api-key", &admin])?;
    let shown = String::from_utf8_lossy(&list.stdout).into_owned();
    ensure!(shown.contains(id) && shown.contains("chat,feedback"), "{shown}");
    seen.push_str(&shown);
    let revoked = hone.cli(&["keys", "revoke", id, "--api-key", &admin])?;
    ensure!(revoked.status.success(), "{}", talk(&revoked));
    assert_eq!(get(&hone, "/v1/models", &app).await?.0, 401);
    assert_eq!(hone.get("/readyz").await?.status, 200);

    // After a restart the same keys hold, and nowhere is a secret.
    hone.terminate().await?;
    hone.restart().await?;
    assert_eq!(get(&hone, "/v1/models", &app).await?.0, 401);
    assert_eq!(get(&hone, "/v1/keys", &admin).await?.0, 200);
    assert_eq!(hone.get("/v1/models").await?.status, 401);
    seen.push_str(&hone.log()?);
    let mut files = Vec::new();
    all_files(&hone.data(), &mut files)?;
    for key in [&admin, &app] {
        let secret = secret(key);
        ensure!(secret.len() == 64, "{key}");
        ensure!(!seen.contains(secret), "a secret was told");
        let bytes = secret.as_bytes();
        ensure!(!files.windows(bytes.len()).any(|part| part == bytes), "a secret is on disk");
    }
    ensure!(files.windows(id.len()).any(|part| part == id.as_bytes()), "the id is on disk");
    Ok(())
}

#[test]
fn an_open_address_needs_a_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = std::process::Command::new(hone_binary());
    command.args(["serve", "--listen", "0.0.0.0:0", "--data-dir", "data"]);
    let refused = command.current_dir(folder.path()).output()?;
    assert_eq!(refused.status.code(), Some(2), "{}", talk(&refused));
    for words in ["hone keys create", "auth.allow_unauthenticated"] {
        ensure!(talk(&refused).contains(words), "{}", talk(&refused));
    }
    Ok(())
}
