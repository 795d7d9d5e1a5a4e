//! Browsers: by which names and from which pages the daemon may be used.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use hone_server::door::Door;
use serde_json::json;

use crate::world::World;

const PAGE: &str = "https://app.example";

fn from(path: &str, host: &str, origin: Option<&str>) -> TestRequest {
    let request = TestRequest::with_uri(path).insert_header(("host", host));
    match origin {
        Some(origin) => request.insert_header(("origin", origin)),
        None => request,
    }
}

#[actix_web::test]
async fn foreign_pages_are_turned_away_and_ids_come_back() {
    let world = World::new();
    let request = from("/v1/models", "127.0.0.1:8080", Some("https://evil.example"));
    let reply = world.send(request.insert_header(("x-request-id", "mine-1"))).await;
    assert_eq!(reply.error(403)["code"], "foreign_origin");
    assert_eq!(reply.header("x-request-id"), "mine-1");
    assert_eq!(reply.header("access-control-allow-origin"), "");
}

#[actix_web::test]
async fn a_page_that_rebinds_its_name_reads_nothing() {
    let world = World::new();
    let body = json!({"model": "tiny", "prompt": "a secret", "max_tokens": 1});
    world.post("/v1/completions", &body).await.ok();
    for path in ["/v1/interactions", "/v1/feedback", "/metrics", "/", "/livez"] {
        // For its browser the page and the daemon are of one origin, so nothing else tells them apart.
        let reply = world.send(from(path, "evil.example:8080", None)).await;
        assert_eq!(reply.error(403)["code"], "foreign_host", "{path}");
        assert!(!reply.text.contains("secret"), "{}", reply.text);
        assert_eq!(world.send(from(path, "localhost:8080", None)).await.status, 200, "{path}");
    }
    let figures = world.get("/metrics").await.text;
    assert!(
        figures.contains("hone_requests_rejected_total{reason=\"foreign_host\"} 5"),
        "{figures}"
    );
}

#[actix_web::test]
async fn configured_names_are_this_machines_too() {
    let world = World::new().behind(Door::new(true, &["hone.lan".to_owned()], &[]));
    world.send(from("/v1/models", "hone.lan:8080", None)).await.ok();
    world.send(from("/v1/models", "other.lan", None)).await.error(403);
    let open = World::new().behind(Door::new(false, &[], &[]));
    open.send(from("/v1/models", "hone.example", None)).await.ok();
}

#[actix_web::test]
async fn without_origins_there_is_no_cors() {
    let world = World::new();
    let asked = from("/v1/chat/completions", "127.0.0.1:8080", Some("http://127.0.0.1:8080"));
    let asked = asked.method(Method::OPTIONS);
    let reply = world.send(asked.insert_header(("access-control-request-method", "POST"))).await;
    reply.error(405);
    assert_eq!(reply.header("access-control-allow-origin"), "");
}

#[actix_web::test]
async fn pages_of_a_configured_origin_work() {
    let world = World::new().behind(Door::new(true, &[], &[PAGE.to_owned()]));
    // What OpenAI's SDK makes a browser ask first.
    let wanted = "authorization,content-type,x-stainless-lang,x-stainless-os,x-hone-user";
    let asked = from("/v1/chat/completions", "127.0.0.1:8080", Some(PAGE)).method(Method::OPTIONS);
    let asked = asked.insert_header(("access-control-request-method", "POST"));
    let reply = world.send(asked.insert_header(("access-control-request-headers", wanted))).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, PAGE));
    assert!(reply.header("access-control-allow-methods").contains("POST"));
    let allowed = reply.header("access-control-allow-headers").to_ascii_lowercase();
    for header in wanted.split(',') {
        assert!(allowed.contains(header), "{header} is missing in {allowed}");
    }
    assert_eq!(reply.header("access-control-allow-credentials"), "", "no cookies are used");

    let body =
        json!({"model": "tiny", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]});
    let send = |origin: &str, body: &serde_json::Value| {
        let request = from("/v1/chat/completions", "127.0.0.1:8080", Some(origin));
        world.send(request.method(Method::POST).set_json(body))
    };
    let reply = send(PAGE, &body).await;
    reply.ok();
    assert_eq!(reply.header("access-control-allow-origin"), PAGE);
    assert!(reply.header("access-control-expose-headers").contains("x-hone-adapter"));
    let wrong = send(PAGE, &json!({})).await;
    wrong.error(400);
    assert_eq!(wrong.header("access-control-allow-origin"), PAGE, "a page may read why");
    // The daemon's own pages go on working, others are still turned away.
    send("http://127.0.0.1:8080", &body).await.ok();
    send("https://evil.example", &body).await.error(403);
}
