//! Which adapter answers, what serves, vLLM's endpoints, cycles and evaluations.

use actix_web::test::TestRequest;
use hone_api::{AdapterId, CycleId};
use serde_json::{Value, json};

use crate::world::{World, write_adapter};

fn ask(model: &str) -> Value {
    json!({
        "model": model, "temperature": 0, "max_tokens": 12, "ignore_eos": true,
        "messages": [{"role": "user", "content": "Tell me a story"}],
    })
}

async fn chat(world: &World, model: &str) -> (String, String, String) {
    let reply = world.post("/v1/chat/completions", &ask(model)).await;
    let (adapter, body) = (reply.header("x-hone-adapter").to_owned(), reply.ok());
    let text = body["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    (adapter, text, body["system_fingerprint"].as_str().unwrap().to_owned())
}

#[actix_web::test]
async fn each_name_is_answered_by_what_it_names() {
    let world = World::new();
    let (one, two) = (world.adapter("one", 1), world.adapter("two", 2));
    let base = chat(&world, "tiny").await;
    assert_eq!(base.0, "base");
    let by_name = chat(&world, "one").await;
    assert_eq!(by_name.0, one.to_string());
    assert_ne!(by_name.1, base.1);
    let digest = &world.dependencies.registry.get(&"one".parse().unwrap()).unwrap().digest;
    assert!(by_name.2.ends_with(&digest[..12]), "{}", by_name.2);
    for model in ["tiny:one", "hone:one", &format!("tiny:{one}"), &one.to_string()] {
        assert_eq!(chat(&world, model).await, by_name, "{model}");
    }
    let promoted = world.post(&format!("/v1/adapters/{two}/promote"), &json!({})).await.ok();
    assert_eq!((&promoted["epoch"], &promoted["live"]), (&json!(1), &json!(two)));
    assert_eq!(chat(&world, "tiny").await.0, two.to_string());
    assert_eq!(chat(&world, "hone").await.0, two.to_string());
    assert_eq!(chat(&world, "tiny:live").await.0, two.to_string());
    assert_eq!(chat(&world, "tiny:base").await, base);
    assert_eq!(chat(&world, "tiny:previous").await, base, "the base served before");
    world.post("/v1/adapters/rollback", &json!({})).await.ok();
    assert_eq!(chat(&world, "hone").await, base);
    assert_eq!(chat(&world, "hone:previous").await.0, two.to_string());
}

#[actix_web::test]
async fn an_unknown_model_is_404_in_openais_words() {
    let world = World::new();
    let unknown = AdapterId::new().to_string();
    for model in [
        "gpt-9",
        "tiny:nobody",
        "tiny:previous",
        "live",
        "base",
        "candidate",
        "Tiny",
        "tiny:",
        &unknown,
    ] {
        let error = world.post("/v1/chat/completions", &ask(model)).await.error(404);
        assert_eq!(
            error,
            json!({
                "message": format!("The model `{model}` does not exist."),
                "type": "invalid_request_error", "param": "model", "code": "model_not_found",
            })
        );
    }
    world.get("/v1/models/gpt-9").await.error(404);
}

#[actix_web::test]
async fn the_list_names_what_can_be_asked() {
    let world = World::new();
    let one = world.adapter("one", 1);
    let list = world.get("/v1/models").await.ok();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| m["id"].clone()).collect();
    assert_eq!(json!(ids), json!(["tiny", "hone", "tiny:base", "one"]));
    for id in ids {
        let id = id.as_str().unwrap();
        let card = world.get(&format!("/v1/models/{id}")).await.ok();
        assert_eq!((&card["id"], &card["object"]), (&json!(id), &json!("model")));
        assert_eq!(card["max_model_len"], 512);
        assert_eq!(card["permission"][0]["object"], "model_permission");
    }
    let card = &list["data"][3];
    assert_eq!((&card["root"], &card["parent"]), (&json!(one), &json!("tiny")));
    assert_eq!(list["data"][0]["parent"], Value::Null);
}

#[actix_web::test]
async fn an_adapter_is_deleted_as_a_model() {
    let world = World::new();
    let (one, live) = (world.adapter("one", 1), world.adapter("two", 2));
    world.post(&format!("/v1/adapters/{live}/promote"), &json!({})).await.ok();
    for model in ["tiny", "hone", "tiny:base", "tiny:live", "two", "tiny:two"] {
        let refused = world.delete(&format!("/v1/models/{model}")).await;
        refused.error(409);
        assert_eq!(refused.header("x-should-retry"), "false", "{model}");
    }
    let gone = world.delete("/v1/models/tiny:one").await.ok();
    assert_eq!(gone, json!({"id": "tiny:one", "object": "model", "deleted": true}));
    assert_eq!(world.delete("/v1/models/one").await.error(404)["code"], "model_not_found");
    world.get(&format!("/v1/adapters/{one}")).await.error(404);
}

#[actix_web::test]
async fn the_pointer_moves_only_from_where_it_is_expected() {
    let world = World::new();
    let (one, two) = (world.adapter("one", 1), world.adapter("two", 2));
    let promote = |id: AdapterId| format!("/v1/adapters/{id}/promote");
    let wrong = world.post(&promote(one), &json!({"expected_live": two})).await;
    assert_eq!(wrong.error(409)["code"], "conflict");
    assert_eq!(wrong.header("x-should-retry"), "false");
    for path in [promote(one), "/v1/adapters/rollback".to_owned()] {
        for expected in ["nobody", "candidate-9", &AdapterId::new().to_string()] {
            let unknown = world.post(&path, &json!({"expected_live": expected})).await;
            assert_eq!(unknown.error(409)["code"], "conflict", "{path} {expected}");
            assert_eq!(unknown.header("x-should-retry"), "false");
        }
    }
    world.post(&promote(one), &json!({"expected_live": null})).await.ok();
    world.post(&promote(two), &json!({"expected_live": "base"})).await.error(409);
    world.post(&promote(two), &json!({"expected_live": one, "reason": "better"})).await.ok();
    let list = world.get("/v1/adapters").await.ok();
    assert_eq!((&list["live"]["live"], &list["live"]["previous"]), (&json!(two), &json!(one)));
    let body = json!({"to": "base", "expected_live": two});
    let rolled = world.post("/v1/adapters/rollback", &body).await.ok();
    assert_eq!(rolled["live"], Value::Null);
    world.get("/v1/adapters/live").await.error(404);
    world.delete(&format!("/v1/adapters/{two}")).await.error(409);
    let deleted = world.delete(&format!("/v1/adapters/{one}")).await.ok();
    assert_eq!(deleted["deleted"], true);
    world.get(&format!("/v1/adapters/{one}")).await.error(404);
    world.post(&promote(two), &json!({"colour": 1})).await.error(400);
    assert_eq!(
        world.post(&promote(two), &json!({"canary": 5})).await.error(400)["param"],
        "canary"
    );
    world.post("/v1/adapters/nobody/promote", &json!({})).await.error(404);
    // No body at all is as good as an empty one.
    world.send(TestRequest::post().uri(&promote(two))).await.ok();
}

#[actix_web::test]
async fn adapters_are_listed_in_pages() {
    let world = World::new();
    let ids = [world.adapter("one", 1), world.adapter("two", 2), world.adapter("three", 3)];
    let ids: Vec<_> = ids.iter().map(|id| json!(id)).collect();
    world.post("/v1/adapters/two/promote", &json!({})).await.ok();
    let all = world.get("/v1/adapters").await.ok();
    assert_eq!((&all["first_id"], &all["last_id"]), (&ids[0], &ids[2]));
    assert_eq!((&all["object"], &all["has_more"]), (&json!("list"), &json!(false)));
    let page = world.get("/v1/adapters?limit=1").await.ok();
    assert_eq!((&page["data"][0]["id"], &page["has_more"]), (&ids[0], &json!(true)));
    assert_eq!(page["live"]["live"], ids[1]);
    let one = ids[0].as_str().unwrap();
    let rest = world.get(&format!("/v1/adapters?after={one}&state=candidate")).await.ok();
    assert_eq!((&rest["first_id"], &rest["last_id"]), (&ids[2], &ids[2]));
    let newest = world.get("/v1/adapters?order=desc&limit=2").await.ok();
    assert_eq!((&newest["first_id"], &newest["last_id"]), (&ids[2], &ids[1]));
    let none = world.get("/v1/adapters?state=rejected").await.ok();
    assert_eq!((&none["data"], &none["first_id"]), (&json!([]), &Value::Null));
    for (wrong, param) in [("limit=0", "limit"), ("state=new", "state"), ("foo=1", "foo")] {
        assert_eq!(world.get(&format!("/v1/adapters?{wrong}")).await.error(400)["param"], param);
    }
}

#[actix_web::test]
async fn imports_come_from_the_drop_folder_only() {
    let world = World::new();
    write_adapter(&world.folder.path().join("drop/good"), 5);
    let view = world.post("/v1/adapters", &json!({"folder": "good", "name": "nice"})).await;
    assert_eq!(view.status, 201, "{}", view.text);
    assert_eq!(
        (&view.json()["name"], &view.json()["state"]),
        (&json!("nice"), &json!("candidate"))
    );
    for folder in ["../x", "/etc", "..", "", "nobody"] {
        let reply = world.post("/v1/adapters", &json!({"folder": folder})).await;
        assert!((400..500).contains(&reply.status), "{folder}: {}", reply.text);
    }
    let error = world.post("/v1/adapters", &json!({"folder": "nobody"})).await.error(404);
    assert_eq!(error["param"], "folder");
    assert!(error["message"].as_str().unwrap().contains("in the drop folder"), "{error}");
    let weights = world.folder.path().join("drop/broken/adapter_model.safetensors");
    write_adapter(&world.folder.path().join("drop/broken"), 6);
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let error = world.post("/v1/adapters", &json!({"folder": "broken"})).await.error(422);
    assert!(error["message"].as_str().unwrap().contains("truncated"), "{error}");
}

#[actix_web::test]
async fn vllms_endpoints_speak_vllms_words() {
    let world = World::new();
    write_adapter(&world.folder.path().join("drop/good"), 5);
    let load = |name: &str, path: &str| json!({"lora_name": name, "lora_path": path});
    let reply = world.post("/v1/load_lora_adapter", &load("nice", "good")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text, "Success: LoRA adapter 'nice' added successfully.");
    assert!(chat(&world, "nice").await.0.starts_with("ad-"));
    let again = world.post("/v1/load_lora_adapter", &load("nice", "good")).await;
    assert_eq!(again.status, 400);
    let error = &again.json()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("InvalidUserInput"), &json!(400)));
    let missing = world.post("/v1/load_lora_adapter", &json!({"lora_name": "x"})).await;
    assert_eq!(
        missing.json()["error"]["message"],
        "Both 'lora_name' and 'lora_path' must be provided."
    );
    let broken = world.post_raw("/v1/load_lora_adapter", "{").await;
    assert_eq!((broken.status, &broken.json()["error"]["code"]), (400, &json!(400)));
    let nowhere = world.post("/v1/load_lora_adapter", &load("x", "nowhere")).await;
    assert_eq!(nowhere.status, 404);
    assert_eq!(nowhere.json()["error"]["type"], "NotFoundError");
    assert!(nowhere.text.contains("no folder `nowhere` in the drop folder"), "{}", nowhere.text);
    let gone = world.post("/v1/unload_lora_adapter", &json!({"lora_name": "nice"})).await;
    assert_eq!(gone.text, "Success: LoRA adapter 'nice' removed successfully.");
    let twice = world.post("/v1/unload_lora_adapter", &json!({"lora_name": "nice"})).await;
    assert_eq!((twice.status, &twice.json()["error"]["code"]), (404, &json!(404)));
}

#[actix_web::test]
async fn cycles_are_started_listed_and_followed() {
    let world = World::new();
    let started = world.post("/v1/cycles", &json!({})).await;
    assert_eq!(started.status, 201);
    let id = started.json()["id"].as_str().unwrap().to_owned();
    let list = world.get("/v1/cycles?limit=5&order=desc").await.ok();
    let next = json!({
        "enabled": true, "at": null, "failures": 7, "came": 2, "missing": 5,
        "message": "5 more corrections start a cycle",
    });
    assert_eq!(list["next"], next);
    assert_eq!(list["data"][0]["id"], json!(id));
    world.get("/v1/cycles?order=asc").await.ok();
    assert_eq!(world.get("/v1/cycles?order=up").await.error(400)["param"], "order");
    assert_eq!(world.get(&format!("/v1/cycles/{id}")).await.ok()["object"], "cycle");
    let events = world.get(&format!("/v1/cycles/{id}/events")).await;
    assert!(events.header("content-type").starts_with("text/event-stream"));
    assert!(events.text.starts_with("id: 1\nevent: progress\ndata: {"), "{}", events.text);
    assert!(events.text.contains("id: 3\nevent: finished\n"));
    let rest = TestRequest::with_uri(&format!("/v1/cycles/{id}/events"))
        .insert_header(("last-event-id", "2"));
    assert!(world.send(rest).await.text.starts_with("id: 3\n"));
    let cancel = world.post(&format!("/v1/cycles/{id}/cancel"), &json!({})).await;
    cancel.error(409);
    let unknown = CycleId::new();
    for path in [format!("/v1/cycles/{unknown}"), format!("/v1/cycles/{unknown}/events")] {
        world.get(&path).await.error(404);
    }
    world.get("/v1/cycles/nonsense").await.error(404);
    world.post("/v1/cycles", &json!({"colour": "red"})).await.error(400);
}

#[actix_web::test]
async fn evaluations_are_checked_and_started() {
    let world = World::new();
    let body = json!({"suite": "control_facts", "adapter": "base", "limit": 5});
    let view = world.post("/v1/evals", &body).await;
    assert_eq!(view.status, 201);
    assert_eq!(view.json()["request"], body);
    assert_eq!(world.post("/v1/evals", &json!({})).await.error(400)["param"], "suite");
    world.post("/v1/evals", &json!({"suite": "control_facts", "limit": 0})).await.ok();
    world.post("/v1/evals", &json!({"suite": "control_facts", "limit": -1})).await.error(400);
    let id = view.json()["id"].as_str().unwrap().to_owned();
    world.get(&format!("/v1/evals/{id}")).await.error(404);
}
