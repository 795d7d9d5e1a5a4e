//! Training files of other tools: ShareGPT's and Alpaca's rows as OpenAI's.

use serde_json::{Map, Value, json};

/// What Alpaca puts before the input of an instruction: nothing but a blank line, as most trainers join them.
const JOINT: &str = "\n\n";

/// Gives a row without `messages` those that its own keys stand for.
///
/// # Errors
/// It has keys of another format in a shape that is not theirs; the words say what was expected.
pub(crate) fn to_messages(row: &mut Value) -> Result<(), String> {
    let Some(row) = row.as_object_mut() else { return Ok(()) };
    if row.contains_key("messages") {
        return Ok(());
    }
    let messages = if let Some(turns) = row.remove("conversations") {
        share_gpt(&turns)?
    } else if row.contains_key("instruction") {
        alpaca(row)?
    } else {
        let keys: Vec<&str> = row.keys().take(6).map(String::as_str).collect();
        return Err(format!(
            "it has none of `messages` (OpenAI), `conversations` (ShareGPT) and `instruction` (Alpaca), but {}",
            keys.join(", ")
        ));
    };
    row.insert("messages".to_owned(), messages.into());
    Ok(())
}

/// `{"from": "human", "value": ...}`, or turns that are OpenAI's already.
fn share_gpt(turns: &Value) -> Result<Vec<Value>, String> {
    let wrong = || "`conversations` must be a list of objects with `from` and `value`".to_owned();
    let turns = turns.as_array().ok_or_else(wrong)?;
    let turn = |turn: &Value| {
        if turn.get("role").is_some() {
            return Ok(turn.clone());
        }
        let from = turn.get("from").and_then(Value::as_str).ok_or_else(wrong)?;
        let role = match from {
            "human" | "user" => "user",
            "gpt" | "assistant" | "chatgpt" | "model" | "bing" | "bard" => "assistant",
            "system" => "system",
            "tool" | "observation" | "function_response" => "tool",
            other => {
                return Err(format!(
                    "ShareGPT's `from` {other:?} is none of human, gpt, system, tool"
                ));
            }
        };
        let mut made = json!({ "role": role, "content": turn.get("value").ok_or_else(wrong)? });
        if let Some(weight) = turn.get("weight") {
            made["weight"] = weight.clone();
        }
        Ok(made)
    };
    turns.iter().map(turn).collect()
}

/// `instruction`, `input`, `output`, and `system` where there is one.
fn alpaca(row: &mut Map<String, Value>) -> Result<Vec<Value>, String> {
    let mut text = |key: &str| match row.remove(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("`{key}` must be text")),
    };
    let (instruction, input) = (text("instruction")?, text("input")?);
    let (output, system) = (text("output")?, text("system")?);
    let question = match input.trim().is_empty() {
        true => instruction,
        false => format!("{instruction}{JOINT}{input}"),
    };
    let turns = [("system", system), ("user", question), ("assistant", output)];
    let is_there = |(role, text): &(&str, String)| *role != "system" || !text.is_empty();
    let turns = turns.into_iter().filter(is_there);
    Ok(turns.map(|(role, text)| json!({ "role": role, "content": text })).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(mut row: Value) -> Result<Value, String> {
        to_messages(&mut row).map(|()| row["messages"].take())
    }

    #[test]
    fn rows_of_other_tools_are_openais() {
        let turn = |role: &str, text: &str| json!({ "role": role, "content": text });
        let human = json!({ "from": "human", "value": "Hi" });
        let gpt = json!({ "from": "gpt", "value": "Hello" });
        let plain = json!([turn("user", "Hi"), turn("assistant", "Hello")]);
        assert_eq!(messages(json!({ "conversations": [human, gpt] })), Ok(plain.clone()));
        assert_eq!(messages(json!({ "conversations": plain })), Ok(plain.clone()));
        assert_eq!(messages(json!({ "messages": plain })), Ok(plain.clone()));
        let row = json!({ "instruction": "Hi", "input": "", "output": "Hello" });
        assert_eq!(messages(row), Ok(plain));
        let row =
            json!({ "instruction": "Add", "input": "1 2", "output": "3", "system": "Be brief." });
        let wanted = json!([
            turn("system", "Be brief."),
            turn("user", "Add\n\n1 2"),
            turn("assistant", "3")
        ]);
        assert_eq!(messages(row), Ok(wanted));
    }

    #[test]
    fn what_is_of_no_format_is_told_which_there_are() {
        let error = messages(json!({ "prompt": "a", "completion": "b" })).unwrap_err();
        assert!(error.contains("`messages`") && error.contains("prompt, completion"), "{error}");
        let error = messages(json!({ "conversations": [{ "from": "narrator", "value": "a" }] }));
        assert!(error.unwrap_err().contains("narrator"));
        assert!(messages(json!({ "instruction": 3, "output": "b" })).is_err());
    }
}
