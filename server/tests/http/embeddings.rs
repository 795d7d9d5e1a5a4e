//! Texts as vectors.

use base64::Engine as _;
use hone_server::door::Door;
use hone_server::state::Entry;
use serde_json::{Value, json};

use crate::setup::entry;
use crate::world::World;

const PATH: &str = "/v1/embeddings";

fn numbers(vector: &Value) -> Vec<f64> {
    vector.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[actix_web::test]
async fn texts_and_token_ids_become_the_same_vectors_in_both_formats() {
    let world = World::new();
    let texts = ["The sun is a star.", "Hello", "17 + 25 = 42"];
    let whole = world.post(PATH, &json!({"model": "tiny", "input": texts, "user": "ann"})).await;
    assert_eq!(whole.header("x-hone-adapter"), "base");
    let whole = whole.ok();
    assert_eq!((&whole["object"], &whole["model"]), (&json!("list"), &json!("tiny")));
    let mut ids = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let one = world.post(PATH, &json!({"model": "tiny", "input": text})).await.ok();
        assert_eq!(one["data"][0]["embedding"], whole["data"][at]["embedding"], "alone or not");
        assert_eq!(
            (&whole["data"][at]["index"], &whole["data"][at]["object"]),
            (&json!(at), &json!("embedding"))
        );
        let tokens = world.post("/v1/tokenize", &json!({"prompt": text})).await.ok();
        ids.push(tokens["tokens"].clone());
    }
    let count: usize = ids.iter().map(|ids| ids.as_array().unwrap().len()).sum();
    assert_eq!(whole["usage"], json!({"prompt_tokens": count, "total_tokens": count}));
    assert_ne!(whole["data"][0]["embedding"], whole["data"][1]["embedding"]);
    let by_ids = world.post(PATH, &json!({"model": "tiny", "input": ids})).await.ok();
    assert_eq!(by_ids, whole);

    let body =
        json!({"model": "tiny", "input": texts[0], "encoding_format": "base64", "dimensions": 64});
    let packed = world.post(PATH, &body).await.ok();
    let text = packed["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let floats: Vec<f64> = bytes
        .chunks_exact(4)
        .map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap())))
        .collect();
    let expected = numbers(&whole["data"][0]["embedding"]);
    assert_eq!(floats.len(), 64);
    assert!(
        floats.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6),
        "{floats:?} {expected:?}"
    );
}

#[actix_web::test]
async fn an_adapter_reads_with_its_own_weights_and_nothing_is_kept() {
    let world = World::new();
    let id = world.adapter("one", 1);
    let ask = |model: &str| json!({"model": model, "input": "Hello there", "sparkle": 1});
    let taught = world.post(PATH, &ask("one")).await;
    assert_eq!(taught.header("x-hone-adapter"), id.to_string());
    assert_eq!(taught.header("x-hone-ignored"), "sparkle");
    let base = world.post(PATH, &ask("tiny:base")).await.ok();
    assert_ne!(taught.ok()["data"], base["data"]);
    let log = world.get("/v1/interactions").await.ok();
    assert_eq!(log["data"], json!([]));
    world.post(PATH, &ask("nobody")).await.error(404);
}

#[actix_web::test]
async fn what_cannot_be_read_is_named() {
    let world = World::new();
    let refused = async |more: Value, param: &str| {
        let mut body = json!({"model": "tiny", "input": "x"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let error = world.post(PATH, &body).await.error(400);
        assert_eq!(error["param"], param, "{error}");
        error
    };
    refused(json!({"dimensions": 32}), "dimensions").await;
    refused(json!({"input": ["a", ""]}), "input").await;
    refused(json!({"input": [[4096]]}), "input").await;
    refused(json!({"normalize": true}), "normalize").await;
    let long = refused(json!({"input": ["a", "word ".repeat(800)]}), "input").await;
    assert_eq!(long["code"], "context_length_exceeded");
    let long = refused(json!({"input": vec![5; 513]}), "input").await;
    assert!(long["message"].as_str().unwrap().contains("entry 0"), "{long}");
}

#[actix_web::test]
async fn all_texts_together_are_bounded() {
    let world = World::new().entered_by(Entry::new(Door::new(true, &[], &[])));
    let body = json!({"model": "tiny", "input": vec![vec![5; 500]; 601]});
    let error = world.post(PATH, &body).await.error(400);
    assert_eq!(error["param"], "input");
    assert!(error["message"].as_str().unwrap().contains("300000"), "{error}");
}

#[actix_web::test]
async fn they_can_be_switched_off() {
    let off = Entry { embeddings: false, ..entry(Door::new(true, &[], &[])) };
    let world = World::new().entered_by(off);
    let error = world.post(PATH, &json!({"model": "tiny", "input": "x"})).await.error(404);
    assert_eq!(error["code"], "embeddings_off");
    assert!(error["message"].as_str().unwrap().contains("server.embeddings"), "{error}");
}
