//! `/v1/models`, and which adapter answers.

use anyhow::Result;
use hone_tests::Hone;
use serde_json::json;

#[tokio::test]
async fn the_list_names_what_can_be_asked() -> Result<()> {
    let hone = Hone::start().await?;
    let list = hone.get("/v1/models").await?.expect(200)?;
    assert_eq!(list["object"], "list");
    let models = list["data"].as_array().cloned().unwrap_or_default();
    assert!(models.iter().all(|m| m["object"] == "model" && m["owned_by"].is_string()));
    for model in &models {
        let id = model["id"].as_str().unwrap_or_default();
        assert_eq!(hone.get(&format!("/v1/models/{id}")).await?.expect(200)?["id"], id);
        hone.chat(id, "Hi").await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_model_is_404_and_never_a_fall_back() -> Result<()> {
    let hone = Hone::start().await?;
    for name in [
        "gpt-9",
        "hone:nobody",
        "hone:ad-01980000-0000-7000-8000-000000000000",
        "hone:previous-one",
    ] {
        let body = json!({"model": name, "messages": [{"role": "user", "content": "Hi"}]});
        let error = hone.post("/v1/chat/completions", &body).await?.expect(404)?["error"].clone();
        assert_eq!(error["message"], format!("The model `{name}` does not exist."));
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error["code"], "model_not_found");
        assert_eq!(error["param"], "model");
    }
    assert_eq!(hone.get("/v1/models/gpt-9").await?.status, 404);
    Ok(())
}
