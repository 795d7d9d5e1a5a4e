//! Schemas and tools, with a model that has learned nothing.

use serde_json::{Value, json};

use crate::world::World;

const CHAT: &str = "/v1/chat/completions";

fn ask(more: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "temperature": 1, "seed": 5,
        "max_tokens": 200,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "pick", "description": "Picks.", "strict": true, "parameters":
            {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}}},
        {"type": "function", "function": {"name": "stop"}},
    ])
}

/// The chunks' data.
fn chunks(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[actix_web::test]
async fn calls_are_the_same_in_chunks_and_in_the_log() {
    let world = World::new();
    let body = ask(json!({"tools": tools(), "tool_choice": "required", "n": 2}));
    let whole = world.post(CHAT, &body).await.ok();
    let mut body = body;
    body["stream"] = json!(true);
    let streamed = chunks(&world.post(CHAT, &body).await.text);
    for index in 0..2 {
        let choice = &whole["choices"][index];
        if choice["finish_reason"] == "length" {
            continue;
        }
        assert_eq!(choice["finish_reason"], "tool_calls", "{choice}");
        assert_eq!(choice["message"]["content"], Value::Null);
        let calls = choice["message"]["tool_calls"].as_array().unwrap();
        let mut told: Vec<(String, String, String)> = Vec::new();
        let of_choice = streamed.iter().map(|chunk| &chunk["choices"][0]);
        for choice in of_choice.filter(|choice| choice["index"] == json!(index)) {
            for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                let at = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
                if let Some(id) = call["id"].as_str() {
                    assert_eq!((at, &call["type"]), (told.len(), &json!("function")));
                    let name = call["function"]["name"].as_str().unwrap();
                    told.push((id.to_owned(), name.to_owned(), String::new()));
                }
                told[at].2 += call["function"]["arguments"].as_str().unwrap();
            }
        }
        assert_eq!(told.len(), calls.len());
        for (call, (id, name, arguments)) in calls.iter().zip(&told) {
            assert_eq!(&call["function"], &json!({"name": name, "arguments": arguments}));
            assert_ne!(call["id"], json!(id), "each request has calls of its own");
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            match name.as_str() {
                "pick" => assert!(arguments["colour"] == "red" || arguments["colour"] == "blue"),
                other => assert_eq!((other, &arguments), ("stop", &json!({}))),
            }
        }
    }
    let id = whole["id"].as_str().unwrap().parse().unwrap();
    let kept = world.dependencies.store.interaction(id).await.unwrap().unwrap();
    assert_eq!(json!(kept.tools), tools());
    for (answer, choice) in kept.answers.iter().zip(whole["choices"].as_array().unwrap()) {
        assert_eq!(json!(answer.tool_calls), choice["message"]["tool_calls"]);
        assert_eq!(json!(answer.finish_reason), choice["finish_reason"]);
    }
}

#[actix_web::test]
async fn a_tool_that_is_not_strict_is_applied_as_far_as_it_goes() {
    let world = World::new();
    let tool = |strict: bool| {
        json!([{"type": "function", "function": {"name": "f", "strict": strict, "parameters":
            {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"], "not": {"required": ["b"]}}}}])
    };
    let named = json!({"type": "function", "function": {"name": "f"}});
    let body = |strict| ask(json!({"tools": tool(strict), "tool_choice": named}));
    let reply = world.post(CHAT, &body(false)).await;
    let call = &reply.ok()["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "f");
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"a": 1}));
    assert_eq!(reply.header("x-hone-ignored"), "tools[0].function.parameters");
    let error = world.post(CHAT, &body(true)).await.error(400);
    assert_eq!(error["param"], "tools[0].function.parameters");
    assert!(error["message"].as_str().unwrap().contains("not"), "{error}");
}

#[actix_web::test]
async fn forms_hold_for_completions_and_beside_tools() {
    let world = World::new();
    let body = json!({"model": "tiny", "prompt": ["a", "b"], "n": 2, "temperature": 1, "max_tokens": 40,
        "structured_outputs": {"regex": "[a-c]{3}x"}});
    let answer = world.post("/v1/completions", &body).await.ok();
    for choice in answer["choices"].as_array().unwrap() {
        let text = choice["text"].as_str().unwrap();
        assert!(text.len() == 4 && text.ends_with('x'), "{text}");
        assert_eq!(choice["finish_reason"], "stop");
    }
    let body = ask(json!({"tools": tools(), "guided_choice": ["yes", "no"]}));
    let choice = &world.post(CHAT, &body).await.ok()["choices"][0];
    let text = choice["message"]["content"].as_str().unwrap_or_default();
    assert!(
        text == "yes" || text == "no" || choice["message"]["tool_calls"].is_array(),
        "{choice}"
    );
    let clash = ask(json!({"tools": tools(), "guided_grammar": "start: \"a\""}));
    assert_eq!(world.post(CHAT, &clash).await.error(400)["param"], "guided_grammar");
    let twice = ask(json!({"guided_regex": "a", "guided_choice": ["b"]}));
    assert_eq!(world.post(CHAT, &twice).await.error(400)["param"], "guided_choice");
}

#[actix_web::test]
async fn tokens_are_allowed_forbidden_and_the_end() {
    let world = World::new();
    let ids = |more: Value| {
        let mut body = ask(json!({"return_token_ids": true, "max_tokens": 12, "ignore_eos": true}));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let only = world.post(CHAT, &ids(json!({"allowed_token_ids": [40, 41]}))).await.ok();
    let tokens: Vec<u64> = serde_json::from_value(only["choices"][0]["token_ids"].clone()).unwrap();
    assert!(
        tokens.len() == 12 && tokens.iter().all(|token| [40, 41].contains(token)),
        "{tokens:?}"
    );
    let ends = json!({"allowed_token_ids": [40, 41], "stop_token_ids": [41], "min_tokens": 3});
    let ended = world.post(CHAT, &ids(ends)).await.ok();
    let tokens: Vec<u64> =
        serde_json::from_value(ended["choices"][0]["token_ids"].clone()).unwrap();
    let (last, before) = tokens.split_last().unwrap();
    assert!(before.len() >= 3 && before.iter().all(|token| *token == 40), "{tokens:?}");
    assert!(*last == 41 || tokens.len() == 12, "{tokens:?}");
    let whole = world.post(CHAT, &ids(json!({"truncate_prompt_tokens": 3}))).await.ok();
    assert_eq!(whole["prompt_token_ids"].as_array().unwrap().len(), 3);
}
