//! What was computed of a prompt is not computed again, and no answer changes by that.

use anyhow::{Context, Result, ensure};
use hone_tests::Hone;
use serde_json::{Value, json};

fn cached(answer: &Value) -> u64 {
    answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(u64::MAX)
}

fn prompt(answer: &Value) -> u64 {
    answer["usage"]["prompt_tokens"].as_u64().unwrap_or(0)
}

async fn ask(hone: &Hone, messages: &[Value]) -> Result<Value> {
    let body = json!({"model": "hone", "messages": messages, "temperature": 0, "max_tokens": 40});
    hone.post("/v1/chat/completions", &body).await?.expect(200)
}

#[tokio::test]
async fn a_chat_that_goes_on_computes_what_is_new_and_answers_the_same() -> Result<()> {
    let with = Hone::start().await?;
    let without = Hone::builder().config("[engine]\nprefix_cache_share = 0.0").start().await?;
    let mut talk = Vec::new();
    let mut before = 0;
    for question in [
        "A farmer has 12 cows and buys 7 more. How many cows does he have?",
        "How many r's are in strawberry?",
        "922 times 8?",
        "Tell me about the sun.",
    ] {
        talk.push(json!({"role": "user", "content": question}));
        let answer = ask(&with, &talk).await?;
        let expected = ask(&without, &talk).await?;
        assert_eq!(answer["choices"], expected["choices"]);
        assert_eq!(cached(&expected), 0);
        assert_eq!(prompt(&answer), prompt(&expected));
        if before > 0 {
            // All of the last turn's prompt, but for what the template says at its end.
            assert!(cached(&answer) + 8 >= before, "{} of {before}", cached(&answer));
        }
        before = prompt(&answer);
        let text = &answer["choices"][0]["message"]["content"];
        talk.push(json!({"role": "assistant", "content": text}));
    }
    Ok(())
}

#[tokio::test]
async fn usage_and_figures_tell_what_was_found() -> Result<()> {
    let hone = Hone::start().await?;
    let system = "You answer in one short sentence. ".repeat(20);
    let talk = |question: &str| {
        [json!({"role": "system", "content": system}), json!({"role": "user", "content": question})]
    };
    assert_eq!(cached(&ask(&hone, &talk("What is rain?")).await?), 0);
    let second = ask(&hone, &talk("What is snow?")).await?;
    assert!(cached(&second) > 100 && cached(&second) < prompt(&second), "{}", second["usage"]);

    // The same streamed: everything is there but the last token.
    let body = json!({
        "model": "hone", "messages": talk("What is snow?"), "temperature": 0, "max_tokens": 4,
        "stream": true, "stream_options": {"include_usage": true},
    });
    let response = hone.http().post(hone.at("/v1/chat/completions")).json(&body).send().await?;
    let text = response.error_for_status()?.text().await?;
    let events: Vec<&str> = text.split("\n\n").filter_map(|e| e.strip_prefix("data: ")).collect();
    let usage: Value = serde_json::from_str(events[events.len() - 2])?;
    assert_eq!(cached(&usage), prompt(&usage) - 1);

    let complete = json!({"model": "hone", "prompt": system, "max_tokens": 2, "temperature": 0});
    let first = hone.post("/v1/completions", &complete).await?.expect(200)?;
    let again = hone.post("/v1/completions", &complete).await?.expect(200)?;
    assert_eq!(first["choices"][0]["text"], again["choices"][0]["text"]);
    assert_eq!(cached(&again), prompt(&again) - 1);
    // Log-probabilities of the prompt need all of it.
    let mut echo = complete.clone();
    (echo["echo"], echo["logprobs"]) = (json!(true), json!(1));
    assert_eq!(cached(&hone.post("/v1/completions", &echo).await?.expect(200)?), 0);

    let figures = hone.get("/metrics").await?.expect(200)?;
    let figure = |name: &str| -> Result<f64> {
        let mut lines = figures.as_str().context("no text")?.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)).context("no such figure")?;
        Ok(line.trim().parse()?)
    };
    let (asked, found) =
        (figure("hone_prefix_cache_queries_total ")?, figure("hone_prefix_cache_hits_total ")?);
    assert!(found > 0.4 * asked && found < asked, "{found} of {asked}");
    assert!(figure("hone_prefix_cache_bytes ")? > 0.0);
    Ok(())
}

#[tokio::test]
async fn keys_do_not_see_what_others_asked() -> Result<()> {
    let hone = Hone::start().await?;
    let mut keys = vec!["none".to_owned()];
    for name in ["operator", "other"] {
        let words = ["keys", "create", "--name", name, "--scope", "admin", "--api-key"];
        let made = hone.cli(&[&words[..], &[keys[keys.len() - 1].as_str()]].concat())?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        keys.push(String::from_utf8(made.stdout)?.trim().to_owned());
    }
    let body = json!({
        "model": "hone", "max_tokens": 1,
        "messages": [{"role": "user", "content": "The safe's combination is 17, 4, 99. ".repeat(9)}],
    });
    let mut found = Vec::new();
    for key in [1, 1, 2, 2] {
        let request = hone.http().post(hone.at("/v1/chat/completions")).bearer_auth(&keys[key]);
        let answer = request.json(&body).send().await?.error_for_status()?;
        found.push(cached(&answer.json().await?) > 0);
    }
    assert_eq!(found, [false, true, false, true]);
    Ok(())
}

/// What is asked most often is computed for an adapter before it serves: the first who asks it pays nothing.
#[tokio::test]
async fn the_first_request_after_a_promotion_finds_the_system_prompt() -> Result<()> {
    let hone = Hone::start().await?;
    let adapter = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");
    let imported = hone.cli(&["adapters", "import", adapter, "--name", "other"])?;
    ensure!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let system = "You answer in one short sentence. ".repeat(30);
    let talk = |question: &str| {
        [json!({"role": "system", "content": system}), json!({"role": "user", "content": question})]
    };
    for question in ["What is rain?", "What is snow?", "What is hail?"] {
        ask(&hone, &talk(question)).await?;
    }
    let promoted = hone.post("/v1/adapters/other/promote", &json!({})).await?;
    promoted.expect(200)?;
    let first = ask(&hone, &talk("What is fog?")).await?;
    assert!(cached(&first) > 128 && cached(&first) < prompt(&first), "{}", first["usage"]);
    // It is the adapter's answer, as a daemon gives it that computes all of it.
    let without = Hone::builder().config("[engine]\nprefix_cache_share = 0.0").start().await?;
    let imported = without.cli(&["adapters", "import", adapter, "--name", "other"])?;
    ensure!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    without.post("/v1/adapters/other/promote", &json!({})).await?.expect(200)?;
    assert_eq!(ask(&without, &talk("What is fog?")).await?["choices"], first["choices"]);

    // The base again; then the adapter has it all, and nothing is computed.
    hone.post("/v1/adapters/base/promote", &json!({})).await?.expect(200)?;
    assert!(cached(&ask(&hone, &talk("What is dew?")).await?) > 128);
    let figures = hone.get("/metrics").await?.expect(200)?;
    let warmed = "hone_prefix_cache_warmed_tokens_total ";
    let line = figures.as_str().context("no text")?.lines().find_map(|it| it.strip_prefix(warmed));
    let warmed: u64 = line.context("no such figure")?.trim().parse()?;
    assert!(warmed > 128 && warmed.is_multiple_of(64), "{warmed}");
    Ok(())
}

/// Four that ask the same at the same time, and one with four answers: what they have in common is computed once.
#[tokio::test]
async fn equal_prompts_that_come_together_are_computed_once() -> Result<()> {
    let hone = Hone::start().await?;
    let body = json!({
        "model": "hone", "max_tokens": 4, "temperature": 0, "n": 4,
        "messages": [{"role": "user", "content": "Say a word of the sea. ".repeat(40)}],
    });
    let answers = futures_util::future::try_join_all(
        (0..4).map(async |_| hone.post("/v1/chat/completions", &body).await?.expect(200)),
    );
    let answers = answers.await?;
    let figures = hone.get("/metrics").await?.expect(200)?;
    let figure = |name: &str| -> Result<u64> {
        let mut lines = figures.as_str().context("no text")?.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)).context("no such figure")?;
        Ok(line.trim().parse()?)
    };
    let asked = figure("hone_prefix_cache_queries_total ")?;
    let computed = asked - figure("hone_prefix_cache_hits_total ")?;
    let one = prompt(&answers[0]);
    assert_eq!(asked, one * 16);
    // One whole, and of each other one less than a block and the token that its answer begins from.
    assert!(computed <= one + 15 * 64, "{computed} of {asked} tokens, {one} for each");
    for answer in &answers {
        let said = |at: usize| &answer["choices"][at]["message"]["content"];
        assert!((0..4).all(|at| said(at) == &answers[0]["choices"][0]["message"]["content"]));
    }
    Ok(())
}
