//! Requests one change away from a good one, to every route: none is a fault of the daemon's own, none hangs, and what
//! is no request is not taken for one.

use std::io::Write;

use anyhow::{Context, Result, bail, ensure};
use hone_tests::Hone;
use serde_json::{Value, json};

use super::request::{Expected, Mutant};
use super::times;

const COUNT: u64 = 300;
/// An id of each kind that there is none of.
const NOBODY: &str = "01980000-0000-7000-8000-000000000000";

#[tokio::test]
async fn no_mutant_is_more_than_refused() -> Result<()> {
    let hone = Hone::start().await?;
    let address = hone.at("").replace("http://", "");
    let made = hone.post("/v1/keys", &json!({"name": "root", "scopes": ["admin"]})).await?;
    let made = made.expect(201)?;
    let key = made["key"].as_str().context("no key")?;
    let question = json!({
        "model": "hone", "temperature": 0, "max_tokens": 16,
        "messages": [{"role": "user", "content": "922 times 8?"}],
    });
    let ask = Mutant::good("POST", "/v1/chat/completions", key, Some(&question));
    let said = |answer: Option<(u16, String)>| -> Result<Value> {
        let (status, body) = answer.context("no answer")?;
        ensure!(status == 200, "{status}: {body}");
        let body: Value = serde_json::from_str(&body)?;
        Ok(json!([body["choices"], body["id"].is_string()]))
    };
    let before = said(ask.send(&address).await?)?;

    let routes = routes(key, &address).await?;
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..COUNT * times() {
        let good = &routes[usize::try_from(seed)? % routes.len()];
        let mutant = good.clone().changed(seed);
        let answer = mutant
            .send(&address)
            .await
            .with_context(|| format!("mutant {seed}: {mutant:.600?}"))?;
        let told = || format!("mutant {seed}: {mutant:.600?}\n{answer:.600?}");
        match (answer.as_ref().map(|(status, _)| *status), mutant.expected) {
            (None, Expected::Anything) | (Some(400..500), _) => refused += 1,
            (Some(200..400), Expected::Answer | Expected::Anything) => taken += 1,
            _ => bail!("{}", told()),
        }
        if let Some((400..500, body)) = &answer
            && mutant.expected == Expected::Refusal
        {
            ensure!(body.contains("\"message\""), "it is not told why: {}", told());
        }
    }
    // For whoever runs it by hand.
    let _ = writeln!(std::io::stderr(), "{refused} requests refused, {taken} taken");
    ensure!(refused > COUNT / 3 && taken > COUNT / 20, "{refused} refused, {taken} taken");
    assert_eq!(said(ask.send(&address).await?)?, before);
    let log = hone.log()?;
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// A good request of each method of each path that the API describes.
async fn routes(key: &str, address: &str) -> Result<Vec<Mutant>> {
    let described = Mutant::good("GET", "/openapi.json", key, None).send(address).await?;
    let (_, described) = described.context("no answer")?;
    let described: Value = serde_json::from_str(&described)?;
    let mut routes = Vec::new();
    for (path, methods) in described["paths"].as_object().context("no paths")? {
        for method in methods.as_object().context("no methods")?.keys() {
            let body = match method.as_str() {
                "post" => Some(body(path).with_context(|| format!("no good body for {path}"))?),
                _ => None,
            };
            let prefix = ["cycles", "evals", "keys", "adapters", "models"];
            let kind = prefix.iter().find(|kind| path.contains(*kind)).copied().unwrap_or_default();
            let id = match kind {
                "cycles" => format!("cy-{NOBODY}"),
                "evals" => format!("run-{NOBODY}"),
                "adapters" | "models" => "nobody".to_owned(),
                "keys" => "0123456789ab".to_owned(),
                _ => NOBODY.to_owned(),
            };
            let path =
                path.replace("{id}", &id).replace("{ref}", "nobody").replace("{user}", "ann");
            routes.push(Mutant::good(&method.to_uppercase(), &path, key, body.as_ref()));
        }
    }
    Ok(routes)
}

/// A body that the route takes.
fn body(path: &str) -> Option<Value> {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    Some(match path {
        "/v1/chat/completions" => json!({
            "model": "hone", "messages": messages, "max_tokens": 2, "temperature": 0.5, "top_p": 0.9,
            "n": 1, "seed": 7, "stream": false, "logprobs": true, "top_logprobs": 2, "stop": ["x"],
            "logit_bias": {"5": 1}, "user": "ann", "metadata": {"a": "b"}, "store": true,
            "frequency_penalty": 0.1,
        }),
        "/v1/chat/completions/{id}" => json!({"metadata": {"a": "b"}}),
        "/v1/completions" => json!({
            "model": "hone", "prompt": "One,", "max_tokens": 2, "echo": true, "logprobs": 1, "stream": false,
        }),
        "/v1/embeddings" => json!({
            "model": "hone", "input": ["One", "Two"], "encoding_format": "base64", "dimensions": 512, "user": "ann",
        }),
        "/v1/responses" => json!({
            "model": "hone", "input": [{"role": "user", "content": "Hi"}], "instructions": "Be brief.",
            "max_output_tokens": 2, "temperature": 0.5, "top_p": 0.9, "seed": 7, "stream": false, "store": true,
            "metadata": {"a": "b"}, "user": "ann", "text": {"format": {"type": "text"}}, "truncation": "disabled",
            "parallel_tool_calls": false,
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        }),
        "/v1/tokenize" | "/tokenize" => {
            json!({"model": "hone", "prompt": "One", "return_token_strs": true})
        }
        "/v1/detokenize" | "/detokenize" => json!({"model": "hone", "tokens": [9, 10]}),
        "/v1/feedback" | "/feedback" => json!({
            "inference_id": NOBODY, "metric_name": "thumbs", "value": true, "tags": {"a": "b"},
        }),
        "/v1/feedback/waiting/{id}/discard"
        | "/v1/interactions/{id}/replay"
        | "/v1/cycles"
        | "/v1/cycles/{id}/cancel" => json!({}),
        "/v1/adapters" => json!({"folder": "nobody", "name": "x"}),
        "/v1/adapters/rollback" => {
            json!({"to": "base", "expected_live": "base", "reason": "a test"})
        }
        "/v1/adapters/{ref}/promote" => json!({"expected_live": "base", "reason": "a test"}),
        "/v1/load_lora_adapter" => {
            json!({"lora_name": "x", "lora_path": "nobody", "load_inplace": false})
        }
        "/v1/unload_lora_adapter" => json!({"lora_name": "x"}),
        "/v1/evals" => json!({
            "suite": "mine", "adapter": "base", "limit": 1,
            "lines": "{\"messages\":[{\"role\":\"user\",\"content\":\"1+1\"}],\"reference\":\"2\"}",
        }),
        "/v1/keys" => json!({"name": "app", "scopes": ["chat"], "limits": {"max_streams": 2}}),
        _ => return None,
    })
}
