//! Who asks stays unknown, and what she wants gone goes.

use std::sync::atomic::Ordering;

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::world::World;

fn ask(user: Option<&str>, text: &str) -> Value {
    let mut body = json!({
        "model": "tiny", "max_tokens": 2, "messages": [{"role": "user", "content": text}],
    });
    if let Some(user) = user {
        body["user"] = json!(user);
    }
    body
}

async fn answer(world: &World, body: &Value, headers: &[(&'static str, &str)]) -> String {
    let mut request = TestRequest::post().uri("/v1/chat/completions").set_json(body);
    for header in headers {
        request = request.insert_header(*header);
    }
    world.send(request).await.ok()["id"].as_str().unwrap().to_owned()
}

async fn kept(world: &World, id: &str) -> Value {
    world.get(&format!("/v1/interactions/{id}")).await.ok()
}

#[actix_web::test]
async fn people_and_conversations_are_hashes_however_they_are_named() {
    let world = World::new();
    let body = answer(&world, &ask(Some("ann"), "Hi"), &[]).await;
    let header = answer(&world, &ask(None, "Hi"), &[("x-hone-user", " ann ")]).await;
    let webui = [("x-openwebui-user-id", "ann"), ("x-openwebui-chat-id", "chat-7")];
    let webui = answer(&world, &ask(None, "Hi"), &webui).await;
    let nobody = answer(&world, &ask(None, "Hi"), &[]).await;
    let users: Vec<Value> = {
        let mut users = Vec::new();
        for id in [&body, &header, &webui] {
            users.push(kept(&world, id).await["user"].clone());
        }
        users
    };
    let hash = users[0].as_str().unwrap();
    assert_eq!((hash.len(), users[1].as_str(), users[2].as_str()), (32, Some(hash), Some(hash)));
    assert_eq!(kept(&world, &nobody).await["user"], Value::Null);
    let conversation = kept(&world, &webui).await["conversation"].clone();
    assert!(conversation.as_str().is_some_and(|hash| hash.len() == 32), "{conversation}");

    let all = world.get("/v1/interactions?user=ann").await.ok();
    assert_eq!(all["data"].as_array().unwrap().len(), 3);
    let one = world.get("/v1/interactions?conversation=chat-7").await.ok();
    assert_eq!((one["data"].as_array().unwrap().len(), &one["data"][0]["id"]), (1, &json!(webui)));
    assert!(!all.to_string().contains("ann\""), "{all}");
}

#[actix_web::test]
async fn a_person_goes_by_any_name_and_answers_one_by_one() {
    let world = World::new();
    for name in ["ann", "a/b?c d", "\u{e4}nne@example.org"] {
        let id = answer(&world, &ask(Some(name), "Hi"), &[]).await;
        let path: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/v1/subjects/{path}");
        let recall = world.get(&path).await.ok();
        assert_eq!(
            (&recall["object"], &recall["interactions"]),
            (&json!("recall"), &json!(1)),
            "{name}"
        );
        let receipt = world.delete(&path).await.ok();
        assert_eq!(receipt["removed"]["interactions"], 1, "{name}: {receipt}");
        assert_eq!(world.get(&format!("/v1/interactions/{id}")).await.status, 404);
    }
    let id = answer(&world, &ask(None, "Hi"), &[]).await;
    let path = format!("/v1/interactions/{id}");
    assert_eq!(world.get(&format!("{path}/recall")).await.ok()["interactions"], 1);
    let receipt = world.delete(&path).await.ok();
    assert_eq!(receipt["subject"]["interaction"], json!(id));
    assert_eq!(world.get(&path).await.status, 404);
    assert_eq!(world.delete("/v1/subjects/%20").await.status, 400);
}

#[actix_web::test]
async fn personal_data_stays_out_where_it_shall() {
    let world = World::new();
    world.redacts.store(true, Ordering::Relaxed);
    let mut body = ask(None, "Write to ann@northwind.io, please");
    body["metadata"] = json!({"mail": "bob@northwind.io"});
    let id = answer(&world, &body, &[]).await;
    let said = json!({
        "inference_id": id, "metric_name": "demonstration", "value": "I wrote to ann@northwind.io",
        "tags": {"by": "carl@northwind.io"},
    });
    assert_eq!(world.post("/v1/feedback", &said).await.status, 201);
    let told = kept(&world, &id).await;
    assert!(!told.to_string().contains("northwind.io"), "{told}");
    assert!(told["messages"][0]["content"].as_str().unwrap().starts_with("Write to "), "{told}");
    assert!(told["feedback"][0]["value"].as_str().unwrap().starts_with("I wrote to "), "{told}");
    assert_eq!(told["prompt_tokens"], json!([]), "tokens spell the text");

    let plain = answer(&world, &ask(None, "Hi"), &[]).await;
    assert_ne!(kept(&world, &plain).await["prompt_tokens"], json!([]));
}
