//! What is told of the served model.

use serde_json::json;

use crate::world::World;

#[actix_web::test]
async fn the_tokenizer_is_told_as_lm_eval_asks_for_it() {
    let world = World::new();
    let info = world.get("/tokenizer_info").await.ok();
    let eos = info["eos_token"].as_str().unwrap();
    let body = json!({"prompt": eos, "add_special_tokens": false});
    let tokens = world.post("/tokenize", &body).await.ok()["tokens"].clone();
    assert_eq!(tokens.as_array().unwrap().len(), 1, "{info}");
    let text = world.post("/detokenize", &json!({"tokens": tokens})).await.ok();
    assert_eq!(text["prompt"], eos);
    assert!(info["chat_template"].as_str().unwrap().contains("messages"));
    assert!(info.get("bos_token").is_some() && info.get("pad_token").is_some());
    assert_eq!(info["model_max_length"], 512);
}

#[actix_web::test]
async fn the_models_own_defaults_are_shown() {
    let world = World::new();
    let card = world.get("/v1/models/tiny").await.ok();
    let expected = json!({"do_sample": true, "temperature": 1.0, "top_p": 1.0, "top_k": 0,
        "min_p": 0.0, "repetition_penalty": 1.0});
    assert_eq!(card["generation_config"], expected);
}
