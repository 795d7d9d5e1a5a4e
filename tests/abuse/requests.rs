//! Requests that are wrong.

use anyhow::Result;
use hone_tests::Hone;
use serde_json::{Value, json};

/// The envelope has all four fields and a sentence worth reading.
fn check_envelope(body: &Value) {
    let error = body["error"].as_object().cloned().unwrap_or_default();
    for field in ["message", "type", "param", "code"] {
        assert!(error.contains_key(field), "{field} is missing in {body}");
    }
    assert!(error["message"].as_str().is_some_and(|m| m.len() > 8), "{body}");
}

#[tokio::test]
async fn a_wrong_chat_request_names_its_fault() -> Result<()> {
    let hone = Hone::start().await?;
    let good =
        json!({"model": "hone", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let long = "word ".repeat(3000);
    let cases = [
        (with("messages", json!([])), "messages"),
        (with("messages", json!("Hi")), "messages"),
        (with("messages", json!([{"role": "wizard", "content": "Hi"}])), "messages[0].role"),
        (with("messages", json!([{"role": "user"}])), "messages[0].content"),
        (with("messages", json!([{"role": "user", "content": long}])), "messages"),
        (with("temperature", json!(-1)), "temperature"),
        (with("temperature", json!("warm")), "temperature"),
        (with("top_p", json!(1.5)), "top_p"),
        (with("max_tokens", json!(0)), "max_tokens"),
        (with("n", json!(0)), "n"),
        (with("n", json!(1000)), "n"),
        (with("stop", json!(["a", "b", "c", "d", "e"])), "stop"),
        (with("top_logprobs", json!(99)), "top_logprobs"),
        (with("logit_bias", json!({"abc": 1})), "logit_bias"),
        (with("tools", json!([{"type": "function"}])), "tools"),
    ];
    for (body, param) in cases {
        let reply = hone.post("/v1/chat/completions", &body).await?;
        assert_eq!(reply.status, 400, "{param}: {}", reply.body);
        check_envelope(&reply.body);
        let named = reply.body["error"]["param"].as_str().unwrap_or_default();
        assert!(
            named == param || named.starts_with(&format!("{param}[")),
            "{param}: {}",
            reply.body
        );
    }
    assert_eq!(hone.chat("hone", "922 times 8?").await?.text, "922 * 8 = 7376");
    Ok(())
}

#[tokio::test]
async fn what_is_not_even_a_request_is_refused() -> Result<()> {
    let hone = Hone::start().await?;
    for text in ["", "{", "[]", "nonsense", "{\"model\": \"hone\"", "\u{0}", "{\"model\":NaN}"] {
        let reply = hone.post_raw("/v1/chat/completions", text).await?;
        assert_eq!(reply.status, 400, "{text:?}: {}", reply.body);
        check_envelope(&reply.body);
    }
    let deep = "[".repeat(100_000);
    assert_eq!(hone.post_raw("/v1/chat/completions", deep).await?.status, 400);
    let huge = vec![b' '; 3 << 20];
    let reply = hone.post_raw("/v1/chat/completions", huge).await?;
    assert_eq!(reply.status, 413, "{}", reply.body);
    check_envelope(&reply.body);
    for (status, reply) in [
        (404, hone.get("/v1/nothing").await?),
        (405, hone.delete("/v1/chat/completions").await?),
        (404, hone.get("/v1/adapters/ad-nobody").await?),
        (404, hone.get("/v1/cycles/cy-01980000-0000-7000-8000-000000000000").await?),
    ] {
        assert_eq!(reply.status, status, "{}", reply.body);
        check_envelope(&reply.body);
    }
    assert_eq!(hone.chat("hone", "922 times 8?").await?.text, "922 * 8 = 7376");
    Ok(())
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() -> Result<()> {
    let hone = Hone::builder().config("[engine]\nmax_sequences = 1\nmax_queue = 2").start().await?;
    let body = json!({
        "model": "hone", "max_tokens": 300, "ignore_eos": true, "min_tokens": 300,
        "messages": [{"role": "user", "content": "Hi"}],
    });
    let all =
        futures_util::future::join_all((0..12).map(|_| hone.post("/v1/chat/completions", &body)));
    let (mut answered, mut refused) = (0, 0);
    for reply in all.await {
        let reply = reply?;
        match reply.status {
            200 => answered += 1,
            429 => {
                refused += 1;
                check_envelope(&reply.body);
                assert!(reply.header("retry-after").parse::<f64>().is_ok_and(|s| s > 0.0));
            }
            other => panic!("HTTP {other}: {}", reply.body),
        }
    }
    // Two wait; a third runs, if the engine took the first before the last one came.
    assert!(answered >= 2 && refused >= 1 && answered + refused == 12, "{answered} + {refused}");
    Ok(())
}
