//! A database that is taken away, damaged or missing is told of, and chat goes on.

use anyhow::{Result, ensure};
use hone_tests::{Hone, hone_binary, talk};
use serde_json::json;

#[tokio::test]
async fn a_deleted_database_is_noticed_and_found_again() -> Result<()> {
    let mut hone = Hone::start().await?;
    let answer = hone.chat("hone", "Hi").await?;
    let said = json!({"inference_id": answer.id, "metric_name": "thumbs", "value": true});
    let (database, away) = (hone.data().join("hone.db"), hone.data().join("away"));
    fs_err::rename(&database, &away)?;
    for replaced in [false, true] {
        if replaced {
            fs_err::copy(&away, &database)?;
        }
        let ready = hone.get("/readyz").await?.expect(503)?;
        let reason = ready["status"].as_str().unwrap_or_default().to_owned();
        ensure!(reason.contains("hone.db was ") && reason.contains("hone restore"), "{reason}");
        let refused = hone.post("/v1/feedback", &said).await?.expect(503)?;
        ensure!(refused["error"]["message"].as_str() == Some(&reason), "{refused}");
        hone.get("/livez").await?.expect(200)?;
        hone.chat("hone", "Hi").await?;
        let doctor = hone.cli(&["doctor"])?;
        let found = String::from_utf8_lossy(&doctor.stdout);
        ensure!(doctor.status.code() == Some(1) && found.contains(&reason), "{found}");
    }
    fs_err::rename(&away, &database)?;
    hone.get("/readyz").await?.expect(200)?;
    hone.post("/v1/feedback", &said).await?.expect(201)?;
    hone.terminate().await?;
    hone.restart().await?;
    let page = hone.get("/v1/feedback").await?.expect(200)?;
    assert_eq!(page["data"].as_array().map(Vec::len), Some(1), "{page}");
    Ok(())
}

/// What a daemon says that does not start on a data directory.
fn refusal(hone: &Hone) -> Result<String> {
    let mut command = std::process::Command::new(hone_binary());
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(hone.data());
    let output = command.output()?;
    ensure!(output.status.code() == Some(1), "{}", talk(&output));
    Ok(talk(&output))
}

#[tokio::test]
async fn no_daemon_starts_on_a_damaged_or_a_missing_database() -> Result<()> {
    let mut hone = Hone::start().await?;
    for _ in 0..50 {
        hone.chat("hone", "Hi").await?;
    }
    hone.terminate().await?;
    let database = hone.data().join("hone.db");
    let good = fs_err::read(&database)?;
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle..middle + 5000].fill(0x5a);
    fs_err::write(&database, bad)?;
    let damaged = refusal(&hone)?;
    ensure!(damaged.contains("is damaged") && damaged.contains("hone restore"), "{damaged}");
    fs_err::remove_file(&database)?;
    let missing = refusal(&hone)?;
    ensure!(missing.contains("has no hone.db, but") && missing.contains("source.key"), "{missing}");
    ensure!(!database.exists(), "no new one was made");
    let key = hone.cli_offline(&["keys", "create", "--name", "x", "--scope", "admin"])?;
    ensure!(!key.status.success() && !database.exists(), "{}", talk(&key));
    fs_err::write(&database, good)?;
    hone.restart().await
}

#[tokio::test]
async fn pages_that_break_while_it_runs_are_an_error_and_no_end() -> Result<()> {
    let hone = Hone::start().await?;
    for _ in 0..200 {
        let body = json!({"model": "hone", "max_tokens": 2,
            "messages": [{"role": "user", "content": "word ".repeat(100)}]});
        hone.post("/v1/chat/completions", &body).await?.expect(200)?;
    }
    let database = hone.data().join("hone.db");
    // Into the file, so that it is what is read.
    rusqlite::Connection::open(&database)?.query_row(
        "PRAGMA wal_checkpoint(TRUNCATE)",
        [],
        |_| Ok(()),
    )?;
    let length = fs_err::metadata(&database)?.len();
    let file = fs_err::OpenOptions::new().write(true).open(&database)?;
    use std::os::unix::fs::FileExt;
    file.file().write_all_at(&vec![0x5a; usize::try_from(length / 2)?], length / 4)?;
    let mut told = 0;
    for path in
        ["/v1/interactions?limit=1000", "/v1/interactions?limit=1000&order=desc", "/v1/feedback"]
    {
        let reply = hone.get(path).await?;
        ensure!([200, 503].contains(&reply.status), "{path}: {} {}", reply.status, reply.body);
        if reply.status == 503 {
            told += 1;
            ensure!(reply.body.to_string().contains("is damaged"), "{}", reply.body);
        }
    }
    ensure!(told > 0, "nothing of it was noticed");
    hone.chat("hone", "Hi").await?;
    hone.get("/livez").await?.expect(200)?;
    Ok(())
}
