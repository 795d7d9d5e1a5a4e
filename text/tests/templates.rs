//! Chat templates against transformers: the starter's token ids, and the text of templates in the
//! manner of other model families.

#![allow(clippy::unwrap_used)] // a test that cannot read its golden files has failed

use hone_api::chat::Message;
use hone_text::{ChatTemplate, Error, Tokenizer};
use serde_json::Value;

const CONFIG: &[u8] = include_bytes!("../../model/starter/tokenizer_config.json");

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn messages(row: &Value) -> Vec<Message> {
    serde_json::from_value(row["messages"].clone()).unwrap()
}

#[test]
fn the_starters_ids_are_those_of_transformers() {
    let tokenizer =
        Tokenizer::from_bytes(include_bytes!("../../model/starter/tokenizer.json")).unwrap();
    let template = ChatTemplate::from_config(CONFIG).unwrap();
    for row in lines(include_str!("golden/templates.jsonl")) {
        for (key, add_generation_prompt) in [("with_prompt", true), ("without_prompt", false)] {
            let ids =
                template.encode_chat(&tokenizer, &messages(&row), add_generation_prompt).unwrap();
            let expected: Vec<u32> = serde_json::from_value(row[key].clone()).unwrap();
            assert_eq!(ids, expected, "{key}: {row}");
        }
    }
}

#[test]
fn templates_of_other_families_render_as_in_transformers() {
    let rows = lines(include_str!("golden/template_families.jsonl"));
    assert_eq!(rows.len(), 60);
    for row in rows {
        let mut config: Value = serde_json::from_slice(CONFIG).unwrap();
        config["chat_template"] = row["template"].clone();
        let template = ChatTemplate::from_config(config.to_string().as_bytes()).unwrap();
        let prompt = row["add_generation_prompt"].as_bool().unwrap();
        let what = format!("{} {}", row["name"], row["messages"]);
        match (template.render(&messages(&row), prompt), row["text"].as_str()) {
            (Ok(text), Some(expected)) => assert_eq!(text, expected, "{what}"),
            (Err(Error::Template(text)), None) => {
                assert_eq!(text, row["error"].as_str().unwrap(), "{what}");
            }
            (rendered, expected) => panic!("{rendered:?} instead of {expected:?}: {what}"),
        }
    }
}
