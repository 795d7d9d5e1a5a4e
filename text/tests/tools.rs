//! Tools in chat templates in the manner of model families: what is rendered, and what is taught.

#![allow(clippy::unwrap_used)] // a test that cannot make its template has failed

use hone_api::chat::{Message, Tool};
use hone_text::{ChatTemplate, Talk, Tokenizer, ToolFormat};
use serde_json::{Value, json};

const CONFIG: &[u8] = include_bytes!("../../model/starter/tokenizer_config.json");

const HERMES: &str = r#"{%- if tools %}{{- '<|im_start|>system\n<tools>' }}{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}{{- '\n</tools> <tool_call></tool_call><|im_end|>\n' }}{%- endif %}{%- for message in messages %}{%- if message.role == "assistant" %}{{- '<|im_start|>assistant' }}{%- if message.content %}{{- '\n' + message.content }}{%- endif %}{%- for call in message.tool_calls %}{{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}{{- call.function.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\n' }}{%- elif message.role == "tool" %}{{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}{%- else %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"#;

const MISTRAL: &str = r#"{%- for message in messages %}{%- if message.role == "user" %}{%- if tools and loop.last %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}[INST] {{ message.content }}[/INST]{% elif message.tool_calls is defined %}[TOOL_CALLS] [{%- for call in message.tool_calls %}{%- if call.id|length != 9 %}{{ raise_exception("ids have 9 letters") }}{% endif %}{%- set out = call.function | tojson %}{{ out[:-1] + ', "id": "' + call.id + '"}' }}{%- endfor %}]</s>{% elif message.role == "tool" %}[TOOL_RESULTS] {{ message.tool_call_id }} {{ message.content }}[/TOOL_RESULTS]{% else %} {{ message.content }}</s>{% endif %}{%- endfor %}"#;

const GEMMA: &str = r#"{%- for message in messages %}{%- if message.role == "system" %}{{ raise_exception("System role not supported") }}{% endif %}{%- if (message.role == "user") != (loop.index0 % 2 == 0) %}{{ raise_exception("roles must alternate") }}{% endif %}<start>{{ message.role }}
{{ message.content }}<end>
{% endfor %}{%- if add_generation_prompt %}<start>model
{% endif %}"#;

fn template(source: &Value) -> ChatTemplate {
    let mut config: Value = serde_json::from_slice(CONFIG).unwrap();
    config["chat_template"] = source.clone();
    ChatTemplate::from_config(config.to_string().as_bytes()).unwrap()
}

fn tools() -> Vec<Tool> {
    let tool = json!({"type": "function", "function": {"name": "find", "description": "d",
        "parameters": {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}}}});
    vec![serde_json::from_value(tool).unwrap()]
}

fn talk() -> Vec<Message> {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "find", "arguments": arguments}});
    let messages = json!([
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": null,
            "tool_calls": [call("call_1", "{\"z\":\"é\",\"a\":1}"), call("call_2", "{}")]},
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
        {"role": "tool", "tool_call_id": "call_2", "content": "two"},
        {"role": "assistant", "content": "Both."},
    ]);
    serde_json::from_value(messages).unwrap()
}

#[test]
fn a_template_that_knows_tools_gets_them_as_they_were_sent() {
    let (template, tools, messages) = (template(&json!(HERMES)), tools(), talk());
    assert_eq!(template.tool_format(), ToolFormat::Hermes);
    let text = template.render(Talk { messages: &messages, tools: &tools }, false).unwrap();
    let listed = r#"{"type": "function", "function": {"name": "find", "description": "d", "parameters": {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}}}}"#;
    assert!(text.contains(listed), "{text}");
    let call = "<|im_start|>assistant\n<tool_call>\n{\"name\": \"find\", \"arguments\": {\"z\": \"é\", \"a\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"find\", \"arguments\": {}}\n</tool_call><|im_end|>\n";
    assert!(text.contains(call), "{text}");
    let plain = template.render(&messages[..1], true).unwrap();
    assert_eq!(plain, "<|im_start|>user\nlook<|im_end|>\n<|im_start|>assistant\n");
}

#[test]
fn calls_are_taught_as_they_are_served() {
    let tokenizer =
        Tokenizer::from_bytes(include_bytes!("../../model/starter/tokenizer.json")).unwrap();
    let (tools, messages) = (tools(), talk());
    for template in [template(&json!(HERMES)), ChatTemplate::from_config(CONFIG).unwrap()] {
        let talk = Talk { messages: &messages, tools: &tools };
        let ids = template.encode_training(&tokenizer, talk).unwrap();
        let taught: Vec<u32> =
            ids.iter().filter(|(_, taught)| *taught).map(|(id, _)| *id).collect();
        let taught = tokenizer.decode(&taught, false);
        let call = "<tool_call>\n{\"name\": \"find\", \"arguments\": {\"z\": \"é\", \"a\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"find\", \"arguments\": {}}\n</tool_call><|im_end|>";
        assert_eq!(taught, format!("{call}Both.<|im_end|>"));
        let asked = Talk { messages: &messages[..1], tools: &tools };
        let prompt = template.encode_chat(&tokenizer, asked, true).unwrap();
        assert!(ids.iter().map(|(id, _)| *id).collect::<Vec<_>>().starts_with(&prompt));
    }
}

#[test]
fn mistral_has_ids_of_nine_letters() {
    let (template, tools, messages) = (template(&json!(MISTRAL)), tools(), talk());
    assert_eq!(template.tool_format(), ToolFormat::Mistral);
    let text = template.render(Talk { messages: &messages, tools: &tools }, false).unwrap();
    let id = text.split("\"id\": \"").nth(1).unwrap()[..9].to_owned();
    assert!(id.chars().all(char::is_alphanumeric), "{text}");
    assert!(text.contains(&format!("[TOOL_RESULTS] {id} one")), "{text}");
    assert!(
        text.contains(
            "[TOOL_CALLS] [{\"name\": \"find\", \"arguments\": {\"z\": \"é\", \"a\": 1}, \"id\""
        ),
        "{text}"
    );
}

#[test]
fn a_template_that_knows_no_tools_is_told_by_the_prompt() {
    let (template, tools, messages) = (template(&json!(GEMMA)), tools(), talk());
    assert_eq!(template.tool_format(), ToolFormat::Hermes);
    let text = template.render(Talk { messages: &messages, tools: &tools }, false).unwrap();
    assert!(text.starts_with("<start>user\n# Tools\n"), "{text}");
    assert!(text.contains("</tool_call>\n\nlook<end>"), "{text}");
    let results = "<start>user\n<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response><end>";
    assert!(text.contains(results), "{text}");
    let starter = ChatTemplate::from_config(CONFIG).unwrap();
    let text = starter.render(Talk { messages: &messages[..1], tools: &tools }, true).unwrap();
    assert!(text.starts_with("<|im_start|>system\n# Tools\n"), "{text}");
    assert!(text.ends_with("<|im_start|>user\nlook<|im_end|>\n<|im_start|>assistant\n"), "{text}");
}

#[test]
fn the_second_template_of_two_is_for_tools() {
    let two =
        json!([{"name": "default", "template": "plain"}, {"name": "tool_use", "template": HERMES}]);
    let (template, tools, messages) = (template(&two), tools(), talk());
    assert_eq!(template.render(&messages[..1], true).unwrap(), "plain");
    let text = template.render(Talk { messages: &messages[..1], tools: &tools }, true).unwrap();
    assert!(text.contains("<tools>"), "{text}");
    assert_eq!(template.tool_format(), ToolFormat::Hermes);
}

#[test]
fn families_are_told_by_their_templates() {
    let llama = "{% if tools %}{{ tools | tojson }} parameters{% endif %}<|start_header_id|>";
    let newer = "{% if tools %}{{ tools | tojson }}{% endif %}[TOOL_CALLS]x[ARGS]{}";
    assert_eq!(template(&json!(llama)).tool_format(), ToolFormat::Llama);
    assert_eq!(template(&json!(newer)).tool_format(), ToolFormat::MistralArgs);
    // A form that is not known here is told by the prompt.
    let coder = template(&json!(
        "{% if tools %}<tool_call><function={{ tools[0].name }}>{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}"
    ));
    let (tools, messages) = (tools(), talk());
    let text = coder.render(Talk { messages: &messages[..1], tools: &tools }, true).unwrap();
    assert!(text.starts_with("# Tools") && !text.contains("<function=>"), "{text}");
}
