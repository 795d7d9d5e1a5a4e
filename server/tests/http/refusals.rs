//! Bad input: each a clear 4xx that names its fault.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::world::World;

const CHAT: &str = "/v1/chat/completions";

#[actix_web::test]
async fn a_wrong_field_is_named() {
    let world = World::new();
    let with = |field: &str, value: Value| {
        let mut body = json!({
            "model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2,
        });
        body[field] = value;
        body
    };
    let turn = |message: Value| with("messages", json!([message]));
    let image = json!([{"type": "image_url", "image_url": {"url": "http://x"}}]);
    for (body, param) in [
        (with("model", Value::Null), "model"),
        (with("model", json!(7)), "model"),
        (with("messages", Value::Null), "messages"),
        (with("messages", json!([])), "messages"),
        (with("messages", json!("Hi")), "messages"),
        (turn(json!("Hi")), "messages[0]"),
        (turn(json!({"content": "Hi"})), "messages[0].role"),
        (turn(json!({"role": "wizard", "content": "Hi"})), "messages[0].role"),
        (turn(json!({"role": "tool", "content": "Hi"})), "messages[0].tool_call_id"),
        (turn(json!({"role": "user"})), "messages[0].content"),
        (turn(json!({"role": "user", "content": 7})), "messages[0].content"),
        (turn(json!({"role": "user", "content": image})), "messages[0].content[0].type"),
        (with("temperature", json!(-1)), "temperature"),
        (with("temperature", json!(2.1)), "temperature"),
        (with("temperature", json!("warm")), "temperature"),
        (with("top_p", json!(1.5)), "top_p"),
        (with("top_k", json!(-2)), "top_k"),
        (with("min_p", json!(-0.1)), "min_p"),
        (with("presence_penalty", json!(3)), "presence_penalty"),
        (with("repetition_penalty", json!(0)), "repetition_penalty"),
        (with("max_tokens", json!(0)), "max_tokens"),
        (with("max_tokens", json!(1.5)), "max_tokens"),
        (with("max_completion_tokens", json!(-3)), "max_completion_tokens"),
        (with("max_tokens", json!(100_000)), "max_tokens"),
        (with("n", json!(0)), "n"),
        (with("n", json!(129)), "n"),
        (with("seed", json!("x")), "seed"),
        (with("stop", json!(["a", "b", "c", "d", "e"])), "stop"),
        (with("stop", json!([""])), "stop"),
        (with("stop", json!(7)), "stop"),
        (with("top_logprobs", json!(2)), "top_logprobs"),
        (with("top_logprobs", json!(99)), "top_logprobs"),
        (with("logit_bias", json!({"abc": 1})), "logit_bias"),
        (with("logit_bias", json!({"5": 101})), "logit_bias"),
        (with("logit_bias", json!({"99999": 1})), "logit_bias"),
        (with("stream_options", json!({"include_usage": true})), "stream_options"),
        (with("metadata", json!({"a": 1})), "metadata"),
        (with("metadata", json!([])), "metadata"),
        (with("metadata", json!({"a": "x".repeat(513)})), "metadata"),
        (with("store", json!("yes")), "store"),
        (with("tool_choice", json!("required")), "tool_choice"),
        (with("tools", json!([{"type": "web_search"}])), "tools[0].type"),
        (with("response_format", json!({"type": "xml"})), "response_format.type"),
        (with("guided_regex", json!("(")), "guided_regex"),
        (with("guided_regex", json!("a(?=b)")), "guided_regex"),
        (with("guided_grammar", json!("root ::= \"a\"")), "guided_grammar"),
        (with("guided_json", json!({"type": "array", "uniqueItems": true})), "guided_json"),
        (with("stop_token_ids", json!([99_999])), "stop_token_ids"),
        (with("allowed_token_ids", json!([])), "allowed_token_ids"),
        (with("bad_words", json!([""])), "bad_words"),
        (with("truncate_prompt_tokens", json!(0)), "truncate_prompt_tokens"),
    ] {
        let error = world.post(CHAT, &body).await.error(400);
        assert_eq!(error["param"], param, "{error}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().len() > 8);
    }
}

#[actix_web::test]
async fn what_is_not_supported_is_refused_by_name() {
    let world = World::new();
    for (field, value) in [
        ("functions", json!([{"name": "f"}])),
        ("function_call", json!({"name": "f"})),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({"voice": "x"})),
        ("web_search_options", json!({})),
        ("use_beam_search", json!(true)),
        ("chat_template_kwargs", json!({"enable_thinking": false})),
        ("mirostat", json!(2)),
    ] {
        let mut body = json!({"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]});
        body[field] = value;
        let error = world.post(CHAT, &body).await.error(400);
        assert_eq!(error["param"], field);
        assert_eq!(error["code"], "unsupported_parameter");
    }
    for (field, value) in [("suffix", json!("x")), ("best_of", json!(3))] {
        let mut body = json!({"model": "tiny", "prompt": "Hi"});
        body[field] = value;
        assert_eq!(world.post("/v1/completions", &body).await.error(400)["param"], field);
    }
}

#[actix_web::test]
async fn a_prompt_longer_than_the_context_is_refused() {
    let world = World::new();
    let long = "word ".repeat(700);
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": long}]});
    let error = world.post(CHAT, &chat).await.error(400);
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("context_length_exceeded"), &json!("messages"))
    );
    let text = json!({"model": "tiny", "prompt": long});
    let error = world.post("/v1/completions", &text).await.error(400);
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("context_length_exceeded"), &json!("prompt"))
    );
}

#[actix_web::test]
async fn what_is_not_even_json_says_where() {
    let world = World::new();
    for text in ["", "{", "[]", "nonsense", "{\"model\": \"tiny\"", "\0", "{\"model\":NaN}", "7"] {
        let error = world.post_raw(CHAT, text).await.error(400);
        assert_eq!(error["type"], "invalid_request_error", "{text:?}");
    }
    let error = world.post_raw(CHAT, "{\n  \"model\": oops}").await.error(400);
    assert!(error["message"].as_str().unwrap().contains("line 2 column"), "{error}");
    world.post_raw(CHAT, "{\"model\": \"tiny\", \"temperature\": 1e999}").await.error(400);
    world.post_raw(CHAT, "[".repeat(50_000)).await.error(400);
    let error = world.post_raw(CHAT, " ".repeat(70 << 10)).await.error(413);
    assert_eq!(error["code"], "request_too_large");
    // Any content type will do, as long as it is JSON.
    let body =
        json!({"model": "tiny", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]});
    world.post_raw(CHAT, body.to_string()).await.ok();
    for (encoding, status) in [("identity", 200), ("gzip", 415), ("mine", 415)] {
        let request = TestRequest::post().uri(CHAT).insert_header(("content-encoding", encoding));
        let reply = world.send(request.set_json(&body)).await;
        assert_eq!(reply.status, status, "{}", reply.text);
    }
    let long = world.post_raw(CHAT, json!({"model": "x".repeat(9999)}).to_string()).await;
    assert!(long.text.len() < 999, "{}", long.text);
}

#[actix_web::test]
async fn unknown_routes_and_methods_have_the_envelope_too() {
    let world = World::new();
    assert_eq!(world.get("/v1/nothing").await.error(404)["code"], "not_found");
    let refused = world.delete(CHAT).await;
    assert_eq!(refused.error(405)["code"], "method_not_allowed");
    assert_eq!(refused.header("allow"), "POST, GET, HEAD");
    world.get("/v1/completions").await.error(405);
    world.get("/v1/adapters/ad-nobody").await.error(404);
}
