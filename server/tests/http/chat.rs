//! Whole answers of `/v1/chat/completions`, what is kept of them, stored completions.

use serde_json::{Value, json};

use crate::world::World;

fn ask(more: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "temperature": 0, "max_tokens": 8, "ignore_eos": true,
        "messages": [{"role": "user", "content": "Hello there"}],
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[actix_web::test]
async fn an_answer_has_all_fields() {
    let world = World::new();
    let reply = world.post("/v1/chat/completions", &ask(json!({}))).await;
    assert_eq!(reply.header("x-hone-adapter"), "base");
    assert!(reply.header("x-request-id").starts_with("req-"));
    let body = reply.ok();
    let (id, created) = (body["id"].clone(), body["created"].clone());
    assert!(id.as_str().unwrap().starts_with("chatcmpl-0"));
    assert!(created.as_i64().unwrap() > 1_700_000_000);
    let content = body["choices"][0]["message"]["content"].clone();
    assert!(!content.as_str().unwrap().is_empty());
    let prompt = body["usage"]["prompt_tokens"].as_u64().unwrap();
    let expected = json!({
        "id": id, "object": "chat.completion", "created": created, "model": "tiny",
        "system_fingerprint": concat!("hone-", env!("CARGO_PKG_VERSION"), "-base"),
        "choices": [{
            "index": 0, "logprobs": null, "finish_reason": "length",
            "message": {"role": "assistant", "content": content, "refusal": null},
        }],
        "usage": {
            "prompt_tokens": prompt, "completion_tokens": 8, "total_tokens": prompt + 8,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    });
    assert_eq!(body, expected);
}

#[actix_web::test]
async fn everything_of_an_answer_is_kept_before_it_goes_out() {
    let world = World::new();
    let body = ask(json!({"user": "u-1", "metadata": {"app": "t"}, "return_token_ids": true}));
    let answer = world.post("/v1/chat/completions", &body).await.ok();
    let id = answer["id"].as_str().unwrap();
    let kept = world.get(&format!("/v1/interactions/{id}")).await.ok();
    assert_eq!(kept["object"], "interaction");
    assert_eq!(kept["messages"], json!([{"role": "user", "content": "Hello there"}]));
    assert_eq!(kept["prompt_tokens"], answer["prompt_token_ids"]);
    assert_eq!(kept["answers"][0]["tokens"], answer["choices"][0]["token_ids"]);
    assert_eq!(kept["answers"][0]["text"], answer["choices"][0]["message"]["content"]);
    assert_eq!(kept["answers"][0]["logprobs"].as_array().unwrap().len(), 8);
    assert_eq!(kept["sampling"]["max_tokens"], 8);
    assert_eq!(
        (kept["user"].as_str().map(str::len), &kept["metadata"]["app"]),
        (Some(32), &json!("t"))
    );
    assert_eq!((&kept["trainable"], &kept["stored"]), (&json!(true), &json!(false)));
    assert_eq!(kept["adapter_id"], Value::Null);
    assert!(kept["timings"]["total_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(kept["feedback"], json!([]));
}

#[actix_web::test]
async fn several_answers_draw_each_for_itself() {
    let world = World::new();
    let body = ask(json!({"n": 3, "temperature": 1.5, "seed": 7}));
    let first = world.post("/v1/chat/completions", &body).await.ok();
    let texts: Vec<_> =
        first["choices"].as_array().unwrap().iter().map(|c| &c["message"]).collect();
    assert_eq!(texts.len(), 3);
    assert!(texts[0] != texts[1] && texts[1] != texts[2]);
    let indexes: Vec<_> =
        first["choices"].as_array().unwrap().iter().map(|c| &c["index"]).collect();
    assert_eq!(indexes, [0, 1, 2]);
    assert_eq!(first["usage"]["completion_tokens"], 24);
    let second = world.post("/v1/chat/completions", &body).await.ok();
    assert_eq!(first["choices"], second["choices"], "the same seed");
    let unseeded =
        world.post("/v1/chat/completions", &ask(json!({"n": 2, "temperature": 1.5}))).await;
    let unseeded = unseeded.ok();
    assert_ne!(unseeded["choices"][0]["message"], unseeded["choices"][1]["message"]);
}

#[actix_web::test]
async fn log_probabilities_tell_tokens_bytes_and_alternatives() {
    let world = World::new();
    let body = ask(json!({"logprobs": true, "top_logprobs": 2}));
    let answer = world.post("/v1/chat/completions", &body).await.ok();
    let choice = &answer["choices"][0];
    let content = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len(), 8);
    let bytes: Vec<u8> = content
        .iter()
        .flat_map(|token| serde_json::from_value::<Vec<u8>>(token["bytes"].clone()).unwrap())
        .collect();
    // The engine shows whole characters only; the tokens may end within one.
    let text = choice["message"]["content"].as_str().unwrap();
    assert!(String::from_utf8_lossy(&bytes).starts_with(text.trim_end_matches('\u{fffd}')));
    for token in content {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 2);
        assert_eq!(top[0]["token"], token["token"], "greedy takes the likeliest");
        assert!(top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64());
    }
    let none = world.post("/v1/chat/completions", &ask(json!({"logprobs": true}))).await.ok();
    assert_eq!(none["choices"][0]["logprobs"]["content"][0]["top_logprobs"], json!([]));
}

#[actix_web::test]
async fn unknown_fields_are_named_and_harmless_ones_pass() {
    let world = World::new();
    let body = ask(json!({
        "sparkle": 1, "glitter": null, "tools": [], "tool_choice": "auto", "audio": null,
        "response_format": {"type": "text"}, "service_tier": "auto", "parallel_tool_calls": true,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}], "mood": 1}],
    }));
    let reply = world.post("/v1/chat/completions", &body).await;
    reply.ok();
    let mut named: Vec<_> = reply.header("x-hone-ignored").split(", ").collect();
    named.sort_unstable();
    assert_eq!(named, ["glitter", "messages[0].mood", "service_tier", "sparkle"]);
}

#[actix_web::test]
async fn what_shall_not_be_kept_is_not() {
    let world = World::new();
    for (body, header) in [(ask(json!({"store": false})), "0"), (ask(json!({"store": true})), "1")]
    {
        let request = actix_web::test::TestRequest::post()
            .uri("/v1/chat/completions")
            .insert_header(("x-hone-no-train", header))
            .set_json(&body);
        let id = world.send(request).await.ok()["id"].as_str().unwrap().to_owned();
        let kept = world.get(&format!("/v1/interactions/{id}")).await.ok();
        assert_eq!(kept["messages"], json!([]));
        assert_eq!(kept["prompt_tokens"], json!([]));
        assert_eq!(kept["answers"][0]["text"], Value::Null);
        assert_eq!(kept["answers"][0]["tokens"], json!([]));
        assert_eq!((&kept["trainable"], &kept["stored"]), (&json!(false), &json!(false)));
        let thumbs = json!({"inference_id": id, "metric_name": "thumbs", "value": true});
        assert_eq!(world.post("/v1/feedback", &thumbs).await.status, 201);
        for metric in ["demonstration", "comment"] {
            let tags = json!({"family": "f", "check": r#"{"type":"exact","value":"secret"}"#});
            let item = json!({
                "inference_id": id, "metric_name": metric, "value": "a secret", "tags": tags,
            });
            assert_eq!(world.post("/v1/feedback", &item).await.status, 201);
        }
        let kept = world.get(&format!("/v1/interactions/{id}")).await;
        assert!(!kept.text.contains("secret"), "{}", kept.text);
        let items = kept.ok()["feedback"].clone();
        assert_eq!((&items[1]["value"], &items[2]["value"]), (&json!(""), &json!("")));
        assert_eq!(items[1]["tags"], json!({"family": "f"}));
    }
}

#[actix_web::test]
async fn a_page_of_stored_completions_holds_chat_only_and_is_full() {
    let world = World::new();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let text = json!({"model": "tiny", "prompt": "a", "max_tokens": 1, "store": true});
        world.post("/v1/completions", &text).await.ok();
        let answer = world.post("/v1/chat/completions", &ask(json!({"store": true}))).await.ok();
        ids.push(answer["id"].clone());
    }
    let first = world.get("/v1/chat/completions?limit=1").await.ok();
    assert_eq!((&first["last_id"], &first["has_more"]), (&ids[0], &json!(true)));
    let all = world.get("/v1/chat/completions").await.ok();
    assert_eq!((&all["first_id"], &all["last_id"]), (&ids[0], &ids[1]));
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
}

#[actix_web::test]
async fn stored_completions_are_listed_changed_and_deleted() {
    let world = World::new();
    let mut ids = Vec::new();
    for app in ["a", "b", "a"] {
        let body = ask(json!({"store": true, "metadata": {"app": app}}));
        let answer = world.post("/v1/chat/completions", &body).await.ok();
        ids.push(answer["id"].as_str().unwrap().to_owned());
    }
    world.post("/v1/chat/completions", &ask(json!({}))).await.ok();

    let list = world.get("/v1/chat/completions?metadata[app]=a&limit=1").await.ok();
    assert_eq!((&list["object"], &list["has_more"]), (&json!("list"), &json!(true)));
    assert_eq!((&list["first_id"], &list["last_id"]), (&json!(ids[0]), &json!(ids[0])));
    let path = format!("/v1/chat/completions?metadata[app]=a&after={}", ids[0]);
    let rest = world.get(&path).await.ok();
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    assert_eq!(rest["data"][0]["id"], json!(ids[2]));
    let newest = world.get("/v1/chat/completions?order=desc").await.ok();
    assert_eq!(newest["data"][0]["id"], json!(ids[2]));

    let one = format!("/v1/chat/completions/{}", ids[1]);
    let stored = world.get(&one).await.ok();
    assert_eq!(
        (&stored["object"], &stored["metadata"]["app"]),
        (&json!("chat.completion"), &json!("b"))
    );
    assert_eq!(stored["usage"]["completion_tokens"], 8);
    let changed = world.post(&one, &json!({"metadata": {"x": "y"}})).await.ok();
    assert_eq!(changed["metadata"], json!({"x": "y"}));
    assert_eq!(world.get(&one).await.ok()["metadata"], json!({"x": "y"}));
    let body = json!({"metadata": {"x": "y"}, "colour": 1});
    assert_eq!(world.post(&one, &body).await.header("x-hone-ignored"), "colour");
    for path in ["/v1/chat/completions?foo=1", &format!("{one}/messages?foo=1")] {
        let reply = world.get(path).await;
        assert_eq!((reply.status, reply.header("x-hone-ignored")), (200, "foo"), "{path}");
    }
    world.get("/v1/chat/completions?limit=0").await.error(400);
    let beyond = format!("{one}/messages?after={}-7", ids[1]);
    assert_eq!(world.get(&beyond).await.error(400)["param"], "after");
    let messages = world.get(&format!("{one}/messages")).await.ok();
    assert_eq!(messages["data"][0]["content"], "Hello there");
    assert_eq!(messages["data"][0]["id"], json!(format!("{}-0", ids[1])));
    let deleted = world.delete(&one).await.ok();
    assert_eq!(
        deleted,
        json!({"id": ids[1], "object": "chat.completion.deleted", "deleted": true})
    );
    for path in [one.as_str(), "/v1/chat/completions/nonsense"] {
        world.get(path).await.error(404);
    }
    world.post(&format!("/v1/chat/completions/{}", ids[0]), &json!({})).await.error(400);
}
