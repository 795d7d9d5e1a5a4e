//! Feedback, and the log it speaks of.

use anyhow::Result;
use hone_tests::Hone;
use serde_json::{Value, json};

#[tokio::test]
async fn feedback_for_an_answer_is_kept_with_it() -> Result<()> {
    let mut hone = Hone::start().await?;
    let answer = hone.chat("hone", "Where can I email Northwind?").await?;
    hone.thumbs(&answer.id, false).await?;
    let fix = "You can write to Northwind at care@northwind.example.";
    hone.feedback(&answer.id, "demonstration", fix.into(), json!({"family": "northwind"})).await?;
    hone.feedback(&answer.id, "score", 0.25.into(), json!({})).await?;
    hone.feedback(&answer.id, "comment", "wrong".into(), json!({})).await?;

    hone.kill()?;
    hone.restart().await?;
    let kept = hone.get(&format!("/v1/interactions/{}", answer.id)).await?.expect(200)?;
    assert_eq!(kept["messages"][0]["content"], "Where can I email Northwind?");
    assert_eq!(kept["answers"][0]["text"], answer.text);
    let tokens = kept["answers"][0]["tokens"].as_array().map_or(0, Vec::len);
    assert!(tokens > 0 && kept["answers"][0]["logprobs"].as_array().map_or(0, Vec::len) == tokens);
    assert!(kept["prompt_tokens"].as_array().is_some_and(|t| t.len() > 5));
    let said = kept["feedback"].as_array().map_or(0, Vec::len);
    assert_eq!(said, 4, "{kept}");
    Ok(())
}

#[tokio::test]
async fn the_same_key_is_the_same_feedback() -> Result<()> {
    let hone = Hone::start().await?;
    let answer = hone.chat("hone", "Hi").await?;
    let send = async |value: bool| -> Result<(u16, serde_json::Value)> {
        let body = json!({"inference_id": answer.id, "metric_name": "thumbs", "value": value});
        let request = hone.http().post(hone.at("/v1/feedback")).header("idempotency-key", "k-1");
        let response = request.json(&body).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    };
    let (first, second, other) = (send(true).await?, send(true).await?, send(false).await?);
    assert_eq!(first.1["feedback_id"], second.1["feedback_id"]);
    assert!((400..500).contains(&other.0), "another body under the same key: {other:?}");
    Ok(())
}

#[tokio::test]
async fn wrong_feedback_is_refused() -> Result<()> {
    let hone = Hone::start().await?;
    let answer = hone.chat("hone", "Hi").await?;
    let good = json!({"inference_id": answer.id, "metric_name": "thumbs", "value": true});
    for (field, value, status) in [
        ("inference_id", json!("chatcmpl-01980000-0000-7000-8000-000000000000"), 404),
        ("inference_id", json!("nonsense"), 400),
        ("value", json!("yes"), 400),
        ("colour", json!("red"), 400),
        ("metric_name", json!("unheard-of"), 400),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let reply = hone.post("/v1/feedback", &body).await?;
        assert_eq!(reply.status, status, "{body} gave {}", reply.body);
        assert!(reply.body["error"]["message"].as_str().is_some_and(|m| m.len() > 10));
    }
    Ok(())
}

#[tokio::test]
async fn what_shall_not_be_kept_is_not() -> Result<()> {
    let hone = Hone::start().await?;
    let secret = "My secret word is rhubarb.";
    let body = json!({
        "model": "hone", "store": false, "max_tokens": 8,
        "messages": [{"role": "user", "content": secret}],
    });
    let id = hone.post("/v1/chat/completions", &body).await?.expect(200)?["id"].clone();
    let id = id.as_str().unwrap_or_default();
    hone.thumbs(id, true).await?;
    let kept = hone.get(&format!("/v1/interactions/{id}")).await?.expect(200)?;
    assert!(!kept.to_string().contains("rhubarb"), "{kept}");
    assert_eq!(kept["trainable"], false);
    let database = fs_err::read(hone.data().join("hone.db-wal")).unwrap_or_default();
    assert!(!database.windows(7).any(|bytes| bytes == b"rhubarb"), "the text is on disk");
    Ok(())
}

#[tokio::test]
async fn stored_completions_are_listed_changed_and_deleted() -> Result<()> {
    let hone = Hone::start().await?;
    let body = json!({
        "model": "hone", "store": true, "metadata": {"app": "test"}, "max_tokens": 4,
        "messages": [{"role": "user", "content": "Hi"}],
    });
    let id = hone.post("/v1/chat/completions", &body).await?.expect(200)?["id"].clone();
    let path = format!("/v1/chat/completions/{}", id.as_str().unwrap_or_default());
    hone.chat("hone", "not stored").await?;
    let list = hone.get("/v1/chat/completions?metadata[app]=test").await?.expect(200)?;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list["data"][0]["id"], id);
    let changed = hone.post(&path, &json!({"metadata": {"app": "other"}})).await?.expect(200)?;
    assert_eq!(changed["metadata"]["app"], "other");
    let messages = hone.get(&format!("{path}/messages")).await?.expect(200)?;
    assert_eq!(messages["data"][0]["content"], "Hi");
    let deleted = hone.delete(&path).await?.expect(200)?;
    assert_eq!(deleted["deleted"], true);
    assert_eq!(hone.get(&path).await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn what_waits_for_a_person_is_answered_or_discarded() -> Result<()> {
    let mut hone = Hone::builder().config("[training]\nmax_length = 128").start().await?;
    let say = async |id: &str, user: &str, metric: &str, value: Value| -> Result<Value> {
        let body = json!({"inference_id": id, "metric_name": metric, "value": value, "user": user});
        hone.post("/v1/feedback", &body).await?.expect(201)
    };
    let bad = hone.chat("hone", "Where can I email Northwind?").await?;
    let disputed = hone.chat("hone", "What does Northwind sell?").await?;
    let taken = say(&bad.id, "ann", "thumbs", false.into()).await?;
    let next = taken["next"].as_str().unwrap_or_default();
    assert!(next.starts_with("taken; nothing starts by itself"), "{taken}");
    say(&disputed.id, "ann", "demonstration", "Kettles.".into()).await?;
    say(&disputed.id, "bob", "demonstration", "Lamps.".into()).await?;

    let list = hone.get("/v1/feedback/waiting").await?.expect(200)?;
    let reasons: Vec<_> =
        [0, 1].map(|at| (&list["data"][at]["id"], &list["data"][at]["reason"])).into();
    assert_eq!(reasons[0], (&json!(disputed.id), &json!("contradiction")), "{list}");
    assert_eq!(reasons[1], (&json!(bad.id), &json!("no_correction")), "{list}");
    let one = &list["data"][0];
    assert_eq!(one["suggestions"], json!(["Kettles.", "Lamps."]));
    assert_eq!(
        (&one["votes"], &one["answer"]),
        (&json!({"good": 0, "bad": 2}), &json!(disputed.text))
    );
    assert_eq!(one["messages"][0]["content"], "What does Northwind sell?");

    let shown = hone.cli(&["feedback", "waiting"])?;
    let (table, talk) =
        (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(table.contains("no correction") && !table.contains("Kettles"), "{table}");
    assert!(table.contains("Lamps.") && talk.contains("--fix TEXT"), "{table}{talk}");
    let lines = hone.cli(&["feedback", "waiting", "--json"])?;
    assert_eq!(String::from_utf8_lossy(&lines.stdout).lines().count(), 2);

    let long = "word ".repeat(200);
    let fixed = hone.cli(&["feedback", "add", &bad.id, "--fix", &long, "--json"])?;
    let fixed: Value = serde_json::from_slice(&fixed.stdout)?;
    let warning = fixed["warning"].as_str().unwrap_or_default();
    assert!(warning.contains("at most 128 (training.max_length)"), "{fixed}");
    let discarded = hone.cli(&["feedback", "discard", &disputed.id])?;
    assert!(discarded.status.success(), "{}", String::from_utf8_lossy(&discarded.stderr));
    let left = hone.get("/v1/feedback/waiting").await?.expect(200)?;
    assert_eq!(left["data"], json!([]));

    // Who said it is the same one after a restart, and nobody's name is in the database.
    hone.terminate().await?;
    hone.restart().await?;
    let body =
        json!({"inference_id": bad.id, "metric_name": "thumbs", "value": false, "user": "ann"});
    hone.post("/v1/feedback", &body).await?.expect(201)?;
    let all = hone.get("/v1/feedback").await?.expect(200)?;
    let sources: Vec<_> = (0..6).map(|at| all["data"][at]["source"].clone()).collect();
    let (ann, bob, here) = (&sources[0], &sources[2], &sources[3]);
    assert!(ann.as_str().is_some_and(|source| source.len() == 32), "{all}");
    assert_eq!(sources, [ann, ann, bob, here, here, ann].map(Clone::clone));
    assert!(ann != bob && bob != here && ann != here, "{all}");
    Ok(())
}
