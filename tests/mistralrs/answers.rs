//! What it answers, whole and streamed, and that Hone's own parameters hold.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use hone_tests::Hone;
use serde_json::{Value, json};

use crate::starcoder2::{TOKENS, daemon, golden, pieces, settings, text_of};

#[tokio::test]
async fn greedy_answers_are_those_of_transformers_whole_and_streamed() -> Result<()> {
    let hone = daemon().await?;
    for known in golden("base")? {
        let mut body = known.body("starcoder2");
        let reply = hone.post(known.endpoint(), &body).await?;
        assert_eq!(reply.header("x-hone-adapter"), "base");
        let whole = reply.expect(200)?;
        assert_eq!(text_of(&whole), known.text, "{known:?}");
        assert_eq!(whole["choices"][0]["finish_reason"], "length");
        assert_eq!(whole["usage"]["prompt_tokens"], known.prompt_tokens);
        assert_eq!(whole["usage"]["completion_tokens"], TOKENS);
        body["stream"] = json!(true);
        let request = hone.http().post(hone.at(known.endpoint())).json(&body);
        let streamed = request.send().await?.error_for_status()?.text().await?;
        assert!(streamed.ends_with("data: [DONE]\n\n"), "{streamed}");
        assert_eq!(pieces(&streamed), known.text);
        assert!(streamed.matches("data: ").count() > 10, "it comes in pieces");
    }
    Ok(())
}

#[tokio::test]
async fn answers_that_are_asked_for_together_are_the_same() -> Result<()> {
    let hone = daemon().await?;
    let known = golden("base")?;
    let rounds = known.iter().cycle().take(12).map(|known| {
        let hone = &hone;
        async move {
            let body = hone.post(known.endpoint(), &known.body("hone")).await?.expect(200)?;
            anyhow::ensure!(text_of(&body) == known.text, "{known:?}: {body}");
            anyhow::Ok(())
        }
    });
    try_join_all(rounds).await?;
    Ok(())
}

#[tokio::test]
async fn both_engines_agree_on_a_family_that_both_know() -> Result<()> {
    let starter = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/starter");
    let question = json!([{"role": "user", "content": "A farmer has 12 cows and buys 7 more. How many cows does he have?"}]);
    let body = json!({"model": "hone", "messages": question, "temperature": 0, "max_tokens": 40, "logprobs": true});
    let mut answers = Vec::new();
    for kind in ["hone", "mistralrs"] {
        let config =
            format!("[model]\nsource = {starter:?}\nweights = \"f32\"\n[engine]\nkind = {kind:?}");
        let hone = Hone::builder().config(&config).start().await?;
        assert_eq!(hone.get("/v1/models/hone").await?.expect(200)?["engine"], kind);
        let answer = hone.post("/v1/chat/completions", &body).await?.expect(200)?;
        let scores = answer["choices"][0]["logprobs"]["content"].as_array().context("scores")?;
        let scores: Vec<f64> =
            scores.iter().filter_map(|score| score["logprob"].as_f64()).collect();
        answers.push((text_of(&answer).to_owned(), answer["usage"].clone(), scores));
    }
    let [(own, own_usage, own_scores), (other, usage, scores)] = answers.as_slice() else {
        anyhow::bail!("two answers")
    };
    assert!(own.contains("19"), "{own}");
    assert_eq!((own, own_usage), (other, usage));
    let worst = own_scores.iter().zip(scores).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(own_scores.len() == scores.len() && worst < 1e-3, "{own_scores:?} {scores:?}");
    Ok(())
}

#[tokio::test]
async fn weights_in_fewer_bits_answer_too() -> Result<()> {
    for weights in ["q8", "q4", "auto"] {
        let config = settings().replace("\"f32\"", &format!("{weights:?}"));
        let hone = Hone::builder().config(&config).start().await?;
        // Random weights draw the end token now and then.
        let body = json!({"model": "starcoder2", "prompt": "the quick brown", "max_tokens": 5, "ignore_eos": true});
        let body = hone.post("/v1/completions", &body).await?.expect(200)?;
        assert_eq!(body["usage"]["completion_tokens"], 5, "{weights}: {body}");
    }
    Ok(())
}

#[tokio::test]
async fn parameters_that_steer_an_answer_are_hones() -> Result<()> {
    let hone = daemon().await?;
    let known = &golden("base")?[0];
    let ask = async |changes: Value| -> Result<Value> {
        let mut body = known.body("starcoder2");
        for (key, value) in changes.as_object().context("an object")? {
            body[key] = value.clone();
        }
        hone.post("/v1/chat/completions", &body).await?.expect(200)
    };
    // A stop string, which is no part of the text.
    let stop = &known.text[6..9];
    let stopped = ask(json!({"stop": [stop]})).await?;
    assert_eq!(text_of(&stopped), &known.text[..known.text.find(stop).context("it is there")?]);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    // The end token, made the likeliest.
    let ended = ask(json!({"logit_bias": {"0": 100}})).await?;
    assert_eq!((text_of(&ended), &ended["choices"][0]["finish_reason"]), ("", &json!("stop")));
    assert_eq!(ended["usage"]["completion_tokens"], 1);
    let goes_on = ask(json!({"logit_bias": {"0": 100}, "ignore_eos": true})).await?;
    assert_eq!(goes_on["usage"]["completion_tokens"], TOKENS);
    // A schema: random weights would hardly ever answer one.
    let schema = json!({"type": "json_schema", "json_schema": {"name": "colour", "strict": true,
        "schema": {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}},
            "required": ["colour"], "additionalProperties": false}}});
    let held = ask(json!({"response_format": schema, "max_tokens": 60})).await?;
    let value: Value = serde_json::from_str(text_of(&held))?;
    assert!(value["colour"] == "red" || value["colour"] == "blue", "{held}");
    // Log-probabilities: the greedy token is the likeliest.
    let scored = ask(json!({"logprobs": true, "top_logprobs": 3, "max_tokens": 4})).await?;
    let tokens = scored["choices"][0]["logprobs"]["content"].as_array().context("scores")?;
    assert_eq!(tokens.len(), 4);
    for token in tokens {
        assert_eq!(token["top_logprobs"][0]["token"], token["token"]);
        assert!(token["logprob"].as_f64().is_some_and(|score| score < 0.0));
    }
    // A seed gives the same answer again, and two seeds do not.
    let drawn = async |seed: u64| -> Result<String> {
        Ok(text_of(&ask(json!({"temperature": 1.5, "seed": seed})).await?).to_owned())
    };
    assert_eq!(drawn(1).await?, drawn(1).await?);
    let different = BTreeSet::from([drawn(1).await?, drawn(2).await?, drawn(3).await?]);
    assert!(different.len() > 1, "{different:?}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() -> Result<()> {
    let config = format!("{}\n[engine]\nmax_sequences = 1", settings());
    let hone = Hone::builder().config(&config).start().await?;
    let endless = json!({"model": "starcoder2", "prompt": "Once upon a time", "max_tokens": 4000,
        "ignore_eos": true, "stream": true});
    let request = hone.http().post(hone.at("/v1/completions")).json(&endless);
    let mut stream = request.send().await?.error_for_status()?.bytes_stream();
    stream.next().await.context("no first chunk")??;
    drop(stream);
    let known = &golden("base")?[2];
    let body = hone.post(known.endpoint(), &known.body("starcoder2")).await?.expect(200)?;
    assert_eq!(text_of(&body), known.text);
    let metrics = hone.get("/metrics").await?.expect(200)?;
    let cancelled = r#"hone_answers_total{finished_reason="cancelled"} 1"#;
    assert!(metrics.as_str().is_some_and(|text| text.contains(cancelled)));
    Ok(())
}
