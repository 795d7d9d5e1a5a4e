//! The image: built by the toolchain of this repository, and judged by a command that tells the truth.

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use hone_tests::Hone;
use serde_json::{Value, json};

use crate::files::text;

#[test]
fn it_is_built_by_the_toolchain_of_this_repository() -> Result<()> {
    let toolchain = text("rust-toolchain.toml")?;
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = \""));
    let channel = channel.and_then(|rest| rest.strip_suffix('"')).context("no channel")?;
    let line = format!("ARG RUST_VERSION={channel}\n");
    ensure!(text("deploy/Dockerfile")?.contains(&line), "the image is not built by {channel}");
    Ok(())
}

/// The health check's arguments, without the program's name.
fn health_check() -> Result<Vec<String>> {
    let text = text("deploy/Dockerfile")?;
    let after = text.split_once("HEALTHCHECK").context("no health check")?.1;
    let command = after.lines().find_map(|line| line.trim().strip_prefix("CMD "));
    let command: Vec<String> = serde_json::from_str(command.context("no command")?)?;
    let (program, arguments) = command.split_first().context("nothing is run")?;
    ensure!(program == "hone");
    Ok(arguments.to_vec())
}

#[tokio::test]
async fn its_health_check_knows_a_daemon_that_is_ready_from_one_that_is_not() -> Result<()> {
    let check = health_check()?;
    let check: Vec<&str> = check.iter().map(String::as_str).collect();
    let mut hone = Hone::start().await?;
    let healthy = hone.cli(&check)?;
    ensure!(healthy.status.success(), "{}", String::from_utf8_lossy(&healthy.stderr));

    // An answer under way keeps the daemon from ending while it is asked.
    let body = json!({
        "model": "hone", "stream": true, "max_tokens": 400, "ignore_eos": true, "min_tokens": 400,
        "temperature": 0, "messages": [{"role": "user", "content": "Count."}],
    });
    let request = hone.http().post(hone.at("/v1/chat/completions")).json(&body);
    let mut stream = request.send().await?.error_for_status()?.bytes_stream();
    stream.next().await.context("no first chunk")??;
    hone.signal_stop()?;
    let mut probe = Value::Null;
    for _ in 0..200 {
        let reply = hone.get("/readyz").await?;
        if reply.status == 503 {
            probe = reply.body;
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(probe["status"], "shutting down");
    let draining = hone.cli(&check)?;
    assert_eq!(draining.status.code(), Some(1), "{}", String::from_utf8_lossy(&draining.stdout));
    while let Some(part) = stream.next().await {
        part?;
    }
    assert_eq!(hone.terminate().await?, Some(0));
    assert_eq!(hone.cli(&check)?.status.code(), Some(1), "nobody is there");
    Ok(())
}
