//! Where the tokens of an echoed text begin, for a model whose tokenizer puts a BOS and a space in front of it.

use anyhow::{Context, Result};
use hone_tests::Hone;
use serde_json::{Value, json};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/gguf/tiny.gguf");

#[tokio::test]
async fn each_position_begins_its_token_and_tokens_become_their_text() -> Result<()> {
    let builder = Hone::builder().config("[model]\nweights = \"f32\"");
    let hone = builder.argument("--model").argument(MODEL).start().await?;
    let ask = json!({
        "model": "hone", "prompt": "Hello world", "echo": true, "logprobs": 1, "max_tokens": 1, "temperature": 0,
    });
    let found = hone.post("/v1/completions", &ask).await?.expect(200)?;
    let choice = &found["choices"][0];
    let text = choice["text"].as_str().context("a text")?;
    assert!(text.starts_with("Hello world"), "{text}");
    let list = |name: &str| choice["logprobs"][name].as_array().cloned().context("a list");
    let (tokens, offsets) = (list("tokens")?, list("text_offset")?);
    let tokens: Vec<&str> = tokens.iter().filter_map(Value::as_str).collect();
    assert_eq!(tokens[..2], ["<s>", " He"], "neither the BOS nor its space are in the text");
    assert_eq!(offsets[..2], [json!(0), json!(0)]);
    for (token, offset) in tokens.iter().zip(&offsets).skip(2) {
        let at = usize::try_from(offset.as_u64().context("a number")?)?;
        assert!(text[at..].starts_with(token), "{token:?} at {at} of {text:?}");
    }
    // What was made of a text becomes that text again.
    let ask = json!({"prompt": "Hello world", "add_special_tokens": false});
    let tokens = hone.post("/v1/tokenize", &ask).await?.expect(200)?["tokens"].clone();
    let back = hone.post("/v1/detokenize", &json!({"tokens": tokens})).await?.expect(200)?;
    assert_eq!(back["prompt"], "Hello world");
    Ok(())
}
