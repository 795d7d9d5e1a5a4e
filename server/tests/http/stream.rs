//! Streamed answers: their chunks, their faults, their ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hone_api::chat::FinishReason;
use hone_api::interaction::Timings;
use hone_api::{AdapterId, InteractionId};
use hone_engine::{
    EmbedRequest, Embedding, Error, Event, EventSender, Generate, Generation, Health,
    LoadedAdapter, Request,
};
use hone_model::Model;
use hone_server::Options;
use hone_text::FrontEnd;
use serde_json::{Value, json};

use crate::setup::options;
use crate::world::{World, events, eventually, tiny};

fn ask(more: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "temperature": 0, "max_tokens": 12, "ignore_eos": true,
        "messages": [{"role": "user", "content": "Hello there"}],
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[actix_web::test]
async fn chunks_add_up_to_the_whole_answer() {
    let world = World::new();
    let path = "/v1/chat/completions";
    let whole = world.post(path, &ask(json!({"n": 2, "seed": 3, "temperature": 1.2}))).await.ok();
    let body = ask(json!({
        "n": 2, "seed": 3, "temperature": 1.2, "stream": true,
        "stream_options": {"include_usage": true},
    }));
    let mut chunks = world.events(path, &body).await;
    let mut last = chunks.pop().unwrap();
    // The same prompt was computed for the whole answer, but its last token is computed again.
    let cached = last["usage"]["prompt_tokens_details"]["cached_tokens"].take();
    assert_eq!(cached.as_u64(), last["usage"]["prompt_tokens"].as_u64().map(|tokens| tokens - 1));
    last["usage"]["prompt_tokens_details"]["cached_tokens"] = json!(0);
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
    for field in ["id", "created", "model", "system_fingerprint", "object"] {
        assert!(chunks.iter().all(|chunk| chunk[field] == last[field]), "{field}");
    }
    assert_eq!(last["object"], "chat.completion.chunk");
    assert!(chunks.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
    for index in 0..2 {
        let own: Vec<_> =
            chunks.iter().map(|c| &c["choices"][0]).filter(|c| c["index"] == index).collect();
        assert_eq!(own[0]["delta"]["role"], "assistant");
        assert!(own[1..].iter().all(|choice| choice["delta"].get("role").is_none()));
        let text: String = own.iter().filter_map(|c| c["delta"]["content"].as_str()).collect();
        assert_eq!(text, whole["choices"][index]["message"]["content"].as_str().unwrap());
        let (end, before) = own.split_last().unwrap();
        assert_eq!((&end["finish_reason"], &end["delta"]), (&json!("length"), &json!({})));
        assert!(before.iter().all(|choice| choice["finish_reason"].is_null()));
    }
    let id = last["id"].as_str().unwrap();
    world.get(&format!("/v1/interactions/{id}")).await.ok();
}

#[actix_web::test]
async fn without_include_usage_there_is_no_usage() {
    let world = World::new();
    let chunks = world.events("/v1/chat/completions", &ask(json!({"stream": true}))).await;
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    assert!(chunks.iter().all(|chunk| chunk["choices"].as_array().unwrap().len() == 1));
}

#[actix_web::test]
async fn token_ids_and_log_probabilities_come_with_their_chunks() {
    let world = World::new();
    let body =
        ask(json!({"stream": true, "return_token_ids": true, "logprobs": true, "top_logprobs": 1}));
    let chunks = world.events("/v1/chat/completions", &body).await;
    assert!(!chunks[0]["prompt_token_ids"].as_array().unwrap().is_empty());
    assert!(chunks[1].get("prompt_token_ids").is_none());
    let ids: Vec<_> =
        chunks.iter().filter_map(|c| c["choices"][0]["token_ids"].as_array()).collect();
    assert_eq!(ids.len(), 12);
    let content: Vec<_> =
        chunks.iter().filter_map(|c| c["choices"][0]["logprobs"]["content"].as_array()).collect();
    assert_eq!(content.len(), 12);
}

#[actix_web::test]
async fn a_streamed_completion_adds_up_too() {
    let world = World::new();
    let body = json!({
        "model": "tiny", "prompt": ["The sun", [5, 6, 7]], "max_tokens": 5, "temperature": 0,
        "ignore_eos": true, "logprobs": 1, "echo": true,
    });
    let whole = world.post("/v1/completions", &body).await.ok();
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({"include_usage": true});
    let mut chunks = world.events("/v1/completions", &streamed).await;
    let last = chunks.pop().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
    for index in 0..2 {
        let own: Vec<_> =
            chunks.iter().map(|c| &c["choices"][0]).filter(|c| c["index"] == index).collect();
        let text: String = own.iter().filter_map(|c| c["text"].as_str()).collect();
        assert_eq!(text, whole["choices"][index]["text"].as_str().unwrap());
        for list in ["tokens", "token_logprobs", "text_offset"] {
            let joined: Vec<_> = own
                .iter()
                .filter_map(|c| c["logprobs"][list].as_array())
                .flatten()
                .cloned()
                .collect();
            assert_eq!(json!(joined), whole["choices"][index]["logprobs"][list], "{list}");
        }
        assert_eq!(own.last().unwrap()["finish_reason"], "length");
    }
}

/// An engine that says what a test wants it to say, and when.
#[derive(Default)]
struct Scripted {
    /// What every answer begins with.
    events: Vec<Event>,
    refuse: Option<fn() -> Error>,
    /// The answers under way; each goes on when the test says so.
    open: Mutex<Vec<EventSender>>,
    /// Answers that were dropped before their end.
    left: Arc<AtomicUsize>,
}

impl Scripted {
    /// An engine that says one token and then nothing more by itself: its answers stay open
    /// however fast or slow the machine is.
    fn slow() -> Arc<Self> {
        Arc::new(Self { events: vec![token("So ")], ..Self::default() })
    }

    /// Ends every answer under way.
    fn finish(&self) {
        let finished = Event::Finished {
            reason: FinishReason::Stop,
            prompt_tokens: 9,
            cached_tokens: 4,
            completion_tokens: 1,
            timings: Timings::default(),
        };
        for sender in self.open.lock().unwrap().drain(..) {
            sender.send(finished.clone()).unwrap();
        }
    }
}

fn token(text: &str) -> Event {
    Event::Token { token: 5, text: text.to_owned(), logprob: -0.1, top: Vec::new() }
}

impl Generate for Scripted {
    fn submit(&self, _: Request) -> Result<Generation, Error> {
        if let Some(error) = self.refuse {
            return Err(error());
        }
        let left = Arc::clone(&self.left);
        let count = move || {
            left.fetch_add(1, Ordering::SeqCst);
        };
        let (sender, generation) = Generation::channel(None, None, count);
        for event in &self.events {
            sender.send(event.clone()).unwrap();
        }
        self.open.lock().unwrap().push(sender);
        Ok(generation)
    }
    fn embed(&self, _: EmbedRequest) -> Result<Embedding, Error> {
        Err(Error::ShuttingDown)
    }
    fn load(&self, id: AdapterId, _: &std::path::Path) -> Result<LoadedAdapter, Error> {
        Err(Error::NoEffect(id))
    }
    fn unload(&self, _: AdapterId) -> bool {
        false
    }
    fn is_loaded(&self, _: AdapterId) -> bool {
        false
    }
    fn set_live(&self, _: Option<AdapterId>, _: u64) -> Result<(), Error> {
        Ok(())
    }
    fn live(&self) -> Option<AdapterId> {
        None
    }
    fn health(&self) -> Health {
        Health { accepting: true, alive: true, ..Health::default() }
    }
    fn front_end(&self) -> &Arc<FrontEnd> {
        static MODEL: std::sync::LazyLock<Arc<Model>> = std::sync::LazyLock::new(tiny);
        MODEL.front_end()
    }
    fn kernels(&self) -> &str {
        "scripted"
    }
}

#[actix_web::test]
async fn a_failure_in_mid_stream_is_an_error_event() {
    let failed = Event::Failed("the device is gone; try again".to_owned());
    let engine = Scripted { events: vec![token("So "), failed], ..Scripted::default() };
    let world = World::with_engine(Arc::new(engine));
    let reply = world.post("/v1/chat/completions", &ask(json!({"stream": true}))).await;
    assert_eq!(reply.status, 200);
    let events: Vec<Value> =
        events(&reply.text).iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!(events[1]["choices"][0]["delta"]["content"], "So ");
    let error = &events.last().unwrap()["error"];
    assert_eq!(error["message"], "the device is gone; try again");
    assert_eq!(error["type"], "server_error");
    let id = events[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/interactions/{id}");
    let kept = eventually(async || Some(world.get(&path).await).filter(|r| r.status == 200)).await;
    assert_eq!(kept.json()["answers"][0]["finish_reason"], "error");

    let whole = world.post("/v1/chat/completions", &ask(json!({}))).await;
    assert_eq!(whole.error(500)["code"], "generation_failed");
}

#[actix_web::test]
async fn a_full_queue_says_when_to_come_back() {
    let full = || Error::QueueFull { waiting: 9, retry_after: Duration::from_secs(3) };
    let engine = Scripted { refuse: Some(full), ..Scripted::default() };
    let world = World::with_engine(Arc::new(engine));
    for stream in [false, true] {
        let reply = world.post("/v1/chat/completions", &ask(json!({"stream": stream}))).await;
        assert_eq!(reply.error(429)["code"], "queue_full");
        assert_eq!(reply.header("retry-after"), "3");
        assert_eq!(reply.header("retry-after-ms"), "3000");
    }
    let figures = world.get("/metrics").await.text;
    assert!(figures.contains("hone_requests_rejected_total{reason=\"queue_full\"} 2"), "{figures}");
}

#[actix_web::test]
async fn who_gives_a_place_up_hears_it_as_if_it_had_had_none() {
    let displaced = Event::Displaced { retry_after: Duration::from_secs(3) };
    let engine = Scripted { events: vec![displaced], ..Scripted::default() };
    let world = World::with_engine(Arc::new(engine));
    for stream in [false, true] {
        let reply = world.post("/v1/chat/completions", &ask(json!({"stream": stream}))).await;
        let error = reply.error(429);
        assert_eq!(
            (&error["code"], &error["type"]),
            (&json!("queue_full"), &json!("rate_limit_error"))
        );
        assert_eq!(reply.header("retry-after"), "3");
    }
    let kept = world.get("/v1/interactions").await.ok();
    assert_eq!(kept["data"], json!([]), "nothing of it is kept");
    let figures = world.get("/metrics").await.text;
    assert!(figures.contains("hone_requests_rejected_total{reason=\"queue_full\"} 2"), "{figures}");
}

fn serve(world: &World, drain: Duration) -> hone_server::Running {
    let options = Options { drain, ..options() };
    hone_server::run(world.dependencies.clone(), &options).unwrap()
}

#[actix_web::test]
async fn a_client_that_leaves_drops_its_answer_and_leaves_a_record() {
    let engine = Scripted::slow();
    let world = World::with_engine(engine.clone());
    let server = serve(&world, Duration::from_secs(5));
    let body = ask(json!({"stream": true})).to_string();
    let mut client = TcpStream::connect(server.address()).unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}"
    );
    client.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        while !text.contains("So ") {
            let mut some = [0; 600];
            let count = client.read(&mut some).unwrap();
            assert!(count > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&some[..count]));
        }
        text
    });
    let text = read.await.unwrap();
    let id: InteractionId = text.split("\"id\":\"").nth(1).unwrap()[..45].parse().unwrap();
    let kept = eventually(async || world.dependencies.store.interaction(id).await.unwrap()).await;
    assert_eq!(json!(kept.answers[0].finish_reason), "cancelled");
    assert_eq!(kept.answers[0].tokens, [5]);
    assert_eq!(engine.left.load(Ordering::SeqCst), 1);
    server.stop().await;
}

#[actix_web::test]
async fn stopping_lets_streams_finish_and_refuses_new_requests() {
    let engine = Scripted::slow();
    let world = World::with_engine(engine.clone());
    let server = serve(&world, Duration::from_secs(60));
    let url = format!("http://{}", server.address());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = ask(json!({"stream": true}));
    let mut open = client.post(format!("{url}/v1/chat/completions")).json(&body).send().await;
    let open = open.as_mut().unwrap();
    let mut text = String::from_utf8(open.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    // The first poll of `stop` closes the gate, so the late request always comes after that; the
    // answer under way ends only after the late one was refused.
    let late = async {
        let late = client.get(format!("{url}/v1/models")).send().await.unwrap().status();
        engine.finish();
        while let Some(part) = open.chunk().await.unwrap() {
            text.push_str(std::str::from_utf8(&part).unwrap());
        }
        late
    };
    let ((), late) = tokio::join!(biased; server.stop(), late);
    assert_eq!(late.as_u16(), 503);
    assert!(text.trim_end().ends_with("data: [DONE]"), "{text}");
}

#[actix_web::test]
async fn answers_under_way_are_bounded_for_each_key() {
    let engine = Scripted::slow();
    let world = World::with_engine(engine.clone());
    let wanted = json!({"name": "app", "scopes": ["admin"], "max_streams": 1});
    let made = world.post("/v1/keys", &wanted).await.ok();
    let key = made["key"].as_str().unwrap();
    let server = serve(&world, Duration::from_secs(60));
    let url = format!("http://{}/v1/chat/completions", server.address());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = ask(json!({"stream": true}));
    let send = || client.post(&url).bearer_auth(key).json(&body).send();
    for _ in 0..2 {
        let mut open = send().await.unwrap();
        assert_eq!(open.status(), 200);
        open.chunk().await.unwrap().unwrap();
        for _ in 0..2 {
            let refused = send().await.unwrap();
            assert_eq!(refused.status(), 429);
            assert_eq!(refused.headers()["retry-after"], "1");
        }
        engine.finish();
        // Who has read the end finds its place free again.
        while open.chunk().await.unwrap().is_some() {}
    }
    server.stop().await;
}

#[actix_web::test]
async fn when_the_drain_time_is_over_streams_end_with_an_error() {
    let world = World::with_engine(Scripted::slow());
    let server = serve(&world, Duration::from_millis(30));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = ask(json!({"stream": true}));
    let url = format!("http://{}/v1/chat/completions", server.address());
    let mut open = client.post(url).json(&body).send().await.unwrap();
    open.chunk().await.unwrap().unwrap();
    let rest = async {
        let mut text = String::new();
        while let Some(part) = open.chunk().await.unwrap() {
            text.push_str(std::str::from_utf8(&part).unwrap());
        }
        text
    };
    let ((), text) = tokio::join!(server.stop(), rest);
    let last: Value = serde_json::from_str(events(&text).last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "shutting_down");
}

#[actix_web::test]
async fn a_body_that_is_announced_too_long_is_refused_before_it_comes() {
    let world = World::new();
    let server = serve(&world, Duration::from_secs(5));
    let address = server.address();
    for more in ["", "expect: 100-continue\r\n"] {
        let refused = tokio::task::spawn_blocking(move || {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let head =
                "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9000000";
            client.write_all(format!("{head}\r\n{more}\r\n").as_bytes()).unwrap();
            let mut answer = String::new();
            while !answer.contains("request_too_large") {
                let mut some = [0; 600];
                let count = client.read(&mut some).unwrap();
                assert!(count > 0, "{answer}");
                answer.push_str(&String::from_utf8_lossy(&some[..count]));
            }
            answer
        });
        let answer = refused.await.unwrap();
        assert!(answer.contains(" 413 ") && answer.contains("connection: close"), "{answer}");
    }
    // Who sends it all the same hears why, too.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{address}/v1/chat/completions");
    let reply = client.post(url).body(vec![b' '; 3 << 20]).send().await.unwrap();
    assert_eq!(reply.status(), 413);
    server.stop().await;
}
