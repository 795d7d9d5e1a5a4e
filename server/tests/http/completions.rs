//! `/v1/completions`, `/v1/tokenize`, `/v1/detokenize`.

use serde_json::{Value, json};

use crate::world::World;

fn ask(more: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "prompt": "The sun is a star.", "max_tokens": 4, "temperature": 0,
        "ignore_eos": true,
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[actix_web::test]
async fn text_and_ids_are_the_same_prompt() {
    let world = World::new();
    let tokens = world.post("/v1/tokenize", &json!({"prompt": "The sun is a star."})).await.ok();
    assert_eq!(tokens["count"], tokens["tokens"].as_array().unwrap().len());
    assert_eq!(tokens["max_model_len"], 512);
    let back = world.post("/v1/detokenize", &json!({"tokens": tokens["tokens"]})).await.ok();
    assert_eq!(back, json!({"prompt": "The sun is a star."}));
    let text = world.post("/v1/completions", &ask(json!({}))).await.ok();
    let ids = world.post("/v1/completions", &ask(json!({"prompt": tokens["tokens"]}))).await.ok();
    assert_eq!(text["choices"], ids["choices"]);
    assert_eq!(text["object"], "text_completion");
    assert_eq!(text["choices"][0]["finish_reason"], "length");
    assert_eq!(text["choices"][0]["logprobs"], Value::Null);
    assert_eq!(text["usage"]["completion_tokens"], 4);
}

#[actix_web::test]
async fn a_conversation_is_tokenised_as_it_is_served() {
    let world = World::new();
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let tokens = world.post("/v1/tokenize", &json!({"messages": messages})).await.ok();
    let ask = json!({
        "model": "tiny", "messages": messages, "max_tokens": 1, "return_token_ids": true,
    });
    let answer = world.post("/v1/chat/completions", &ask).await.ok();
    assert_eq!(answer["prompt_token_ids"], tokens["tokens"]);
    let bare = json!({"messages": messages, "add_generation_prompt": false});
    let bare = world.post("/v1/tokenize", &bare).await.ok();
    assert!(bare["count"].as_u64() < tokens["count"].as_u64());
    let vllm = json!({
        "messages": messages, "add_special_tokens": false, "continue_final_message": false,
        "chat_template": null, "chat_template_kwargs": {}, "tools": [],
    });
    assert_eq!(world.post("/v1/tokenize", &vllm).await.ok()["tokens"], tokens["tokens"]);
    let open = json!({"messages": messages, "continue_final_message": true});
    let open = world.post("/v1/tokenize", &open).await.ok();
    assert!(open["count"].as_u64() < bare["count"].as_u64());
    let both = json!({"messages": messages, "continue_final_message": true, "add_generation_prompt": true});
    for (body, param) in [
        (both, "continue_final_message"),
        (json!({}), "prompt"),
        (json!({"messages": []}), "messages"),
        (json!({"prompt": "Hi", "messages": messages}), "messages"),
    ] {
        assert_eq!(world.post("/v1/tokenize", &body).await.error(400)["param"], param, "{body}");
    }
    let error = world.post("/v1/detokenize", &json!({"tokens": [1_000_000]})).await.error(400);
    assert_eq!(error["param"], "tokens");
}

#[actix_web::test]
async fn echo_scores_the_prompt() {
    let world = World::new();
    let body = world.post("/v1/completions", &ask(json!({"echo": true, "logprobs": 1}))).await.ok();
    let choice = &body["choices"][0];
    let log = &choice["logprobs"];
    let count = log["tokens"].as_array().unwrap().len();
    let prompt = body["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(count as u64, prompt + 4);
    assert_eq!((&log["token_logprobs"][0], &log["top_logprobs"][0]), (&Value::Null, &Value::Null));
    let text = choice["text"].as_str().unwrap();
    assert!(text.starts_with("The sun is a star."));
    for at in 1..count {
        let value = log["token_logprobs"][at].as_f64().unwrap();
        let top = log["top_logprobs"][at].as_object().unwrap();
        let own = top[log["tokens"][at].as_str().unwrap()].as_f64().unwrap();
        assert!((own - value).abs() < 1e-6 && value <= 0.0);
        assert!(top.len() == 1 || top.len() == 2);
    }
    let offsets: Vec<_> =
        log["text_offset"].as_array().unwrap().iter().map(Value::as_u64).collect();
    assert!(offsets.is_sorted() && offsets[0] == Some(0));
    assert_eq!(log["tokens"][0].as_str().unwrap().len() as u64, offsets[1].unwrap());

    // The same prompt without echo: the answer's own tokens only, with the same values.
    let plain = world.post("/v1/completions", &ask(json!({"logprobs": 1}))).await.ok();
    let own = plain["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap();
    assert_eq!(own[..], log["token_logprobs"].as_array().unwrap()[count - 4..]);
}

#[actix_web::test]
async fn max_tokens_0_scores_only() {
    let world = World::new();
    let body = ask(json!({"echo": true, "logprobs": 0, "max_tokens": 0}));
    let body = world.post("/v1/completions", &body).await.ok();
    assert_eq!(body["choices"][0]["text"], "The sun is a star.");
    assert_eq!(body["usage"]["completion_tokens"], 0);
    let tokens = body["choices"][0]["logprobs"]["tokens"].as_array().unwrap().len();
    assert_eq!(tokens as u64, body["usage"]["prompt_tokens"].as_u64().unwrap());
}

#[actix_web::test]
async fn many_prompts_are_answered_in_order_and_kept_one_by_one() {
    let world = World::new();
    let body = ask(json!({"prompt": ["One", "Two"], "n": 2, "temperature": 1, "seed": 1}));
    let body = world.post("/v1/completions", &body).await.ok();
    let indexes: Vec<_> = body["choices"].as_array().unwrap().iter().map(|c| &c["index"]).collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
    let log = world.get("/v1/interactions").await.ok();
    let kept = log["data"].as_array().unwrap();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0]["id"], body["id"]);
    assert_eq!(kept[1]["messages"][0]["content"], "Two");
    assert_eq!(kept[1]["answers"][0]["text"], body["choices"][2]["text"]);
    assert_eq!(kept[0]["endpoint"], "completion");
    assert_eq!(kept[0]["trainable"], false, "nobody can say which of them feedback means");
}
