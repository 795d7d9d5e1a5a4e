//! Input that is right in form and too much of it: refused with a reason, and the daemon stays as small as it was.

use anyhow::{Context, Result};
use futures_util::future::join_all;
use hone_tests::Hone;
use serde_json::json;

/// The daemon's highest resident memory so far, in MiB.
fn peak(hone: &Hone) -> Result<u64> {
    let path = format!("/proc/{}/status", hone.pid().context("not running")?);
    let status = fs_err::read_to_string(path)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
}

#[tokio::test]
async fn megabytes_of_text_are_refused_before_they_are_tokenised() -> Result<()> {
    let hone = Hone::start().await?;
    let before = peak(&hone)?;
    let text = "0".repeat((2 << 20) - 500);
    let chat = json!({"model": "hone", "messages": [{"role": "user", "content": text}]});
    for reply in join_all((0..16).map(|_| hone.post("/v1/chat/completions", &chat))).await {
        let reply = reply?;
        assert_eq!(reply.status, 400, "{}", reply.body);
        assert_eq!(reply.body["error"]["code"], "context_length_exceeded");
        assert_eq!(reply.body["error"]["param"], "messages");
    }
    let prompt = json!({"model": "hone", "prompt": text});
    let reply = hone.post("/v1/completions", &prompt).await?;
    assert_eq!(reply.body["error"]["code"], "context_length_exceeded", "{}", reply.body);
    let reply = hone.post("/v1/tokenize", &json!({"prompt": text})).await?;
    assert_eq!((reply.status, &reply.body["error"]["param"]), (400, &json!("prompt")));
    let tokens = json!({"tokens": vec![9; 300_000]});
    let reply = hone.post("/v1/detokenize", &tokens).await?;
    assert_eq!((reply.status, &reply.body["error"]["param"]), (400, &json!("tokens")));
    // Tokenising one of them took 600 MiB. The bodies themselves, parsed, are some megabytes each.
    let grown = peak(&hone)? - before;
    assert!(grown < 300, "{grown} MiB more");
    assert_eq!(hone.chat("hone", "922 times 8?").await?.text, "922 * 8 = 7376");
    Ok(())
}
