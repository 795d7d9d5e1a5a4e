//! One row for each change of state, and none that can be changed unseen.

use anyhow::{Context, Result, ensure};
use hone_tests::{Hone, talk};
use serde_json::{Value, json};

async fn rows(hone: &Hone, query: &str) -> Result<Vec<Value>> {
    let list = hone.get(&format!("/v1/audit?limit=1000{query}")).await?.expect(200)?;
    Ok(list["data"].as_array().context("no data")?.clone())
}

async fn actions(hone: &Hone) -> Result<Vec<String>> {
    let rows = rows(hone, "&order=asc").await?;
    Ok(rows.iter().filter_map(|row| row["action"].as_str().map(str::to_owned)).collect())
}

#[tokio::test]
async fn every_change_has_a_row_and_what_changes_nothing_has_none() -> Result<()> {
    let hone = Hone::start().await?;
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");
    let mut expected: Vec<&str> = Vec::new();
    ensure!(actions(&hone).await?.is_empty());

    for _ in 0..2 {
        let import = hone.cli(&["adapters", "import", golden, "--name", "mine"])?;
        ensure!(import.status.success(), "{}", talk(&import));
    }
    expected.push("adapter.imported");
    assert_eq!(actions(&hone).await?, expected, "the same once more is no change");

    hone.post("/v1/adapters/base/promote", &json!({})).await?.expect(200)?;
    let stale = json!({"expected_live": "mine"});
    hone.post("/v1/adapters/mine/promote", &stale).await?.expect(409)?;
    assert_eq!(actions(&hone).await?, expected, "what is so, or refused, is no change");
    for (path, row) in [("mine/promote", "adapter.promoted"), ("rollback", "adapter.rolled_back")] {
        hone.post(&format!("/v1/adapters/{path}"), &json!({})).await?.expect(200)?;
        expected.extend(["adapter.intended", row]);
    }
    hone.post("/v1/adapters/rollback", &json!({})).await?.expect(200)?;
    expected.extend(["adapter.intended", "adapter.rolled_back"]);

    let body = json!({"model": "hone", "max_tokens": 4, "store": true,
        "metadata": {"secret": "whisper"}, "messages": [{"role": "user", "content": "Hi"}]});
    let id = hone.post("/v1/chat/completions", &body).await?.expect(200)?["id"].clone();
    let path = format!("/v1/chat/completions/{}", id.as_str().context("no id")?);
    for _ in 0..2 {
        let metadata = json!({"metadata": {"topic": "whisper"}});
        hone.post(&path, &metadata).await?.expect(200)?;
    }
    hone.delete(&path).await?.expect(200)?;
    hone.delete(&path).await?.expect(404)?;
    expected.extend(["interaction.metadata_changed", "interaction.erased"]);

    let cycle = hone.run_cycle().await?;
    assert_eq!(cycle["verdict"], "skipped", "{cycle}");
    expected.extend(["cycle.asked_for", "cycle.started", "cycle.skipped"]);
    let mut told = actions(&hone).await?;
    // Who asked is noted beside the cycle's own way.
    let (tail, before) = (expected.len() - 3, told.len().saturating_sub(3));
    ensure!(told.len() == expected.len(), "{told:?}");
    told[before..].sort();
    expected[tail..].sort_unstable();
    assert_eq!(told, expected);

    fs_err::write(hone.config_path(), "[schedule]\nenabled = false\n[training]\nrank = 8\n")?;
    for _ in 0..100 {
        if actions(&hone).await?.len() > expected.len() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let key = hone.cli(&["keys", "create", "--name", "ops", "--scope", "admin", "--json"])?;
    let key: Value = serde_json::from_slice(&key.stdout)?;
    let secret = key["key"].as_str().context("no key")?;
    hone.get("/v1/audit").await?.expect(401)?;
    let list = hone.cli(&["audit", "list", "--json", "--api-key", secret])?;
    let newest: Vec<Value> = String::from_utf8(list.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    assert_eq!(newest[0]["action"], "key.created");
    assert_eq!(newest[1]["action"], "settings.reloaded");
    assert_eq!(newest[1]["data"], json!({"keys": ["training.rank"]}));
    ensure!(!newest.iter().any(|row| row.to_string().contains("whisper")), "no content");
    let promoted = hone.cli(&["adapters", "rollback", "--api-key", secret])?;
    ensure!(promoted.status.success(), "{}", talk(&promoted));
    let verified = hone.cli(&["audit", "verify", "--api-key", secret])?;
    ensure!(verified.status.success(), "{}", talk(&verified));
    let list = hone.cli(&["audit", "list", "--limit", "1", "--api-key", secret])?;
    let id = key["id"].as_str().context("no id")?;
    ensure!(String::from_utf8_lossy(&list.stdout).contains(id), "the key's id is the actor");
    Ok(())
}

#[tokio::test]
async fn a_changed_row_is_named_and_a_lost_end_is_found() -> Result<()> {
    let mut hone = Hone::start().await?;
    for name in ["a", "b", "c"] {
        let made = hone.cli_offline(&["audit", "verify"])?;
        ensure!(made.status.success(), "{}", talk(&made));
        let body = json!({"lora_name": name, "lora_path": "nowhere"});
        hone.post("/v1/load_lora_adapter", &body).await?;
        hone.start_cycle().await?;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    for row in rows(&hone, "&order=asc").await?.windows(2) {
        assert_eq!(row[0]["hash"], row[1]["previous"]);
        let text = format!(
            "{}{}",
            row[1]["previous"].as_str().unwrap_or_default(),
            row[1]["content"].as_str().unwrap_or_default()
        );
        assert_eq!(row[1]["hash"], blake3::hash(text.as_bytes()).to_hex().as_str());
    }
    // By the daemon's word, computed here; and from the file, beside the daemon.
    let told = hone.cli(&["audit", "verify", "--json"])?;
    ensure!(told.status.success(), "{}", talk(&told));
    let told: Value = serde_json::from_slice(&told.stdout)?;
    let read = hone.cli_offline(&["audit", "verify", "--json"])?;
    assert_eq!(told, serde_json::from_slice::<Value>(&read.stdout)?);
    let head = told["head"].as_str().context("no head")?;

    hone.terminate().await?;
    let database = rusqlite::Connection::open(hone.data().join("hone.db"))?;
    database.execute_batch(
        "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted;
         CREATE TABLE kept AS SELECT * FROM audit;
         UPDATE audit SET actor = 'somebody else' WHERE sequence = 3",
    )?;
    let verify = |words: &[&str]| hone.cli_offline(&[&["audit", "verify"], words].concat());
    let changed = verify(&[])?;
    ensure!(
        changed.status.code() == Some(1) && talk(&changed).contains("row 3 ("),
        "{}",
        talk(&changed)
    );
    database.execute_batch("DELETE FROM audit WHERE sequence = 3")?;
    ensure!(talk(&verify(&[])?).contains("row 3 is missing"));
    database.execute_batch("DELETE FROM audit; INSERT INTO audit SELECT * FROM kept")?;
    ensure!(verify(&["--head", head])?.status.success());
    database.execute_batch("DELETE FROM audit WHERE sequence > 3; DELETE FROM sqlite_sequence")?;
    ensure!(talk(&verify(&[])?).contains("its end was cut off"));
    fs_err::remove_file(hone.data().join("audit.head"))?;
    ensure!(verify(&[])?.status.success(), "what is left fits");
    let lost = verify(&["--head", head])?;
    ensure!(lost.status.code() == Some(1) && talk(&lost).contains(head), "{}", talk(&lost));
    Ok(())
}

#[tokio::test]
async fn what_stays_damaged_is_told_once() -> Result<()> {
    let mut hone = Hone::start().await?;
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");
    let import = hone.cli(&["adapters", "import", golden, "--name", "mine"])?;
    ensure!(import.status.success(), "{}", talk(&import));
    let list = hone.get("/v1/adapters").await?.expect(200)?;
    let id = list["data"][0]["id"].as_str().context("no adapter")?.to_owned();
    hone.terminate().await?;
    fs_err::write(hone.data().join("adapters").join(&id).join("manifest.json"), "{")?;
    for _ in 0..3 {
        hone.restart().await?;
        assert_eq!(actions(&hone).await?, ["adapter.imported", "adapter.unusable"]);
        hone.terminate().await?;
    }
    Ok(())
}
