//! What is asked of requests before anybody looks at what they want: how much an address may do, wrong keys, bodies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use actix_web::test::TestRequest;
use hone_api::key::KeyLimits;
use hone_server::Options;
use hone_server::address::Proxies;
use hone_server::door::Door;
use hone_server::state::Entry;
use serde_json::{Value, json};

use crate::setup::{entry, options};
use crate::world::World;

fn from(address: &str, request: TestRequest) -> TestRequest {
    request.peer_addr(SocketAddr::new(address.parse().unwrap(), 4711))
}

fn door() -> Door {
    Door::new(true, &[], &[])
}

#[actix_web::test]
async fn while_there_are_no_keys_each_address_has_its_bounds() {
    let limits = KeyLimits { requests_per_minute: Some(2), ..KeyLimits::default() };
    let proxies = Proxies::new(vec!["10.9.0.0/16".parse().unwrap()]);
    let world = World::new().entered_by(Entry { per_address: limits, proxies, ..entry(door()) });
    let models = || TestRequest::with_uri("/v1/models");
    for address in ["10.0.0.1", "10.0.0.2"] {
        for _ in 0..2 {
            world.send(from(address, models())).await.ok();
        }
        let refused = world.send(from(address, models())).await;
        let error = refused.error(429);
        assert_eq!(error["code"], "rate_limit_exceeded");
        assert!(error["message"].as_str().unwrap().contains("this address"), "{error}");
        assert!(refused.header("retry-after").parse::<u32>().unwrap() <= 60);
    }
    let through = |client: &str, proxy: &str| {
        from(proxy, models()).insert_header(("x-forwarded-for", client.to_owned()))
    };
    assert_eq!(world.send(through("10.0.0.3", "10.0.0.1")).await.status, 429, "no proxy of ours");
    assert_eq!(world.send(through("10.0.0.3", "10.9.0.1")).await.status, 200);
    assert_eq!(world.send(through("10.0.0.1", "10.9.0.2")).await.status, 429);
    assert_eq!(world.send(from("10.0.0.1", TestRequest::with_uri("/livez"))).await.status, 200);

    // From the first key on the keys' own bounds hold.
    let new = json!({"name": "operator", "scopes": ["admin"]});
    let post = from("10.0.0.4", TestRequest::post().uri("/v1/keys").set_json(new));
    let key = world.send(post).await.ok()["key"].as_str().unwrap().to_owned();
    for _ in 0..5 {
        let known = models().insert_header(("authorization", format!("Bearer {key}")));
        world.send(from("10.0.0.1", known)).await.ok();
    }
}

#[actix_web::test]
async fn answers_under_way_are_counted_by_address_too() {
    let limits = KeyLimits { tokens_per_minute: Some(5), ..KeyLimits::default() };
    let world = World::new().entered_by(Entry { per_address: limits, ..entry(door()) });
    let body = json!({"model": "tiny", "prompt": [9, 9, 9], "max_tokens": 4, "ignore_eos": true});
    let ask = || from("10.0.0.1", TestRequest::post().uri("/v1/completions").set_json(&body));
    world.send(ask()).await.ok();
    assert_eq!(world.send(ask()).await.error(429)["code"], "rate_limit_exceeded");
    let other = from("10.0.0.2", TestRequest::post().uri("/v1/completions").set_json(&body));
    world.send(other).await.ok();
}

#[actix_web::test]
async fn wrong_keys_are_answered_ten_times_a_second_and_right_ones_always() {
    let world = World::new();
    let new = json!({"name": "operator", "scopes": ["admin"]});
    let key = world.post("/v1/keys", &new).await.ok()["key"].as_str().unwrap().to_owned();
    let with = |address: &str, key: &str| {
        let request = TestRequest::with_uri("/v1/models");
        from(address, request.insert_header(("authorization", format!("Bearer {key}"))))
    };
    let mut seen = [0; 2];
    for _ in 0..40 {
        let reply = world.send(with("10.0.0.1", &format!("{key}x"))).await;
        match reply.status {
            401 => seen[0] += 1,
            429 => {
                seen[1] += 1;
                assert!(!reply.header("retry-after").is_empty());
            }
            other => panic!("{other}"),
        }
    }
    assert!(seen[0] >= 10 && seen[1] >= 10, "{seen:?}");
    assert_eq!(world.send(with("10.0.0.1", &key)).await.status, 200, "a right one is let in");
    assert_eq!(world.send(with("10.0.0.2", "x")).await.status, 401, "nobody else is refused");
}

#[actix_web::test]
async fn all_bodies_together_are_bounded() {
    let world = World::new();
    let (dependencies, room) = (world.dependencies.clone(), 64 << 10);
    let bounded = Options { body_memory: room, ..options() };
    let server = hone_server::run(dependencies, &bounded).unwrap();
    let at = |path: &str| format!("{}{path}", server.url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    // One that is half sent holds its room.
    let half = format!("{{\"prompt\": \"{}", "a ".repeat(room / 4));
    let length = half.len() + 2;
    let mut slow = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "POST /v1/tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
    );
    slow.write_all((head + &half).as_bytes()).unwrap();
    let prompt = json!({"prompt": "a ".repeat(room * 3 / 8)});
    let ask = async || client.post(at("/v1/tokenize")).json(&prompt).send().await.unwrap();
    let refused = crate::world::eventually(async || {
        let answer = ask().await;
        (answer.status() == 503).then_some(answer)
    });
    let refused = refused.await;
    assert_eq!(refused.headers()["retry-after"], "1");
    let error: Value = refused.json().await.unwrap();
    assert_eq!(error["error"]["code"], "bodies_full");
    let small = client.post(at("/v1/tokenize")).json(&json!({"prompt": "a"}));
    assert_eq!(small.send().await.unwrap().status(), 200, "there is room for this one");
    slow.write_all(b"\"}").unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 200");
    assert_eq!(ask().await.status(), 200, "its room is free again");
    server.stop().await;
}

#[actix_web::test]
async fn figures_may_have_an_address_of_their_own() {
    let world = World::new();
    let new = json!({"name": "operator", "scopes": ["admin"]});
    let key = world.post("/v1/keys", &new).await.ok()["key"].as_str().unwrap().to_owned();
    let apart = Options { metrics: Some("127.0.0.1:0".parse().unwrap()), ..options() };
    let server = hone_server::run(world.dependencies.clone(), &apart).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let own = format!("http://{}", server.metrics_address().unwrap());
    let figures = client.get(format!("{own}/metrics")).send().await.unwrap();
    assert_eq!(figures.status(), 200, "no key is asked for");
    assert!(figures.text().await.unwrap().contains("hone_queue_depth"));
    let at_main = client.get(format!("{}/metrics", server.url())).bearer_auth(&key);
    assert_eq!(at_main.send().await.unwrap().status(), 404);
    for (path, name, value, status) in [
        ("/v1/models", "x", "x", 404),
        ("/metrics", "host", "evil.example", 403),
        ("/metrics", "origin", "https://evil.example", 403),
    ] {
        let request = client.get(format!("{own}{path}")).header(name, value);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{path} {name}");
        let body: Value = answer.json().await.unwrap();
        assert!(body["error"]["message"].is_string(), "{body}");
    }
    let taken = Options { metrics: server.metrics_address(), ..options() };
    let error = hone_server::run(world.dependencies.clone(), &taken).err().unwrap().to_string();
    assert!(error.contains("telemetry.metrics_listen"), "{error}");
    tokio::time::timeout(Duration::from_secs(20), server.stop()).await.unwrap();
}
