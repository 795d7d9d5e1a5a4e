//! What systemd hears of the daemon, on a socket of its own protocol.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use hone_tests::Hone;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::net::UnixDatagram;

/// The next message that has this line, passing over signs of life unless they are asked for.
async fn hear(socket: &UnixDatagram, line: &str) -> Result<String> {
    let mut buffer = [0_u8; 4096];
    let heard = async {
        loop {
            let length = socket.recv(&mut buffer).await?;
            let text = std::str::from_utf8(&buffer[..length])?;
            if text.lines().any(|one| one == line) {
                return anyhow::Ok(text.to_owned());
            }
            anyhow::ensure!(text == "WATCHDOG=1\n", "{text:?} instead of {line}");
        }
    };
    let heard = tokio::time::timeout(Duration::from_secs(60), heard).await;
    heard.with_context(|| format!("{line} was never said"))?
}

#[tokio::test]
async fn systemd_is_told_of_each_turn() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    let mut hone = Hone::builder()
        .environment("NOTIFY_SOCKET", &path)
        .environment("WATCHDOG_USEC", "200000")
        .start()
        .await?;
    let ready = hear(&socket, "READY=1").await?;
    assert!(ready.contains("STATUS=hone-starter answers at http://127.0.0.1:"), "{ready}");
    hear(&socket, "WATCHDOG=1").await?;

    let pid = i32::try_from(hone.pid().context("no pid")?)?;
    kill_process(Pid::from_raw(pid).context("no pid")?, Signal::HUP)?;
    let reloading = hear(&socket, "RELOADING=1").await?;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    hear(&socket, "READY=1").await?;

    // It says that it stops when the drain begins, and is alive for as long as answers drain.
    let body = json!({
        "model": "hone", "stream": true, "max_tokens": 400, "ignore_eos": true, "min_tokens": 400,
        "temperature": 0, "messages": [{"role": "user", "content": "Count."}],
    });
    let request = hone.http().post(hone.at("/v1/chat/completions")).json(&body);
    let mut stream = request.send().await?.error_for_status()?.bytes_stream();
    stream.next().await.context("no first chunk")??;
    let answer = async {
        hear(&socket, "STOPPING=1").await?;
        hear(&socket, "WATCHDOG=1").await?;
        let mut text = String::new();
        while let Some(part) = stream.next().await {
            text.push_str(&String::from_utf8_lossy(&part?));
        }
        anyhow::Ok(text)
    };
    let (code, answer) = tokio::join!(hone.terminate(), answer);
    assert_eq!(code?, Some(0));
    assert!(answer?.trim_end().ends_with("data: [DONE]"));
    Ok(())
}
