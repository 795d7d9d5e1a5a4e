//! One client that asks for all there is, and one that asks for little.

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use hone_tests::Hone;
use serde_json::{Value, json};

async fn key(hone: &Hone, by: &str, scope: &str) -> Result<String> {
    let body = json!({"name": scope, "scopes": [scope]});
    let made = hone.http().post(hone.at("/v1/keys")).bearer_auth(by).json(&body);
    let made: Value = made.send().await?.error_for_status()?.json().await?;
    Ok(made["key"].as_str().context("no key")?.to_owned())
}

async fn ask(hone: &Hone, key: &str, user: &str, tokens: u32) -> Result<u16> {
    let body = json!({
        "model": "hone", "max_tokens": tokens, "min_tokens": tokens, "ignore_eos": true, "user": user,
        "messages": [{"role": "user", "content": "Hi"}], "store": false,
    });
    let request = hone.http().post(hone.at("/v1/chat/completions")).bearer_auth(key).json(&body);
    let answer = request.send().await?;
    let (status, retry) = (answer.status().as_u16(), answer.headers().get("retry-after").cloned());
    answer.bytes().await?;
    ensure!(status != 429 || retry.is_some(), "a 429 says when to come back");
    Ok(status)
}

async fn waiting(hone: &Hone, admin: &str) -> Result<usize> {
    let figures =
        hone.http().get(hone.at("/metrics")).bearer_auth(admin).send().await?.text().await?;
    let depth = figures.lines().find_map(|line| line.strip_prefix("hone_queue_depth "));
    Ok(depth.context("no depth")?.parse()?)
}

/// `polite` is answered, whatever the 400 connections of `greedy` wait for.
async fn polite_beside_greedy(
    greedy: (&str, &str),
    polite: (&str, &str),
    hone: &Hone,
    admin: &str,
) -> Result<()> {
    let crowd = join_all((0..400).map(|_| ask(hone, greedy.0, greedy.1, 200)));
    let little = async {
        while waiting(hone, admin).await? < 200 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        for _ in 0..10 {
            assert_eq!(ask(hone, polite.0, polite.1, 8).await?, 200, "the polite one is refused");
        }
        let burst = join_all((0..20).map(|_| ask(hone, polite.0, polite.1, 8))).await;
        for status in burst {
            assert_eq!(status?, 200, "one of the polite one's burst is refused");
        }
        waiting(hone, admin).await
    };
    let (crowd, left) = tokio::join!(crowd, little);
    let left = left?;
    assert!(left > 50, "the greedy one's queue was through before: {left} wait");
    let (mut answered, mut refused) = (0, 0);
    for status in crowd {
        match status? {
            200 => answered += 1,
            429 => refused += 1,
            other => anyhow::bail!("HTTP {other}"),
        }
    }
    assert!(answered >= 200 && refused > 0 && answered + refused == 400, "{answered} + {refused}");
    Ok(())
}

#[tokio::test]
async fn no_key_and_no_user_of_one_makes_others_wait() -> Result<()> {
    let hone = Hone::start().await?;
    let admin = key(&hone, "none", "admin").await?;
    let (first, second) = (key(&hone, &admin, "chat").await?, key(&hone, &admin, "chat").await?);
    polite_beside_greedy((&first, "ann"), (&second, "ann"), &hone, &admin).await?;
    polite_beside_greedy((&first, "ann"), (&first, "bob"), &hone, &admin).await
}
