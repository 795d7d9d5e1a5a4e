//! Probes, figures, the OpenAPI document and the pages.

use std::collections::BTreeSet;

use actix_web::http::Method;
use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::world::World;

#[actix_web::test]
async fn probes_and_pages_answer() {
    let world = World::new();
    assert_eq!(world.get("/version").await.ok()["version"], env!("CARGO_PKG_VERSION"));
    for path in ["/livez", "/readyz", "/startupz", "/health", "/ping"] {
        assert_eq!(world.get(path).await.ok(), json!({"status": "ok"}), "{path}");
    }
    for path in ["/", "/docs"] {
        let reply = world.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.text.starts_with("<!doctype html>"));
        assert!(!reply.text.contains("<script") && !reply.text.contains("http://"), "{path}");
    }
    assert!(world.get("/docs").await.text.contains("/v1/chat/completions"));
}

#[actix_web::test]
async fn figures_have_their_names() {
    let world = World::new();
    world.adapter("one", 1);
    let ask = json!({
        "model": "tiny", "max_tokens": 5, "ignore_eos": true,
        "messages": [{"role": "user", "content": "Hi"}],
    });
    world.post("/v1/chat/completions", &ask).await.ok();
    let reply = world.get("/metrics").await;
    assert!(reply.header("content-type").starts_with("text/plain"));
    for line in [
        "hone_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 1",
        "hone_request_duration_seconds_bucket{route=\"/v1/chat/completions\",le=\"0.001\"}",
        "hone_time_to_first_token_seconds_count 1",
        "hone_time_to_first_token_seconds_bucket{le=\"2560\"} 1",
        "hone_inter_token_latency_seconds_count 4",
        "hone_tokens_total{kind=\"completion\"} 5",
        "hone_queue_depth 0",
        "hone_training_loss 0",
        "hone_cycle_step_seconds_count{step=\"train\"} 0",
        "hone_promotions_total{outcome=\"rolled_back\"} 0",
        "hone_requests_rejected_total{reason=\"queue_full\"} 0",
        "state=\"candidate\"} 1",
        "process_resident_memory_bytes",
    ] {
        assert!(reply.text.contains(line), "{line} is missing in {}", reply.text);
    }
}

fn statuses(operation: &Value) -> BTreeSet<u16> {
    let responses = operation["responses"].as_object().unwrap();
    responses.keys().map(|status| status.parse().unwrap()).collect()
}

#[actix_web::test]
async fn every_described_operation_exists_and_answers_as_described() {
    let world = World::new();
    let document = world.get("/openapi.json").await.ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut names = BTreeSet::new();
    let mut count = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            count += 1;
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            let filled = path.replace("{id}", "x").replace("{ref}", "x").replace("{user}", "x");
            let method: Method = method.to_uppercase().parse().unwrap();
            for body in [None, Some("{}"), Some("[")] {
                let request = TestRequest::with_uri(&filled).method(method.clone());
                let request = match body {
                    Some(body) => request.set_payload(body),
                    None => request,
                };
                let status = world.send(request).await.status;
                assert!(statuses(operation).contains(&status), "{method} {path}: {status}");
                assert_ne!(status, 405, "{method} {path}");
                if method == Method::GET && body.is_none() && !path.ends_with("/events") {
                    let head = TestRequest::with_uri(&filled).method(Method::HEAD);
                    assert_eq!(world.send(head).await.status, status, "HEAD {path}");
                }
                assert!(status < 500, "{method} {path}: {status}");
            }
        }
    }
    assert!(count > 35, "only {count} operations");
    for path in ["/v1/adapters/{ref}/promote", "/v1/load_lora_adapter", "/feedback", "/v1/evals"] {
        assert!(document["paths"].get(path).is_some(), "{path}");
    }
    references(&document, &document);
    keys_are_strings(&document);
    let chat = &document["paths"]["/v1/chat/completions"]["post"]["responses"];
    for (status, header) in [
        ("200", "x-request-id"),
        ("200", "x-hone-adapter"),
        ("200", "x-hone-ignored"),
        ("429", "retry-after"),
        ("404", "x-request-id"),
    ] {
        assert!(chat[status]["headers"].get(header).is_some(), "{status} {header}");
    }
}

#[actix_web::test]
async fn the_document_says_what_may_be_null_or_left_out() {
    let document = World::new().get("/openapi.json").await.ok();
    let seen = &document["paths"]["/v1/cycles/{id}/events"]["get"]["parameters"][1];
    assert_eq!((&seen["required"], &seen["schema"]["type"]), (&json!(false), &json!("integer")));
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["StreamOptions"].get("required"), None);
    assert_eq!(schemas["SamplingOptions"]["properties"]["logit_bias"]["type"][1], "null");
    let content = &schemas["Message"]["properties"]["content"];
    assert_eq!(content["$ref"], "#/components/schemas/ContentForms");
}

#[actix_web::test]
async fn the_document_takes_what_is_right_and_nothing_else() {
    let document = World::new().get("/openapi.json").await.ok();
    let takes = |schema: &str, value: &Value| {
        let mut root = json!({ "$ref": format!("#/components/schemas/{schema}") });
        root["components"] = document["components"].clone();
        jsonschema::validator_for(&root).unwrap().is_valid(value)
    };
    let id = "chatcmpl-01a21852-53d4-77ca-90f6-533adcc15437";
    let call =
        json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let said = |metric: &str, value: Value| json!({"inference_id": id, "metric_name": metric, "value": value});
    let with = |mut body: Value, more: Value| {
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let chat = |more: Value| {
        with(json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}), more)
    };
    let response = |more: Value| with(json!({"model": "m", "input": "Hi"}), more);
    let flat = json!({"type": "function", "name": "f"});
    let said_hi = json!([{"role": "user", "content": "Hi"}]);
    for (schema, good) in [
        ("Message", json!({"role": "user", "content": "Hi"})),
        ("Message", json!({"role": "user", "content": [{"type": "text", "text": "Hi"}]})),
        ("Message", json!({"role": "developer", "content": "Be short."})),
        ("Message", json!({"role": "assistant", "content": null, "tool_calls": call})),
        ("Message", json!({"role": "tool", "content": "3", "tool_call_id": "c"})),
        ("FeedbackRequest", said("thumbs", json!(true))),
        ("FeedbackRequest", said("score", json!(0.5))),
        ("FeedbackRequest", said("comment", json!("Hm."))),
        ("Update", json!({"metadata": {"a": "b"}})),
        ("ChatRequest", chat(json!({"top_logprobs": 2, "logprobs": true}))),
        ("ChatRequest", chat(json!({"top_logprobs": null, "logprobs": false}))),
        ("ChatRequest", chat(json!({"response_format": {"type": "text"}, "guided_regex": "a+"}))),
        ("ChatRequest", chat(json!({"stop": ["a", "b"], "logit_bias": {"7": -1.5}}))),
        ("ResponsesRequest", response(json!({"text": {"format": {"type": "json_object"}}}))),
        (
            "ResponsesRequest",
            response(json!({"tools": [flat], "tool_choice": {"type": "function", "name": "f"}})),
        ),
        ("StructuredOutputs", json!({"regex": "a+", "json": null, "json_object": false})),
        (
            "CompletionRequest",
            json!({"model": "m", "prompt": [[1], [2, 3]], "truncate_prompt_tokens": -1}),
        ),
        ("DetokenizeRequest", json!({"tokens": [0, 1]})),
        ("TokenizeRequest", json!({"prompt": "a", "add_special_tokens": false})),
        ("TokenizeRequest", json!({"messages": said_hi, "continue_final_message": true})),
        ("NewKey", json!({"name": "app", "scopes": ["chat"], "max_streams": 2})),
        ("LoadRequest", json!({"lora_name": "a.b", "lora_path": "one/two-3"})),
    ] {
        assert!(takes(schema, &good), "{schema}: {good}");
    }
    for (schema, bad) in [
        ("ChatRequest", chat(json!({"top_logprobs": 2}))),
        ("ChatRequest", chat(json!({"stream_options": {}, "stream": false}))),
        (
            "ChatRequest",
            chat(json!({"response_format": {"type": "json_object"}, "guided_regex": "a+"})),
        ),
        ("ChatRequest", chat(json!({"guided_choice": ["a"], "guided_regex": "a+"}))),
        (
            "TokenizeRequest",
            json!({"messages": said_hi, "continue_final_message": true, "add_generation_prompt": true}),
        ),
        ("ChatRequest", chat(json!({"stop": [""]}))),
        ("ChatRequest", chat(json!({"stop_token_ids": [99_999_999]}))),
        ("ChatRequest", chat(json!({"logit_bias": {"99999999": 1}}))),
        ("ChatRequest", chat(json!({"logit_bias": {"1": 101}}))),
        ("ResponsesRequest", response(json!({"tool_choice": "required"}))),
        ("ResponsesRequest", response(json!({"tools": [flat], "guided_grammar": "start: \"a\""}))),
        ("ResponsesRequest", response(json!({"text": {"format": {"type": "xml"}}}))),
        ("StructuredOutputs", json!({"regex": "a+", "json_object": true})),
        ("StructuredOutputs", json!({})),
        ("CompletionRequest", json!({"model": "m", "prompt": []})),
        ("CompletionRequest", json!({"model": "m", "prompt": "a", "truncate_prompt_tokens": 0})),
        ("EmbeddingRequest", json!({"model": "m", "input": [""]})),
        ("EmbeddingRequest", json!({"model": "m", "input": "a", "dimensions": 1_000_000})),
        ("DetokenizeRequest", json!({"tokens": [99_999_999]})),
        ("TokenizeRequest", json!({"prompt": "a", "continue_final_message": true})),
        ("NewKey", json!({"name": " ", "scopes": ["chat"]})),
        ("NewKey", json!({"name": "app", "scopes": ["chat"], "colour": "red"})),
        ("LoadRequest", json!({"lora_name": "a..b", "lora_path": "one"})),
        ("LoadRequest", json!({"lora_name": "a", "lora_path": "/one"})),
        ("Message", json!({"role": "user"})),
        ("Message", json!({"role": "user", "content": 5})),
        ("Message", json!({"role": "user", "content": "Hi", "tool_calls": call})),
        ("Message", json!({"role": "assistant"})),
        ("Message", json!({"role": "tool", "content": "3"})),
        ("FeedbackRequest", said("thumbs", json!("yes"))),
        ("FeedbackRequest", said("score", json!(2))),
        ("FeedbackRequest", said("comment", json!("  "))),
        ("FeedbackRequest", said("stars", json!(5))),
        ("Update", json!({"metadata": {"": "b"}})),
    ] {
        assert!(!takes(schema, &bad), "{schema}: {bad}");
    }
}

/// Every `$ref` points to something.
/// JSON has no other keys than strings, whatever type they are read into.
fn keys_are_strings(part: &Value) {
    match part {
        Value::Object(map) => {
            if let Some(names) = map.get("propertyNames") {
                assert_eq!(names["type"], "string", "{map:?}");
            }
            map.values().for_each(keys_are_strings);
        }
        Value::Array(list) => list.iter().for_each(keys_are_strings),
        _ => {}
    }
}

fn references(document: &Value, part: &Value) {
    match part {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            map.values().for_each(|value| references(document, value));
        }
        Value::Array(list) => list.iter().for_each(|value| references(document, value)),
        _ => {}
    }
}
