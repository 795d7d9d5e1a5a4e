//! The command line on a running daemon, where a person's next step depends on the last one.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use hone_tests::Hone;
use serde_json::{Value, json};

const GOOD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");

fn json_of(output: &Output) -> Result<Value> {
    let talk = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).with_context(|| format!("not JSON; it says: {talk}"))
}

fn talk_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

#[tokio::test]
async fn a_name_can_be_imported_again_whatever_became_of_it() -> Result<()> {
    let hone = Hone::start().await?;
    let left = || -> Result<usize> { Ok(fs_err::read_dir(hone.drop_folder())?.count()) };
    let import =
        |from: &str, name: &str| hone.cli(&["adapters", "import", from, "--name", name, "--json"]);
    let escaping = import(GOOD, "../../escaped")?;
    assert_eq!(escaping.status.code(), Some(2), "{}", talk_of(&escaping));
    assert!(!hone.data().join("../escaped").exists());

    let broken = tempfile::tempdir()?;
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let bytes = fs_err::read(Path::new(GOOD).join(file))?;
        fs_err::write(broken.path().join(file), &bytes[..bytes.len() / 2])?;
    }
    let refused = import(path(broken.path()), "mine")?;
    assert_eq!(refused.status.code(), Some(1), "{}", talk_of(&refused));
    for _ in 0..2 {
        assert_eq!(json_of(&import(GOOD, "mine")?)?["name"], "mine");
        let deleted = hone.cli(&["adapters", "delete", "mine"])?;
        assert!(deleted.status.success(), "{}", talk_of(&deleted));
    }
    let elsewhere = tempfile::tempdir()?;
    fs_err::create_dir(elsewhere.path().join("drop"))?;
    let lost = Command::new(hone_tests::hone_binary())
        .args(["adapters", "import", GOOD, "--name", "lost", "--url", &hone.at(""), "--data-dir"])
        .arg(elsewhere.path())
        .output()?;
    let talk = talk_of(&lost);
    assert!(talk.contains("does not keep its data in") && talk.contains("--data-dir"), "{talk}");
    assert_eq!(left()?, 0, "no copy and no note");
    Ok(())
}

#[tokio::test]
async fn a_suite_file_is_evaluated_with_and_without_the_daemon() -> Result<()> {
    let mut hone = Hone::start().await?;
    let imported = hone.cli(&["adapters", "import", GOOD, "--name", "mine", "--json"])?;
    let id = json_of(&imported)?["id"].clone();
    let folder = tempfile::tempdir()?;
    let suite = folder.path().join("mine.jsonl");
    let row = json!({
        "messages": [{"role": "user", "content": "What is 2 + 2?"}], "reference": "4",
        "check": {"type": "final_number", "value": 4},
    });
    fs_err::write(&suite, format!("{row}\n"))?;
    let ask = ["eval", "--suite", path(&suite), "--adapter", "mine", "--against", "base", "--json"];
    let here = [&ask[..], &["--local"]].concat();

    let by_daemon = json_of(&hone.cli(&ask)?)?;
    assert_eq!((&by_daemon["adapter"], &by_daemon["against"]), (&id, &json!("base")));
    let beside_it = hone.cli(&here)?;
    assert!(talk_of(&beside_it).contains("in this process: --local"), "{}", talk_of(&beside_it));
    assert_eq!(json_of(&beside_it)?, by_daemon, "one form, the same answers");

    hone.terminate().await?;
    let files = |name: &str| hone.data().join(name).exists();
    assert!(files("hone.db") && !files("hone.db-wal") && !files("hone.db-shm"));
    let nobody = hone.cli(&ask)?;
    assert_eq!(nobody.status.code(), Some(1), "a daemon that was named must be there");
    assert_eq!(json_of(&hone.cli(&here)?)?, by_daemon);
    Ok(())
}

#[tokio::test]
async fn feedback_goes_out_and_comes_back_once() -> Result<()> {
    let hone = Hone::start().await?;
    let answer = hone.chat("hone", "What is 2 + 2?").await?;
    for good in [true, false] {
        hone.thumbs(&answer.id, good).await?;
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("feedback.jsonl");
    let exported = hone.cli(&["feedback", "export", "--out", path(&file)])?;
    assert!(exported.status.success(), "{}", talk_of(&exported));
    let import = || hone.cli(&["feedback", "import", path(&file), "--json"]);
    let back = json_of(&import()?)?;
    assert_eq!(back, json!({"imported": 0, "already_there": 2, "failed": [], "warned": []}));

    let new = json!({"inference_id": answer.id, "metric_name": "score", "value": 0.5});
    let lines = fs_err::read_to_string(&file)?;
    fs_err::write(&file, format!("{{\n{new}\n{lines}"))?;
    let partly = import()?;
    assert_eq!(partly.status.code(), Some(1));
    let told = json_of(&partly)?;
    assert_eq!((&told["imported"], &told["already_there"]), (&json!(1), &json!(2)));
    assert_eq!(told["failed"][0]["line"], 1);
    assert!(talk_of(&partly).contains("line 1: it is not JSON"), "{}", talk_of(&partly));
    let all = hone.get("/v1/feedback").await?.expect(200)?;
    assert_eq!(all["data"].as_array().map(Vec::len), Some(3));
    Ok(())
}

#[tokio::test]
async fn what_comes_next_is_the_daemons_own() -> Result<()> {
    let hone = Hone::builder().config("failures = 7").start().await?;
    let status = json_of(&hone.cli(&["status", "--json"])?)?;
    assert_eq!(status["next"]["enabled"], false);
    assert_eq!((&status["next"]["at"], &status["next"]["failures"]), (&Value::Null, &Value::Null));
    let message = status["next"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("schedule.enabled is false"), "{message}");
    let nobody = hone.cli(&["adapters", "show", "../v1/models"])?;
    assert!(talk_of(&nobody).contains("no adapter `../v1/models`"), "{}", talk_of(&nobody));
    let chat = hone.cli(&["chat", "--adapter", "nope"])?;
    assert_eq!(chat.status.code(), Some(1), "{}", talk_of(&chat));
    Ok(())
}

#[tokio::test]
async fn why_tells_the_last_verdict_though_nothing_changed() -> Result<()> {
    let hone = Hone::start().await?;
    let none = json_of(&hone.cli(&["why", "--json"])?)?;
    let nothing = json!({"adapter": null, "cycle": null, "last_cycle": null, "last_decided": null});
    assert_eq!(none, nothing);
    let cycle = hone.run_cycle().await?;
    let told = hone.cli(&["why"])?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let id = cycle["id"].as_str().unwrap_or_default();
    assert!(text.contains("the base serves"), "{text}");
    assert!(text.contains(&format!("last cycle: {id} skipped: 0 corrected")), "{text}");

    let imported = hone.cli(&["adapters", "import", GOOD, "--name", "mine", "--json"])?;
    let adapter = json_of(&imported)?["id"].clone();
    let promoted = hone.cli(&["adapters", "promote", "mine"])?;
    assert!(promoted.status.success(), "{}", talk_of(&promoted));
    let told = json_of(&hone.cli(&["why", "--json"])?)?;
    assert_eq!((&told["adapter"]["id"], &told["last_cycle"]["id"]), (&adapter, &cycle["id"]));
    let named = json_of(&hone.cli(&["why", "mine", "--json"])?)?;
    assert_eq!((&named["adapter"]["id"], &named["last_cycle"]), (&adapter, &Value::Null));
    Ok(())
}
