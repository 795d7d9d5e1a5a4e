//! A logged answer, computed again: to the same token ids, or the reason why not.

use hone_api::interaction::Interaction;
use serde_json::{Value, json};

use crate::world::World;

fn ask(more: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "temperature": 1, "max_tokens": 12,
        "messages": [{"role": "user", "content": "Hello there"}],
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn answered(world: &World, body: &Value) -> String {
    let answer = world.post("/v1/chat/completions", body).await.ok();
    answer["id"].as_str().unwrap().to_owned()
}

fn path(id: &str) -> String {
    format!("/v1/interactions/{id}/replay")
}

async fn log(world: &World) -> Value {
    world.get("/v1/interactions?limit=1000").await.ok()
}

#[actix_web::test]
async fn whatever_shaped_an_answer_shapes_it_again() {
    let world = World::new();
    world.adapter("one", 1);
    let tool = json!({"type": "function", "function": {"name": "f", "parameters":
        {"type": "object", "properties": {"a": {"enum": [1, 2, 3]}}, "required": ["a"]}}});
    let schema = json!({"type": "json_schema", "json_schema": {"name": "s", "schema":
        {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}}});
    for more in [
        json!({}),
        json!({"n": 3, "ignore_eos": true}),
        json!({"model": "one", "seed": -7, "top_k": 40, "top_p": 0.9, "min_p": 0.001}),
        json!({"frequency_penalty": 1.5, "presence_penalty": 0.5, "repetition_penalty": 1.2, "n": 2}),
        json!({"logit_bias": {"40": 5, "41": -100}, "logprobs": true, "top_logprobs": 2}),
        json!({"stop": ["a", "e"], "min_tokens": 4}),
        json!({"stop_token_ids": [300, 301, 302], "bad_words": ["the"], "truncate_prompt_tokens": 4}),
        json!({"allowed_token_ids": [40, 41, 42, 43], "temperature": 2}),
        json!({"response_format": schema, "n": 2, "max_tokens": 40}),
        json!({"structured_outputs": {"regex": "[ab]{5}"}}),
        json!({"tools": [tool], "tool_choice": "required", "max_tokens": 60}),
        json!({"temperature": 0}),
    ] {
        let id = answered(&world, &ask(more.clone())).await;
        let logged = world.get(&format!("/v1/interactions/{id}")).await.ok();
        let before = log(&world).await;
        let replay = world.post(&path(&id), &json!({})).await.ok();
        assert_eq!(replay["object"], "interaction.replay");
        assert_eq!((&replay["same"], &replay["reason"]), (&json!(true), &Value::Null), "{more}");
        assert_eq!(replay["id"], id);
        assert_eq!(replay["seed"], logged["sampling"]["seed"]);
        assert_eq!(replay["adapter_id"], logged["adapter_id"]);
        let logged = logged["answers"].as_array().unwrap();
        assert_eq!(replay["answers"].as_array().unwrap().len(), logged.len());
        for (again, logged) in replay["answers"].as_array().unwrap().iter().zip(logged) {
            for field in ["tokens", "text", "tool_calls", "finish_reason"] {
                assert_eq!(again.get(field), logged.get(field), "{field} of {more}");
            }
            assert!(!again["tokens"].as_array().unwrap().is_empty());
        }
        assert_eq!(log(&world).await, before, "a replay is no answer");
    }
}

#[actix_web::test]
async fn answers_without_a_seed_are_drawn_by_one_that_is_logged() {
    let world = World::new();
    let body = ask(json!({"ignore_eos": true}));
    let (first, second) = (answered(&world, &body).await, answered(&world, &body).await);
    let kept = async |id: &str| world.get(&format!("/v1/interactions/{id}")).await.ok();
    let (first, second) = (kept(&first).await, kept(&second).await);
    let seed = |kept: &Value| kept["sampling"]["seed"].as_u64().unwrap();
    assert_ne!(seed(&first), seed(&second));
    assert!(seed(&first) < 1 << 53);
    assert_ne!(first["answers"][0]["tokens"], second["answers"][0]["tokens"]);

    let same = json!({"model": "tiny", "prompt": ["Hello", "Hello"], "max_tokens": 12,
        "ignore_eos": true, "temperature": 1});
    let answer = world.post("/v1/completions", &same).await.ok();
    assert_ne!(answer["choices"][0]["text"], answer["choices"][1]["text"], "each draws for itself");
    for row in log(&world).await["data"].as_array().unwrap() {
        let replay = world.post(&path(row["id"].as_str().unwrap()), &json!({})).await.ok();
        assert_eq!(replay["same"], true, "{replay}");
    }
}

#[actix_web::test]
async fn what_cannot_be_computed_again_says_why() {
    let world = World::new();
    let refused = async |id: &str, code: &str, word: &str| {
        let reply = world.post(&path(id), &json!({})).await;
        let error = reply.error(409);
        assert_eq!(error["code"], code);
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
        assert_eq!(reply.header("x-should-retry"), "false");
    };
    let private = answered(&world, &ask(json!({"store": false}))).await;
    refused(&private, "text_not_kept", "store: false").await;

    let adapter = world.adapter("gone", 1);
    let taught = answered(&world, &ask(json!({"model": "gone"}))).await;
    world.dependencies.engine.unload(adapter);
    world.dependencies.registry.delete(adapter).unwrap();
    refused(&taught, "adapter_missing", &adapter.to_string()).await;

    let plain = answered(&world, &ask(json!({}))).await;
    let kept = world.get(&format!("/v1/interactions/{plain}")).await.ok();
    let kept: Interaction = serde_json::from_value(kept).unwrap();
    let changed = async |change: &dyn Fn(&mut Interaction)| {
        let mut other = kept.clone();
        other.id = hone_api::InteractionId::new();
        change(&mut other);
        world.dependencies.store.append_interaction(other.clone()).await.unwrap();
        other.id.to_string()
    };
    let old = changed(&|kept| {
        kept.sampling.seed = None;
        kept.computed_by = None;
    });
    refused(&old.await, "seed_not_kept", "earlier Hone").await;
    let base = changed(&|kept| kept.base_digest = "0123456789abcdef0123".to_owned());
    refused(&base.await, "base_changed", "0123456789abcdef").await;
    let template = changed(&|kept| kept.template_digest = "ff".repeat(32));
    refused(&template.await, "template_changed", "ffffffffffffffff").await;

    let forged = changed(&|kept| kept.answers[0].tokens[3] ^= 1).await;
    let replay = world.post(&path(&forged), &json!({})).await.ok();
    assert_eq!(
        (&replay["same"], &replay["answers"][0]["first_difference"]),
        (&json!(false), &json!(3))
    );
    assert!(replay["reason"].as_str().unwrap().contains("report"), "{replay}");
    let elsewhere = changed(&|kept| {
        kept.answers[0].tokens[3] ^= 1;
        kept.computed_by = Some("0.0.1 neon".to_owned());
    });
    let replay = world.post(&path(&elsewhere.await), &json!({})).await.ok();
    assert!(replay["reason"].as_str().unwrap().contains("0.0.1 neon"), "{replay}");

    let unknown = format!("chatcmpl-{}", uuid::Uuid::now_v7());
    world.post(&path(&unknown), &json!({})).await.error(404);
    world.post(&path("nonsense"), &json!({})).await.error(404);
    let extra = world.post(&path(&plain), &json!({"n": 2})).await.error(400);
    assert_eq!(extra["param"], "n");
}

#[actix_web::test]
async fn an_answer_that_was_cut_off_is_computed_as_far_as_it_had_come() {
    let world = World::new();
    let id = answered(&world, &ask(json!({"ignore_eos": true, "max_tokens": 30}))).await;
    let kept = world.get(&format!("/v1/interactions/{id}")).await.ok();
    let mut cut: Interaction = serde_json::from_value(kept).unwrap();
    cut.id = hone_api::InteractionId::new();
    cut.answers[0].tokens.truncate(9);
    cut.answers[0].finish_reason = hone_api::chat::FinishReason::Cancelled;
    world.dependencies.store.append_interaction(cut.clone()).await.unwrap();
    let replay = world.post(&path(&cut.id.to_string()), &json!({})).await.ok();
    assert_eq!(replay["same"], true, "{replay}");
    assert_eq!(replay["answers"][0]["tokens"].as_array().unwrap().len(), 9);
}
