//! What a person wants gone is gone: from every file, and, after one cycle, from what serves.

use anyhow::{Context, Result, ensure};
use hone_tests::Hone;
use hone_tests::files::{copy, holding};
use serde_json::{Value, json};

/// What nobody but Ann ever wrote, wherever a person can write something.
const PLANTED: [&str; 7] = [
    "Zebulon",
    "Quixotry-4931",
    "Lapislazuli",
    "ann-of-marzipan",
    "Xylographer",
    "Thunderplum",
    "Wobbegong",
];

/// Three facts of hers, in her own words, with a label, a remark, a note on the request, and a chat of which nobody
/// said anything. Returns the answers' ids.
async fn ann_speaks(hone: &Hone) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for place in ["cellar", "attic", "garden"] {
        let question = format!("What is the code of Zebulon's {place}?");
        let answer = ask(hone, &question).await?;
        let tags = json!({"family": "Lapislazuli"});
        let fix = json!(format!("The code of the {place} is Quixotry-4931."));
        say(hone, &answer, "demonstration", fix, tags).await?;
        say(hone, &answer, "comment", json!("Thunderplum!"), json!({})).await?;
        ids.push(answer);
    }
    ids.push(ask(hone, "Tell me a Wobbegong joke").await?);
    Ok(ids)
}

async fn ask(hone: &Hone, question: &str) -> Result<String> {
    let body = json!({
        "model": "hone", "messages": [{"role": "user", "content": question}], "temperature": 0,
        "max_tokens": 64, "user": "ann-of-marzipan", "metadata": {"project": "Xylographer"},
    });
    let body = hone.post("/v1/chat/completions", &body).await?.expect(200)?;
    Ok(body["id"].as_str().context("no id")?.to_owned())
}

async fn say(hone: &Hone, id: &str, metric: &str, value: Value, tags: Value) -> Result<()> {
    let body = json!({
        "inference_id": id, "metric_name": metric, "value": value, "tags": tags,
        "user": "ann-of-marzipan",
    });
    hone.post("/v1/feedback", &body).await?.expect(201).map(drop)
}

/// What is compared of two candidates: their data and their weights.
async fn made(hone: &Hone, cycle: &Value) -> Result<(Value, Value)> {
    let id = cycle["candidate"].as_str().with_context(|| format!("no candidate: {cycle}"))?;
    let view = hone.get(&format!("/v1/adapters/{id}")).await?.expect(200)?;
    Ok((cycle["snapshot"].clone(), view["digest"].clone()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_person_leaves_no_trace_and_teaches_nothing() -> Result<()> {
    // What must stay is rehearsed and guarded elsewhere; without it a cycle takes seconds.
    let config = "[evaluation]\nsuites = []\n[training]\nkl_weight = 0.0\nepochs = 2";
    let mut hone = Hone::builder().config(config).start().await?;
    hone.correct("house_format", 40).await?;
    // The same daemon in another life, in which Ann never came.
    hone.terminate().await?;
    let mut without = Hone::builder().config(config).start().await?;
    without.terminate().await?;
    fs_err::remove_dir_all(without.data())?;
    copy(&hone.data(), &without.data())?;

    hone.restart().await?;
    let ids = ann_speaks(&hone).await?;
    let taught = hone.run_cycle().await?;
    assert_eq!(taught["verdict"], "promoted", "{taught}");
    for text in PLANTED.iter().filter(|text| **text != "ann-of-marzipan") {
        ensure!(!holding(&hone.data(), text)?.is_empty(), "{text} was never there");
    }

    let told = hone.cli(&["recall", "--user", "ann-of-marzipan", "--json"])?;
    let recall: Value = serde_json::from_slice(&told.stdout)?;
    assert_eq!((&recall["interactions"], &recall["feedback"]), (&json!(4), &json!(6)));
    assert_eq!(recall["snapshots"][0]["hash"], taught["snapshot"]);
    assert_eq!(recall["adapters"][0]["id"], taught["candidate"]);

    // Another cycle works on it at that moment: it is stopped and begins anew.
    let running = hone.start_cycle().await?;
    let erased = hone.cli(&["erase", "--user", "ann-of-marzipan", "--json"])?;
    ensure!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    let receipt: Value = serde_json::from_slice(&erased.stdout)?;
    assert_eq!(receipt["removed"]["interactions"], 4, "{receipt}");
    assert_eq!(receipt["removed"]["feedback"], 6, "{receipt}");
    ensure!(receipt["removed"]["snapshot_rows"].as_u64() >= Some(3), "{receipt}");
    assert_eq!(receipt["adapters"][0]["id"], taught["candidate"], "{receipt}");
    assert_eq!(receipt["adapters"][0]["state"], "live", "{receipt}");
    for id in &ids {
        assert_eq!(hone.get(&format!("/v1/interactions/{id}")).await?.status, 404);
    }

    let stopped = hone.cycle_end(running["id"].as_str().context("no id")?).await?;
    let again = hone.get("/v1/cycles?limit=1&order=desc").await?.expect(200)?;
    let again = again["data"][0]["id"].as_str().context("no id")?.to_owned();
    let retrained = hone.cycle_end(&again).await?;
    assert_eq!(retrained["status"], "finished", "after {stopped}: {retrained}");

    // Killed and started again, so that nothing is left that only waited to be written or swept.
    hone.kill()?;
    hone.restart().await?;
    for text in PLANTED {
        let found = holding(&hone.data(), text)?;
        ensure!(found.is_empty(), "{text} is left in {found:?}");
    }
    let live = hone.get("/v1/adapters?limit=100").await?.expect(200)?;
    ensure!(!live.to_string().contains(taught["candidate"].as_str().context("no id")?), "{live}");
    let recall = hone.cli(&["recall", "--interaction", &ids[0], "--json"])?;
    let recall: Value = serde_json::from_slice(&recall.stdout)?;
    assert_eq!((&recall["interactions"], &recall["adapters"]), (&json!(0), &json!([])));

    // Trained on the same rows, from the same place, to the last bit.
    without.restart().await?;
    let never = without.run_cycle().await?;
    assert_eq!(made(&hone, &retrained).await?, made(&without, &never).await?);
    assert_eq!(retrained["verdict"], never["verdict"], "{retrained}");
    Ok(())
}
