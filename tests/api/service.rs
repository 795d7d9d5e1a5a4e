//! Probes, metrics, the OpenAPI document, and how the daemon starts and stops.

use anyhow::{Context, Result};
use futures_util::StreamExt;
use hone_tests::Hone;
use serde_json::json;

#[tokio::test]
async fn probes_metrics_and_pages_answer() -> Result<()> {
    let hone = Hone::start().await?;
    hone.chat("hone", "Hi").await?;
    for path in ["/livez", "/readyz", "/startupz", "/docs", "/"] {
        assert_eq!(hone.get(path).await?.status, 200, "{path}");
    }
    let metrics = hone.get("/metrics").await?.expect(200)?;
    let text = metrics.as_str().unwrap_or_default();
    for name in ["hone_requests_total", "hone_time_to_first_token_seconds", "hone_tokens_total"] {
        assert!(text.contains(name), "{name} is missing");
    }
    let document = hone.get("/openapi.json").await?.expect(200)?;
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")), "{document}");
    for path in ["/v1/chat/completions", "/v1/feedback", "/v1/adapters/{ref}/promote", "/v1/cycles"]
    {
        assert!(document["paths"].get(path).is_some(), "{path} is not described");
    }
    Ok(())
}

#[tokio::test]
async fn sigterm_lets_open_streams_finish() -> Result<()> {
    let mut hone = Hone::start().await?;
    let body = json!({
        "model": "hone", "stream": true, "max_tokens": 400, "ignore_eos": true, "min_tokens": 400,
        "temperature": 0, "messages": [{"role": "user", "content": "Count."}],
    });
    let request = hone.http().post(hone.at("/v1/chat/completions")).json(&body);
    let mut stream = request.send().await?.error_for_status()?.bytes_stream();
    stream.next().await.context("no first chunk")??;
    let rest = async {
        let mut text = String::new();
        while let Some(part) = stream.next().await {
            text.push_str(&String::from_utf8_lossy(&part?));
        }
        anyhow::Ok(text)
    };
    let (code, text) = tokio::join!(hone.terminate(), rest);
    assert_eq!(code?, Some(0));
    assert!(text?.trim_end().ends_with("data: [DONE]"));
    Ok(())
}

/// The files and folders below one that somebody else than their owner may read or write.
fn open_to_others(dir: &std::path::Path, found: &mut Vec<String>) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.symlink_metadata()?.permissions().mode() & 0o077 != 0 {
            found.push(path.display().to_string());
        }
        if path.is_dir() {
            open_to_others(&path, found)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_kept_is_for_its_owner_alone() -> Result<()> {
    let hone = Hone::start().await?;
    hone.chat("hone", "Hi").await?;
    let mut found = Vec::new();
    open_to_others(&hone.data(), &mut found)?;
    assert!(found.is_empty(), "{found:?}");
    Ok(())
}

#[tokio::test]
async fn a_second_daemon_on_the_same_data_is_refused() -> Result<()> {
    let hone = Hone::start().await?;
    let output = hone.cli(&["config", "check"])?;
    assert!(output.status.success(), "{output:?}");
    let second = std::process::Command::new(hone_tests::hone_binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(hone.data())
        .output()?;
    assert_eq!(second.status.code(), Some(1));
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(words.contains(&hone.pid().context("no pid")?.to_string()), "{words}");
    Ok(())
}
