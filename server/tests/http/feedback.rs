//! Feedback and the log.

use actix_web::test::TestRequest;
use hone_api::InteractionId;
use serde_json::{Value, json};

use crate::world::World;

async fn answer(world: &World) -> String {
    let ask = json!({
        "model": "tiny", "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}],
    });
    world.post("/v1/chat/completions", &ask).await.ok()["id"].as_str().unwrap().to_owned()
}

fn item(id: &str, metric: &str, value: Value) -> Value {
    json!({"inference_id": id, "metric_name": metric, "value": value})
}

#[actix_web::test]
async fn all_metrics_are_kept_in_order() {
    let world = World::new();
    let id = answer(&world).await;
    for (path, metric, value) in [
        ("/v1/feedback", "thumbs", json!(false)),
        ("/feedback", "score", json!(0.25)),
        ("/v1/feedback", "demonstration", json!("so")),
        ("/v1/feedback", "comment", json!("hm")),
    ] {
        let reply = world.post(path, &item(&id, metric, value)).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        let body = reply.json();
        assert!(body["feedback_id"].as_str().unwrap().starts_with("fb-"));
        assert_eq!(body["next"], "taken; 5 more corrections start a cycle");
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
    }
    let kept = world.get(&format!("/v1/interactions/{id}")).await.ok();
    let metrics: Vec<_> =
        kept["feedback"].as_array().unwrap().iter().map(|f| f["metric_name"].clone()).collect();
    assert_eq!(json!(metrics), json!(["thumbs", "score", "demonstration", "comment"]));
    let newest = world.get("/v1/feedback?limit=1&order=desc").await.ok();
    let list = world.get("/v1/feedback?limit=3&order=asc").await.ok();
    assert!(newest["first_id"].as_str() > list["first_id"].as_str());
    assert_eq!((list["data"].as_array().unwrap().len(), &list["has_more"]), (3, &json!(true)));
    let figures = world.get("/metrics").await.text;
    assert!(figures.contains("hone_feedback_total{kind=\"thumbs\",verdict=\"bad\"} 1"));
    assert!(
        figures.contains("hone_feedback_total{kind=\"demonstration\",verdict=\"corrected\"} 1")
    );
    // A bare UUID names the answer too.
    let bare = id.strip_prefix("chatcmpl-").unwrap();
    assert_eq!(world.post("/feedback", &item(bare, "thumbs", json!(true))).await.status, 201);
}

#[actix_web::test]
async fn a_key_makes_it_once() {
    let world = World::new();
    let id = answer(&world).await;
    let send = async |value: bool| {
        let request = TestRequest::post().uri("/v1/feedback");
        let request = request.insert_header(("idempotency-key", "k-1"));
        world.send(request.set_json(item(&id, "thumbs", json!(value)))).await
    };
    let (first, second) = (send(true).await, send(true).await);
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.json(), second.json());
    let other = send(false).await;
    assert_eq!(other.error(409)["code"], "conflict");
    assert_eq!(other.header("x-should-retry"), "false");
}

#[actix_web::test]
async fn a_dry_run_stores_nothing() {
    let world = World::new();
    let id = answer(&world).await;
    let mut body = item(&id, "thumbs", json!(true));
    body["dryrun"] = json!(true);
    assert_eq!(world.post("/v1/feedback", &body).await.status, 200);
    assert_eq!(world.get("/v1/feedback").await.ok()["data"], json!([]));
    let running = InteractionId::new();
    body["inference_id"] = json!(running);
    assert_eq!(world.post("/v1/feedback", &body).await.error(404)["param"], "inference_id");
    // An answer takes feedback from its first byte on.
    let _pending = world.dependencies.store.register_pending(running, true);
    assert_eq!(world.post("/v1/feedback", &body).await.status, 200);
}

#[actix_web::test]
async fn wrong_feedback_names_its_fault() {
    let world = World::new();
    let id = answer(&world).await;
    let good = item(&id, "thumbs", json!(true));
    for (field, value, status, param) in [
        ("inference_id", json!(InteractionId::new()), 404, "inference_id"),
        ("inference_id", json!("nonsense"), 400, "inference_id"),
        ("inference_id", Value::Null, 400, "inference_id"),
        ("value", json!("yes"), 400, "value"),
        ("metric_name", json!("stars"), 400, "metric_name"),
        ("episode_id", json!(id), 400, "episode_id"),
        ("colour", json!("red"), 400, "colour"),
        ("tags", json!({"a": 1}), 400, "tags"),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let error = world.post("/v1/feedback", &body).await.error(status);
        assert_eq!(error["param"], param, "{error}");
    }
    assert_eq!(world.get("/v1/feedback").await.ok()["data"], json!([]));
}

#[actix_web::test]
async fn the_log_can_be_searched() {
    let world = World::new();
    let (first, second) = (answer(&world).await, answer(&world).await);
    world.post("/v1/feedback", &item(&second, "thumbs", json!(true))).await.ok();
    let ids = async |query: &str| -> String {
        let list = world.get(&format!("/v1/interactions?{query}")).await.ok();
        let data = list["data"].as_array().unwrap();
        data.iter().map(|i| i["id"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids("").await, format!("{first} {second}"));
    assert_eq!(ids("order=desc&limit=1").await, second);
    assert_eq!(ids("has_feedback=true").await, second);
    assert_eq!(ids("has_feedback=false&adapter=base&model=tiny").await, first);
    assert_eq!(ids(&format!("after={first}")).await, second);
    assert!(ids("model=other").await.is_empty());
    assert!(ids("until=1000").await.is_empty());
    assert!(ids("stored=true").await.is_empty());
    assert_eq!(ids("stored=false").await, format!("{first} {second}"));
    for (query, param) in [
        ("limit=0", "limit"),
        ("order=up", "order"),
        ("has_feedback=maybe", "has_feedback"),
        ("after=x", "after"),
        ("colour=red", "colour"),
    ] {
        let error = world.get(&format!("/v1/interactions?{query}")).await.error(400);
        assert_eq!(error["param"], param);
    }
    let many: String = (0..1200).map(|at| format!("metadata[{at}]=x&")).collect();
    for list in ["/v1/interactions", "/v1/chat/completions"] {
        assert_eq!(world.get(&format!("{list}?{many}")).await.error(400)["param"], "metadata");
    }
    world.get("/v1/interactions/nonsense").await.error(404);
    world.get(&format!("/v1/interactions/{}", InteractionId::new())).await.error(404);
}

#[actix_web::test]
async fn what_was_exported_comes_back_as_itself() {
    let world = World::new();
    let id = answer(&world).await;
    let posted = world.post("/v1/feedback", &item(&id, "thumbs", json!(true))).await.json();
    let send = async |key: &str| {
        let request = TestRequest::post().uri("/v1/feedback");
        let request = request.insert_header(("idempotency-key", key));
        world.send(request.set_json(item(&id, "thumbs", json!(true)))).await
    };
    let again = send(posted["feedback_id"].as_str().unwrap()).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"));
    assert_eq!(again.json(), posted);
    let foreign = hone_api::FeedbackId::new().to_string();
    let new = send(&foreign).await;
    assert_eq!((new.status, new.header("idempotent-replayed")), (201, ""));
    assert_eq!(new.json()["feedback_id"], foreign);
    let list = world.get("/v1/feedback").await.ok();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
}

#[actix_web::test]
async fn whoever_speaks_is_kept_as_a_hash() {
    let world = World::new();
    let ask = |body: Value| {
        let mut ask = json!({
            "model": "tiny", "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}],
        });
        ask.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        ask
    };
    let send = async |uri: &str, user: &str, body: Value| {
        let request = TestRequest::post().uri(uri).peer_addr("10.0.0.1:80".parse().unwrap());
        let request =
            if user.is_empty() { request } else { request.insert_header(("x-hone-user", user)) };
        world.send(request.set_json(body)).await.ok()
    };
    let chat = "/v1/chat/completions";
    let id = send(chat, "", ask(json!({"user": "ann"}))).await["id"].as_str().unwrap().to_owned();
    let kept = world.get(&format!("/v1/interactions/{id}")).await.ok();
    let ann = kept["source"].as_str().unwrap().to_owned();
    assert_eq!(ann.len(), 32);

    let say = |extra: Value| {
        let mut body = item(&id, "thumbs", json!(false));
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    for (header, extra) in [
        ("", json!({"user": "ann"})),
        ("bob", json!({"safety_identifier": "ann"})),
        ("ann", json!({})),
        ("", json!({})),
        ("bob", json!({})),
    ] {
        send("/v1/feedback", header, say(extra)).await;
    }
    send(&format!("/v1/feedback/waiting/{id}/discard"), "bob", json!({})).await;
    let list = world.get("/v1/feedback").await;
    assert!(!list.text.contains("ann") && !list.text.contains("10.0.0.1"), "{}", list.text);
    let sources: Vec<_> =
        list.json()["data"].as_array().unwrap().iter().map(|it| it["source"].clone()).collect();
    assert!(sources[..3].iter().all(|source| *source == ann), "{sources:?}");
    assert!(sources[3] != ann && sources[4] != ann && sources[3] != sources[4], "{sources:?}");
    assert_eq!(sources[4], sources[5]);

    let prompt = json!({"model": "tiny", "prompt": "Hi", "max_tokens": 1});
    let id = send("/v1/completions", "ann", prompt).await["id"].as_str().unwrap().to_owned();
    assert_eq!(world.get(&format!("/v1/interactions/{id}")).await.ok()["source"], ann);
}

#[actix_web::test]
async fn a_key_is_its_senders_own() {
    let world = World::new();
    let id = answer(&world).await;
    let send = async |user: &str, value: bool| {
        let request = TestRequest::post().uri("/v1/feedback");
        let request = request.insert_header(("idempotency-key", "k-1"));
        let request = request.insert_header(("x-hone-user", user));
        world.send(request.set_json(item(&id, "thumbs", json!(value)))).await
    };
    assert_eq!(send("ann", true).await.status, 201);
    let other = send("bob", false).await;
    assert_eq!((other.status, other.header("idempotent-replayed")), (201, ""));
    assert_eq!(send("ann", true).await.header("idempotent-replayed"), "true");
    send("ann", false).await.error(409);
    assert_eq!(world.get("/v1/feedback").await.ok()["data"].as_array().unwrap().len(), 2);
}

#[actix_web::test]
async fn a_demonstration_that_is_too_long_is_kept_and_said() {
    let world = World::new();
    let id = answer(&world).await;
    let mut long = item(&id, "demonstration", json!("word ".repeat(200)));
    long["dryrun"] = json!(true);
    let tried = world.post("/v1/feedback", &long).await;
    assert_eq!((tried.status, tried.json().get("next")), (200, None));
    long["dryrun"] = json!(false);
    let kept = world.post("/v1/feedback", &long).await;
    assert_eq!(kept.status, 201);
    assert_eq!(kept.json()["warning"], tried.json()["warning"]);
    let warning = kept.json()["warning"].as_str().unwrap().to_owned();
    assert!(warning.contains("at most 100 (training.max_length): it will not teach"), "{warning}");
    let longer = item(&id, "demonstration", json!("word ".repeat(16)));
    let warning = world.post("/v1/feedback", &longer).await.json()["warning"].to_string();
    assert!(
        warning.contains("evaluation.max_tokens") && warning.contains("will teach"),
        "{warning}"
    );
    let short = world.post("/v1/feedback", &item(&id, "demonstration", json!("so"))).await;
    assert_eq!(short.json().get("warning"), None);
    // What is not to teach need not fit.
    let private = json!({
        "model": "tiny", "max_tokens": 2, "store": false,
        "messages": [{"role": "user", "content": "Hi"}],
    });
    let id = world.post("/v1/chat/completions", &private).await.ok()["id"].clone();
    long["inference_id"] = id;
    assert_eq!(world.post("/v1/feedback", &long).await.ok().get("warning"), None);
}

#[actix_web::test]
async fn what_waits_is_listed_by_pages_and_can_be_discarded() {
    let world = World::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(answer(&world).await);
    }
    let list = async |query: &str| world.get(&format!("/v1/feedback/waiting?{query}")).await.ok();
    let page = list("limit=2").await;
    assert_eq!((&page["object"], &page["has_more"]), (&json!("list"), &json!(true)));
    assert_eq!((&page["first_id"], &page["last_id"]), (&json!(ids[2]), &json!(ids[1])));
    let one = &page["data"][0];
    assert_eq!((&one["object"], &one["id"]), (&json!("feedback.waiting"), &json!(ids[2])));
    assert_eq!((&one["reason"], &one["answer"]), (&json!("no_correction"), &Value::Null));
    assert_eq!(one["messages"][0]["content"], "Hi");
    let rest = list(&format!("limit=2&after={}", ids[1])).await;
    assert_eq!((&rest["first_id"], &rest["has_more"]), (&json!(ids[0]), &json!(false)));
    assert_eq!(list("").await["data"].as_array().unwrap().len(), 3);
    for (query, param) in [("limit=0", "limit"), ("after=x", "after"), ("order=asc", "order")] {
        let error = world.get(&format!("/v1/feedback/waiting?{query}")).await.error(400);
        assert_eq!(error["param"], param);
    }

    let discard = |id: &str| format!("/v1/feedback/waiting/{id}/discard");
    let reply = world.post(&discard(&ids[0]), &json!({})).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let kept = world.get(&format!("/v1/interactions/{}", ids[0])).await.ok();
    assert_eq!(kept["feedback"][0]["id"], reply.json()["feedback_id"]);
    assert_eq!(kept["feedback"][0]["metric_name"], "discard");
    let also = world.post("/v1/feedback", &item(&ids[1], "discard", json!(true))).await;
    assert_eq!(also.status, 201);
    world.post(&discard(&InteractionId::new().to_string()), &json!({})).await.error(404);
    world.post(&discard("nonsense"), &json!({})).await.error(404);
    let colour = world.post(&discard(&ids[0]), &json!({"colour": "red"})).await;
    assert_eq!(colour.error(400)["param"], "colour");
}
