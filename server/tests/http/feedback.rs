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
        assert_eq!(body.as_object().unwrap().len(), 1);
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
    let _announced = world.parts.store.announce(running, true);
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
