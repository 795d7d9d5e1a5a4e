//! Whole answers of `/v1/chat/completions`.

use anyhow::Result;
use hone_tests::Hone;
use serde_json::{Value, json};

#[tokio::test]
async fn an_answer_has_all_of_openais_fields() -> Result<()> {
    let hone = Hone::start().await?;
    let body = json!({
        "model": "hone", "temperature": 0,
        "messages": [{"role": "user", "content": "922 times 8?"}],
    });
    let reply = hone.post("/v1/chat/completions", &body).await?;
    assert_eq!(reply.header("x-hone-adapter"), "base");
    assert!(!reply.header("x-request-id").is_empty());
    let body = reply.expect(200)?;
    assert_eq!(body["object"], "chat.completion");
    assert!(body["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl-")), "{body}");
    assert!(body["system_fingerprint"].as_str().is_some_and(|f| f.starts_with("hone-")), "{body}");
    assert!(body["created"].is_i64());
    let choice = &body["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["message"]["content"], "922 * 8 = 7376");
    assert_eq!(choice["finish_reason"], "stop");
    let usage = &body["usage"];
    let (prompt, answer) = (usage["prompt_tokens"].as_u64(), usage["completion_tokens"].as_u64());
    assert_eq!(prompt, Some(15));
    assert_eq!(usage["total_tokens"].as_u64(), prompt.zip(answer).map(|(p, a)| p + a));
    Ok(())
}

#[tokio::test]
async fn parameters_shape_the_answer() -> Result<()> {
    let hone = Hone::start().await?;
    let ask = async |more: serde_json::Value| -> Result<serde_json::Value> {
        let mut body = json!({
            "model": "hone", "messages": [{"role": "user", "content": "Tell me about the sun."}],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        hone.post("/v1/chat/completions", &body).await?.expect(200)
    };

    let short = ask(json!({"temperature": 0, "max_tokens": 3})).await?;
    assert_eq!(short["choices"][0]["finish_reason"], "length");
    assert_eq!(short["usage"]["completion_tokens"], 3);

    let seeded = json!({"temperature": 1.5, "seed": 7, "max_tokens": 24});
    let (first, second) = (ask(seeded.clone()).await?, ask(seeded).await?);
    assert_eq!(first["choices"][0]["message"], second["choices"][0]["message"]);

    let several = ask(json!({"n": 3, "temperature": 2, "seed": 1, "max_tokens": 16})).await?;
    let choices = several["choices"].as_array().cloned().unwrap_or_default();
    assert_eq!(
        choices.iter().map(|c| c["index"].as_u64()).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2)]
    );
    let first = &choices[0]["message"];
    assert!(choices.iter().any(|c| c["message"] != *first), "each choice is sampled by itself");

    let whole = ask(json!({"temperature": 0})).await?;
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
    let word = text.split_whitespace().nth(2).unwrap_or_default().to_owned();
    let stopped = ask(json!({"temperature": 0, "stop": [word]})).await?;
    let stopped_text = stopped["choices"][0]["message"]["content"].as_str().unwrap_or_default();
    assert!(text.starts_with(stopped_text) && !stopped_text.contains(&word), "{stopped_text:?}");
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");

    let log = ask(json!({"temperature": 0, "logprobs": true, "top_logprobs": 2})).await?;
    let content = log["choices"][0]["logprobs"]["content"].as_array().cloned().unwrap_or_default();
    assert_eq!(content[0]["top_logprobs"].as_array().map(Vec::len), Some(2));
    assert!(content.iter().all(|token| token["logprob"].as_f64().is_some_and(|l| l <= 0.0)));
    Ok(())
}

#[tokio::test]
async fn unknown_fields_are_named_and_unsupported_ones_refused() -> Result<()> {
    let hone = Hone::start().await?;
    let mut body = json!({
        "model": "hone", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2,
        "sparkle": true,
    });
    let reply = hone.post("/v1/chat/completions", &body).await?;
    assert_eq!(reply.header("x-hone-ignored"), "sparkle");
    reply.expect(200)?;

    body["use_beam_search"] = json!(true);
    let error = hone.post("/v1/chat/completions", &body).await?.expect(400)?;
    assert_eq!(error["error"]["param"], "use_beam_search");
    Ok(())
}

#[tokio::test]
async fn answers_follow_their_schema_and_calls_are_logged() -> Result<()> {
    let hone = Hone::start().await?;
    let parameters = json!({"type": "object", "properties": {"city": {"enum": ["Oslo", "Bern"]}},
        "required": ["city"]});
    let tool =
        json!({"type": "function", "function": {"name": "weather", "parameters": parameters}});
    let ask = |more: Value| {
        let mut body = json!({
            "model": "hone", "messages": [{"role": "user", "content": "Is it cold in Oslo?"}],
            "max_tokens": 100,
        });
        body.as_object_mut()
            .into_iter()
            .for_each(|all| all.extend(more.as_object().cloned().unwrap_or_default()));
        body
    };
    let schema = json!({"type": "json_schema", "json_schema": {"name": "s", "strict": true, "schema":
        {"type": "object", "properties": {"cold": {"type": "boolean"}}, "required": ["cold"]}}});
    for temperature in [0, 1] {
        let body = ask(json!({"response_format": schema, "temperature": temperature, "n": 2}));
        let answer = hone.post("/v1/chat/completions", &body).await?.expect(200)?;
        for choice in answer["choices"].as_array().into_iter().flatten() {
            let text = choice["message"]["content"].as_str().unwrap_or_default();
            let value: Value = serde_json::from_str(text)?;
            assert!(value["cold"].is_boolean() && choice["finish_reason"] == "stop", "{choice}");
        }
        let body =
            ask(json!({"tools": [tool], "tool_choice": "required", "parallel_tool_calls": false,
            "temperature": temperature}));
        let answer = hone.post("/v1/chat/completions", &body).await?.expect(200)?;
        let choice = &answer["choices"][0];
        assert_eq!(
            (&choice["finish_reason"], &choice["message"]["content"]),
            (&json!("tool_calls"), &Value::Null)
        );
        let call = &choice["message"]["tool_calls"][0];
        let arguments: Value =
            serde_json::from_str(call["function"]["arguments"].as_str().unwrap_or_default())?;
        assert!(arguments["city"] == "Oslo" || arguments["city"] == "Bern", "{call}");
        let id = answer["id"].as_str().unwrap_or_default();
        let kept = hone.get(&format!("/v1/interactions/{id}")).await?.expect(200)?;
        assert_eq!(&kept["answers"][0]["tool_calls"][0], call, "{kept}");
        assert_eq!(kept["tools"][0], tool);
    }
    Ok(())
}
