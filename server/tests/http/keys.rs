//! Who may call: every route with every scope, and what becomes of the caller behind it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::setup::options;
use crate::world::{Reply, World};

/// What each route needs: a scope, `any` key, or nothing (`public`).
const ROUTES: [(&str, &str, &str); 62] = [
    ("POST", "/v1/chat/completions", "chat"),
    ("GET", "/v1/chat/completions", "chat"),
    ("GET", "/v1/chat/completions/{id}", "chat"),
    ("POST", "/v1/chat/completions/{id}", "chat"),
    ("DELETE", "/v1/chat/completions/{id}", "chat"),
    ("GET", "/v1/chat/completions/{id}/messages", "chat"),
    ("POST", "/v1/completions", "chat"),
    ("POST", "/v1/responses", "chat"),
    ("GET", "/v1/responses/{id}", "chat"),
    ("DELETE", "/v1/responses/{id}", "chat"),
    ("GET", "/v1/responses/{id}/input_items", "chat"),
    ("POST", "/v1/embeddings", "chat"),
    ("POST", "/v1/tokenize", "chat"),
    ("POST", "/tokenize", "chat"),
    ("POST", "/v1/detokenize", "chat"),
    ("POST", "/detokenize", "chat"),
    ("GET", "/tokenizer_info", "chat"),
    ("GET", "/v1/models", "any"),
    ("GET", "/v1/models/{id}", "any"),
    ("DELETE", "/v1/models/{id}", "adapters"),
    ("POST", "/v1/feedback", "feedback"),
    ("POST", "/feedback", "feedback"),
    ("POST", "/v1/feedback/waiting/{id}/discard", "feedback"),
    ("GET", "/v1/feedback", "export"),
    ("GET", "/v1/feedback/waiting", "export"),
    ("GET", "/v1/interactions", "export"),
    ("GET", "/v1/interactions/{id}", "export"),
    ("GET", "/v1/interactions/{id}/recall", "export"),
    ("POST", "/v1/interactions/{id}/replay", "export"),
    ("DELETE", "/v1/interactions/{id}", "export"),
    ("GET", "/v1/subjects/{user}", "admin"),
    ("DELETE", "/v1/subjects/{user}", "admin"),
    ("GET", "/v1/adapters", "adapters"),
    ("POST", "/v1/adapters", "adapters"),
    ("GET", "/v1/adapters/{ref}", "adapters"),
    ("DELETE", "/v1/adapters/{ref}", "adapters"),
    ("POST", "/v1/adapters/{ref}/promote", "adapters"),
    ("POST", "/v1/adapters/rollback", "adapters"),
    ("POST", "/v1/load_lora_adapter", "adapters"),
    ("POST", "/v1/unload_lora_adapter", "adapters"),
    ("GET", "/v1/cycles", "cycles"),
    ("POST", "/v1/cycles", "cycles"),
    ("GET", "/v1/cycles/{id}", "cycles"),
    ("POST", "/v1/cycles/{id}/cancel", "cycles"),
    ("GET", "/v1/cycles/{id}/events", "cycles"),
    ("POST", "/v1/evals", "cycles"),
    ("GET", "/v1/evals/{id}", "cycles"),
    ("GET", "/v1/audit", "admin"),
    ("GET", "/v1/keys", "admin"),
    ("POST", "/v1/keys", "admin"),
    ("DELETE", "/v1/keys/{id}", "admin"),
    ("GET", "/metrics", "any"),
    ("GET", "/openapi.json", "any"),
    ("GET", "/docs", "any"),
    ("GET", "/", "any"),
    ("GET", "/livez", "public"),
    ("GET", "/readyz", "public"),
    ("GET", "/startupz", "public"),
    ("GET", "/health", "public"),
    ("GET", "/ping", "public"),
    ("GET", "/version", "public"),
    ("OPTIONS", "/v1/models", "405"),
];
const SCOPES: [&str; 6] = ["chat", "feedback", "export", "adapters", "cycles", "admin"];

fn with(key: &str, request: TestRequest) -> TestRequest {
    request.insert_header(("authorization", format!("Bearer {key}")))
}

async fn make(world: &World, by: &str, body: &Value) -> Reply {
    world.send(with(by, TestRequest::post().uri("/v1/keys").set_json(body))).await
}

/// A world with a key of the scope `admin`.
async fn guarded() -> (World, String) {
    let world = World::new();
    let body = json!({"name": "operator", "scopes": ["admin"]});
    let made = make(&world, "", &body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let admin = made.json()["key"].as_str().unwrap().to_owned();
    (world, admin)
}

async fn key(world: &World, admin: &str, scopes: &[&str]) -> String {
    let made = make(world, admin, &json!({"name": "app", "scopes": scopes})).await;
    made.ok()["key"].as_str().unwrap().to_owned()
}

/// The paths and methods of the server's own route table.
fn registered() -> BTreeSet<(String, String)> {
    let source = include_str!("../../src/lib.rs");
    let calls = source
        .split("resource(")
        .skip(1)
        .filter(|rest| !rest.starts_with("path: &str") && !rest.starts_with("path)"));
    let mut found = BTreeSet::new();
    for call in calls {
        let words: Vec<_> = call.split('"').take(4).collect();
        let [start, path, between, allow] = words[..] else { panic!("{call:.80}") };
        assert_eq!((start.trim(), between.trim()), ("", ","), "a path in plain words: {call:.80}");
        let path = path.replace(":.+}", "}");
        for method in allow.split(", ").filter(|method| *method != "HEAD") {
            found.insert((method.to_owned(), path.clone()));
        }
    }
    found
}

#[actix_web::test]
async fn the_description_tells_what_each_route_asks_for() {
    let (world, admin) = guarded().await;
    let authorization = ("authorization", format!("Bearer {admin}"));
    let request = TestRequest::with_uri("/openapi.json").insert_header(authorization);
    let document = world.send(request).await.ok();
    let scheme = &document["components"]["securitySchemes"]["api_key"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
    let mut described = 0;
    for (method, path, needs) in ROUTES.iter().filter(|(_, _, needs)| *needs != "405") {
        let operation = &document["paths"][path][method.to_lowercase()];
        let expected = match *needs {
            "public" => Value::Null,
            "any" => json!([{"api_key": []}]),
            scope => json!([{"api_key": [scope]}]),
        };
        assert!(operation.is_object(), "{method} {path} is not described");
        assert_eq!(operation["security"], expected, "{method} {path}");
        described += 1;
    }
    let all = document["paths"].as_object().unwrap().values();
    assert_eq!(all.map(|item| item.as_object().unwrap().len()).sum::<usize>(), described);

    // While no key was made, none is needed.
    let open = World::new().get("/openapi.json").await.ok();
    let chat = &open["paths"]["/v1/chat/completions"]["post"]["security"];
    assert_eq!(*chat, json!([{"api_key": ["chat"]}, {}]));
    assert_eq!(open["paths"]["/livez"]["get"]["security"], Value::Null);
}

#[actix_web::test]
async fn every_route_asks_for_what_is_declared() {
    let (world, admin) = guarded().await;
    let mut keys = Vec::new();
    for scope in SCOPES {
        keys.push((scope, key(&world, &admin, &[scope]).await));
    }
    let declared: BTreeSet<_> = ROUTES
        .iter()
        .filter(|(_, _, needs)| *needs != "405")
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(registered(), declared, "a route without a declared caller");

    for (method, path, needs) in ROUTES {
        let path = path.replace("{id}", "x").replace("{ref}", "x").replace("{user}", "x");
        let method: Method = method.parse().unwrap();
        let request = || TestRequest::with_uri(&path).method(method.clone());
        let what = format!("{method} {path}");
        let nobody = world.send(request()).await;
        let stranger =
            "hone-0123456789ab-0000000000000000000000000000000000000000000000000000000000000000";
        let wrong = world.send(with(stranger, request())).await;
        if ["public", "405"].contains(&needs) {
            assert_eq!(
                (nobody.status, wrong.status),
                if needs == "405" { (405, 405) } else { (200, 200) }
            );
            continue;
        }
        for refused in [nobody, wrong] {
            assert_eq!(refused.error(401)["code"], "invalid_api_key", "{what}");
            assert_eq!(refused.header("www-authenticate"), "Bearer");
        }
        for (scope, key) in &keys {
            let reply = world.send(with(key, request())).await;
            if needs == "any" || needs == *scope || *scope == "admin" {
                assert!(![401, 403].contains(&reply.status), "{what} by {scope}: {}", reply.text);
            } else {
                assert_eq!(reply.error(403)["code"], "missing_scope", "{what} by {scope}");
            }
            if method == Method::GET && !path.ends_with("/events") {
                let head = world.send(with(key, request().method(Method::HEAD))).await;
                assert_eq!(head.status, reply.status, "HEAD {path} by {scope}");
            }
        }
    }
}

#[actix_web::test]
async fn without_a_key_made_nobody_needs_one() {
    let world = World::new();
    // What OpenAI's clients send where no key is needed.
    world.send(with("sk-no-key", TestRequest::with_uri("/v1/interactions"))).await.ok();
    let first = make(&world, "", &json!({"name": "app", "scopes": ["chat"]})).await;
    let refused = first.error(409);
    assert!(refused["message"].as_str().unwrap().contains("--scope admin"), "{refused}");
    world.get("/v1/interactions").await.ok();
}

#[actix_web::test]
async fn a_key_is_told_once_and_revoked_at_once() {
    let (world, admin) = guarded().await;
    let end = hone_api::UnixMillis::now().0 + 3_600_000;
    let body = json!({"name": "app", "scopes": ["chat", "feedback"], "expires_at": end});
    let made = make(&world, &admin, &body).await;
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.ok();
    let (app, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert!(app.starts_with(&format!("hone-{id}-")), "{made}");
    let list = world.send(with(&admin, TestRequest::with_uri("/v1/keys"))).await;
    let secret = app.rsplit('-').next().unwrap();
    assert!(!list.text.contains(secret) && list.text.contains(id), "{}", list.text);
    assert_eq!(list.ok()["data"][1]["scopes"], json!(["chat", "feedback"]));

    let ask = || with(app, TestRequest::with_uri("/v1/models"));
    world.send(ask()).await.ok();
    let revoke = |id: &str| {
        let request = TestRequest::delete().uri(&format!("/v1/keys/{id}"));
        world.send(with(&admin, request))
    };
    assert!(revoke(id).await.ok()["revoked_at"].is_i64());
    let refused = world.send(ask()).await;
    assert_eq!(refused.error(401)["code"], "invalid_api_key");
    assert!(!refused.text.contains(secret));
    revoke("unknown").await.error(404);
    let own = admin.split('-').nth(1).unwrap();
    let last = revoke(own).await.error(409);
    assert!(last["message"].as_str().unwrap().contains("last key"), "{last}");

    let trail = world.dependencies.store.audit(9).await.unwrap();
    let trail: Vec<_> =
        trail.iter().map(|row| (&*row.actor, &*row.action, &*row.subject)).collect();
    let expected =
        [(own, "key.revoked", id), (own, "key.created", id), ("operator", "key.created", own)];
    assert_eq!(trail, expected);
}

#[actix_web::test]
async fn who_may_not_is_refused_before_the_body_comes() {
    let (world, _) = guarded().await;
    let server = hone_server::run(world.dependencies.clone(), &options()).unwrap();
    let address = server.address();
    let refused = tokio::task::spawn_blocking(move || {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head =
            "POST /v1/feedback HTTP/1.1\r\nhost: localhost\r\ncontent-length: 60000\r\n\r\n{";
        client.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        while !answer.contains("invalid_api_key") {
            let mut some = [0; 600];
            let count = client.read(&mut some).unwrap();
            assert!(count > 0, "{answer}");
            answer.push_str(&String::from_utf8_lossy(&some[..count]));
        }
        answer
    });
    assert!(refused.await.unwrap().starts_with("HTTP/1.1 401"));
    server.stop().await;
}

#[actix_web::test]
async fn a_key_reads_the_stored_completions_that_it_asked_for() {
    let (world, admin) = guarded().await;
    let (mine, other) =
        (key(&world, &admin, &["chat"]).await, key(&world, &admin, &["chat"]).await);
    let both = key(&world, &admin, &["chat", "export"]).await;
    let body = json!({"model": "tiny", "store": true, "max_tokens": 2,
        "messages": [{"role": "user", "content": "a secret"}]});
    let ask = TestRequest::post().uri("/v1/chat/completions").set_json(&body);
    let id = world.send(with(&mine, ask)).await.ok()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/chat/completions/{id}");
    for (key, sees) in [(&mine, true), (&other, false), (&both, true), (&admin, true)] {
        let list = world.send(with(key, TestRequest::with_uri("/v1/chat/completions"))).await.ok();
        assert_eq!(list["data"].as_array().unwrap().len(), usize::from(sees));
        for path in [path.clone(), format!("{path}/messages")] {
            let one = world.send(with(key, TestRequest::with_uri(&path))).await;
            assert_eq!(one.status, if sees { 200 } else { 404 }, "{path}");
        }
    }
    world.send(with(&other, TestRequest::delete().uri(&path))).await.error(404);
    let log = format!("/v1/interactions/{id}");
    let kept = world.send(with(&admin, TestRequest::with_uri(&log))).await.ok();
    let public = mine.split('-').nth(1).unwrap();
    assert_eq!(kept["key_id"], public);
    let by = async |key: &str| {
        let path = format!("/v1/interactions?key={key}");
        let page = world.send(with(&admin, TestRequest::with_uri(&path))).await.ok();
        page["data"].as_array().unwrap().len()
    };
    assert_eq!((by(public).await, by("nobody").await), (1, 0));
}

#[actix_web::test]
async fn a_source_is_a_key_and_an_end_user() {
    let (world, admin) = guarded().await;
    let scopes = ["chat", "feedback"];
    let (one, two) = (key(&world, &admin, &scopes).await, key(&world, &admin, &scopes).await);
    let body = json!({"model": "tiny", "prompt": "Hi", "max_tokens": 1, "user": "ann"});
    let ask = TestRequest::post().uri("/v1/completions").set_json(&body);
    let id = world.send(with(&one, ask)).await.ok()["id"].clone();
    let say = async |key: &str, user: Option<&str>| {
        let body =
            json!({"inference_id": id, "metric_name": "thumbs", "value": true, "user": user});
        let request = TestRequest::post().uri("/v1/feedback").set_json(&body);
        world.send(with(key, request)).await.ok();
        let newest = TestRequest::with_uri("/v1/feedback?limit=1&order=desc");
        world.send(with(&admin, newest)).await.ok()["data"][0]["source"].clone()
    };
    let log = format!("/v1/interactions/{}", id.as_str().unwrap());
    let asker = world.send(with(&admin, TestRequest::with_uri(&log))).await.ok()["source"].clone();
    assert_eq!(say(&one, Some("ann")).await, asker);
    let all = [
        asker,
        say(&two, Some("ann")).await,
        say(&one, Some("bob")).await,
        say(&one, None).await,
        say(&two, None).await,
    ];
    let distinct: BTreeSet<_> = all.iter().map(Value::to_string).collect();
    assert_eq!(distinct.len(), all.len(), "{all:?}");
}

#[actix_web::test]
async fn only_keys_that_may_steer_the_gate_do() {
    let (world, admin) = guarded().await;
    let app = key(&world, &admin, &["chat", "feedback"]).await;
    let steering = key(&world, &admin, &["feedback", "adapters"]).await;
    let ask = TestRequest::post().uri("/v1/completions");
    let ask = ask.set_json(json!({"model": "tiny", "prompt": "Hi", "max_tokens": 1}));
    let id = world.send(with(&app, ask)).await.ok()["id"].clone();
    let tags = json!({"family": "f", "check": "{\"type\":\"exact\",\"value\":\"a\"}", "mine": "1"});
    for (key, kept) in
        [(&app, json!({"mine": "1"})), (&steering, tags.clone()), (&admin, tags.clone())]
    {
        let body =
            json!({"inference_id": id, "metric_name": "thumbs", "value": true, "tags": tags});
        let request = TestRequest::post().uri("/v1/feedback").set_json(&body);
        let said = world.send(with(key, request)).await.ok();
        assert_eq!(said.get("warning").is_some(), kept != tags, "{said}");
        let newest = TestRequest::with_uri("/v1/feedback?limit=1&order=desc");
        let newest = world.send(with(&admin, newest)).await.ok();
        assert_eq!(newest["data"][0]["tags"], kept);
    }
}

#[actix_web::test]
async fn a_keys_limits_hold_for_it_alone_and_tell_when_to_come_back() {
    let (world, admin) = guarded().await;
    let limited = async |limit: &str, most: u32| {
        let mut body = json!({"name": "app", "scopes": ["chat"]});
        body[limit] = most.into();
        make(&world, &admin, &body).await.ok()["key"].as_str().unwrap().to_owned()
    };
    let refused = |reply: &Reply| {
        let error = reply.error(429);
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("rate_limit_error"), &json!("rate_limit_exceeded"))
        );
        let seconds: u64 = reply.header("retry-after").parse().unwrap();
        let milliseconds: u64 = reply.header("retry-after-ms").parse().unwrap();
        assert!(seconds * 1000 >= milliseconds && milliseconds > 0);
        seconds
    };
    let few = limited("requests_per_minute", 2).await;
    let look = |key: &str| world.send(with(key, TestRequest::with_uri("/v1/models")));
    for _ in 0..2 {
        look(&few).await.ok();
    }
    assert!((1..=30).contains(&refused(&look(&few).await)));
    look(&admin).await.ok();
    // Who may not is told that first.
    world.send(with(&few, TestRequest::with_uri("/v1/keys"))).await.error(403);

    let short = limited("tokens_per_minute", 30).await;
    let ask = |key: &str, prompt: &str| {
        let body = json!({"model": "tiny", "prompt": prompt, "max_tokens": 40, "ignore_eos": true});
        world.send(with(key, TestRequest::post().uri("/v1/completions").set_json(body)))
    };
    let used = ask(&short, "Hi").await.ok()["usage"]["total_tokens"].as_u64().unwrap();
    assert!(used > 40, "an answer that was let in is given to its end");
    // Thirty a minute: what is missing comes back at one in two seconds.
    let wait = refused(&ask(&short, "Hi").await);
    assert!(
        (2 * (used - 30) - 5..=2 * (used - 30) + 10).contains(&wait),
        "{wait} s after {used} tokens"
    );
    let never = ask(&short, &"word ".repeat(60)).await;
    never.error(429);
    assert_eq!((never.header("x-should-retry"), never.header("retry-after")), ("false", ""));
    ask(&admin, "Hi").await.ok();
    let figures = world.send(with(&admin, TestRequest::with_uri("/metrics"))).await.text;
    assert!(
        figures.contains("hone_requests_rejected_total{reason=\"rate_limit_exceeded\"} 3"),
        "{figures}"
    );
}
