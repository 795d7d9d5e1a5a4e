//! 200 promotions and rollbacks while eight clients ask.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use hone_tests::{Hone, workload};
use serde_json::json;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");

/// An adapter like the golden one whose weights are scaled, so that it answers differently.
fn scaled(from: &Path, to: &Path, factor: f32) -> Result<()> {
    fs_err::create_dir_all(to)?;
    fs_err::copy(from.join("adapter_config.json"), to.join("adapter_config.json"))?;
    let mut bytes = fs_err::read(from.join("adapter_model.safetensors"))?;
    let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into()?))?;
    for value in bytes[8 + header..].chunks_exact_mut(4) {
        let scaled = f32::from_le_bytes(value.try_into()?) * factor;
        value.copy_from_slice(&scaled.to_le_bytes());
    }
    Ok(fs_err::write(to.join("adapter_model.safetensors"), bytes)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_equals_the_greedy_answer_of_the_adapter_it_names() -> Result<()> {
    let hone = Hone::start().await?;
    let questions: Vec<String> = workload::rows("control_facts", "heldout")?
        .iter()
        .take(6)
        .filter_map(|row| row["messages"][0]["content"].as_str().map(str::to_owned))
        .collect();
    let mut adapters = vec![];
    for (name, factor) in [("one", 1.0), ("two", 0.7)] {
        scaled(Path::new(GOLDEN), &hone.drop_folder().join(name), factor)?;
        let body = json!({"lora_name": name, "lora_path": name});
        hone.post("/v1/load_lora_adapter", &body).await?.expect(200)?;
        let view = hone.get(&format!("/v1/adapters/{name}")).await?.expect(200)?;
        adapters.push(view["id"].as_str().context("no id")?.to_owned());
    }

    // What each adapter says, alone.
    let mut expected = BTreeMap::new();
    for (model, adapter) in
        [("hone:base", "base"), ("one", adapters[0].as_str()), ("two", adapters[1].as_str())]
    {
        for question in &questions {
            let answer = hone.chat(model, question).await?;
            ensure!(answer.adapter == adapter, "{model} was answered by {}", answer.adapter);
            expected.insert((adapter.to_owned(), question.clone()), answer.text);
        }
    }
    let texts: std::collections::BTreeSet<_> = expected.values().collect();
    ensure!(texts.len() > questions.len(), "the adapters do not differ");

    let stop = AtomicBool::new(false);
    let client = async |number: usize| -> Result<usize> {
        let mut asked = 0;
        while !stop.load(Ordering::Relaxed) {
            let question = &questions[(number + asked) % questions.len()];
            let answer = hone.chat("hone", question).await?;
            let key = (answer.adapter.clone(), question.clone());
            ensure!(
                expected.get(&key) == Some(&answer.text),
                "{key:?}: {:?} instead of {:?}",
                answer.text,
                expected.get(&key)
            );
            asked += 1;
        }
        Ok(asked)
    };
    let clients = futures_util::future::try_join_all((0..8).map(client));
    let swaps = async {
        let mut epoch = 0;
        for swap in 0..200 {
            let view = if swap % 4 == 3 {
                hone.post("/v1/adapters/rollback", &json!({})).await?.expect(200)?
            } else {
                let path = format!("/v1/adapters/{}/promote", adapters[swap % 2]);
                hone.post(&path, &json!({})).await?.expect(200)?
            };
            let now = view["epoch"].as_u64().context("no epoch")?;
            ensure!(now >= epoch, "the epoch fell from {epoch} to {now}");
            epoch = now;
        }
        stop.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    let (clients, swaps) = tokio::join!(clients, swaps);
    stop.store(true, Ordering::Relaxed);
    swaps?;
    let asked: usize = clients?.into_iter().sum();
    ensure!(asked >= 100, "only {asked} answers during 200 swaps");

    // A swap that expects another adapter than the live one changes nothing.
    let live = hone.get("/v1/adapters/live").await?.expect(200)?["id"].clone();
    let wrong = adapters.iter().find(|id| live != **id).context("one adapter")?;
    let body = json!({"expected_live": wrong});
    let reply = hone.post(&format!("/v1/adapters/{wrong}/promote"), &body).await?;
    assert_eq!(reply.status, 409, "{}", reply.body);
    assert_eq!(reply.header("x-should-retry"), "false");
    assert_eq!(hone.get("/v1/adapters/live").await?.expect(200)?["id"], live);
    Ok(())
}
