//! Functions that a model may ask to be called, and the calls that it asks for.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::Invalid;
use crate::fields::{Fields, kind};
use crate::structured::object;

/// Tools of one request.
pub const TOOLS: usize = 128;
/// Bytes of all tools of a request.
pub const TOOLS_BYTES: usize = 256 << 10;
/// Calls of one message.
pub const CALLS: usize = 128;

/// `function`, the only kind of tool and of call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// A function of the client's.
    #[default]
    Function,
}

/// A function that the model may ask to be called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tool {
    /// `function`.
    #[serde(rename = "type", default)]
    #[schema(value_type = Option<ToolKind>)]
    pub kind: ToolKind,
    /// The function.
    pub function: Function,
}

/// What a function is called, does and takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Function {
    /// Its name.
    #[schema(pattern = "^[a-zA-Z0-9_.-]{1,64}$")]
    pub name: String,
    /// What it does; the model reads this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON schema of its arguments, to which they are held; without one it takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Value>,
    /// `true`: a schema with a keyword that is not supported is refused; otherwise that keyword says nothing and is
    /// named in `x-hone-ignored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// A call that the model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct ToolCall {
    /// Names the call to the message with its result.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub id: String,
    /// `function`.
    #[serde(rename = "type", default)]
    #[schema(value_type = Option<ToolKind>)]
    pub kind: ToolKind,
    /// What is to be called.
    pub function: FunctionCall,
}

/// A function's name with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct FunctionCall {
    /// The function.
    #[schema(pattern = "^[a-zA-Z0-9_.-]{1,64}$")]
    pub name: String,
    /// Its arguments: the text of a JSON object.
    #[serde(deserialize_with = "text_or_object")]
    pub arguments: String,
}

impl FunctionCall {
    /// The arguments as JSON; as the string that they are, if they are none.
    #[must_use]
    pub fn arguments_value(&self) -> Value {
        serde_json::from_str(&self.arguments).unwrap_or_else(|_| json!(self.arguments))
    }
}

/// The calls that a text stands for, with what is said beside them: the JSON of an assistant's message with
/// `tool_calls`. So an answer is corrected whose calls were wrong.
#[must_use]
pub fn written_calls(text: &str) -> Option<(String, Vec<ToolCall>)> {
    /// The parts of the message that count.
    #[derive(Deserialize)]
    struct Answer {
        content: Option<String>,
        tool_calls: Vec<ToolCall>,
    }
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let Answer { content, tool_calls } = serde_json::from_str(text).ok()?;
    (!tool_calls.is_empty()).then(|| (content.unwrap_or_default(), tool_calls))
}

/// An answer as one text, its calls included, to be compared with others.
#[must_use]
pub fn with_calls<'a>(content: &'a str, calls: &[ToolCall]) -> std::borrow::Cow<'a, str> {
    if calls.is_empty() {
        return content.into();
    }
    let mut text = content.to_owned();
    for call in calls {
        text += &format!("\n{} {}", call.function.name, call.function.arguments_value());
    }
    text.into()
}

/// Data sets have the arguments as an object.
fn text_or_object<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        object @ Value::Object(_) => Ok(object.to_string()),
        other => {
            let message = format!("arguments must be an object or its text, not {}", kind(&other));
            Err(serde::de::Error::custom(message))
        }
    }
}

/// Whether, and which, tools the model may or must ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// None.
    None,
    /// What it likes.
    #[default]
    Auto,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// The shapes that `tool_choice` may have on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ToolChoiceForms {
    /// A word.
    Word(ToolChoiceWord),
    /// A function by its name.
    Named(NamedTool),
}

/// `tool_choice` in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoiceWord {
    /// No tool.
    None,
    /// What the model likes; the default where there are tools.
    Auto,
    /// At least one tool.
    Required,
}

/// The function that must be called.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct NamedTool {
    /// `function`.
    #[serde(rename = "type")]
    #[schema(value_type = Option<ToolKind>)]
    pub kind: ToolKind,
    /// Which.
    pub function: NamedFunction,
}

/// A function by its name.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct NamedFunction {
    /// The name of one of `tools`.
    pub name: String,
}

/// The fields of a request that have to do with tools.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct ToolOptions {
    /// Functions that the model may ask to be called; at most 128.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<Tool>>, max_items = 128)]
    pub tools: Vec<Tool>,
    /// Whether it may or must; default `auto` if there are tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoiceForms>,
    /// `false`: at most one call in an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
}

impl ToolOptions {
    /// Takes the fields out of a request.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn take(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<Self, Invalid> {
        let tools = read_tools(fields, ignored)?;
        let tool_choice = choice(fields, &tools, ignored)?;
        let parallel_tool_calls = fields.take("parallel_tool_calls")?;
        Ok(Self { tools, tool_choice, parallel_tool_calls })
    }

    /// What the model may do. Without tools it can only talk.
    #[must_use]
    pub fn choice(&self) -> ToolChoice {
        match &self.tool_choice {
            _ if self.tools.is_empty() => ToolChoice::None,
            None | Some(ToolChoiceForms::Word(ToolChoiceWord::Auto)) => ToolChoice::Auto,
            Some(ToolChoiceForms::Word(ToolChoiceWord::None)) => ToolChoice::None,
            Some(ToolChoiceForms::Word(ToolChoiceWord::Required)) => ToolChoice::Required,
            Some(ToolChoiceForms::Named(named)) => ToolChoice::Named(named.function.name.clone()),
        }
    }
}

/// Takes `tools` out.
///
/// # Errors
/// It is no array of functions; names are missing, odd or given twice.
pub fn read_tools(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<Vec<Tool>, Invalid> {
    let Some(items) = fields.take::<Vec<Value>>("tools")? else { return Ok(Vec::new()) };
    let path = fields.path("tools");
    if items.len() > TOOLS {
        let message = format!("`{path}` has {} entries; at most {TOOLS}", items.len());
        return Err(Invalid::field(&path, message));
    }
    let bytes: usize = items.iter().map(|item| item.to_string().len()).sum();
    if bytes > TOOLS_BYTES {
        let message = format!("`{path}` has {bytes} bytes; at most {TOOLS_BYTES}");
        return Err(Invalid::field(&path, message));
    }
    let mut tools: Vec<Tool> = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        let mut fields = Fields::nested(item, &format!("{path}[{at}]"))?;
        is_function(&mut fields)?;
        let function = object(&mut fields, "function")?;
        let inner = fields.path("function");
        let function = function.ok_or_else(|| {
            Invalid::field(&inner, format!("`{inner}` is missing; it is required"))
        })?;
        ignored.extend(fields.unknown());
        let mut fields = Fields::nested(function, &inner)?;
        let function = Function {
            name: name(&mut fields)?,
            description: fields.take("description")?,
            parameters: object(&mut fields, "parameters")?,
            strict: fields.take("strict")?,
        };
        if tools.iter().any(|tool| tool.function.name == function.name) {
            let message = format!("there are two tools with the name `{}`", function.name);
            return Err(Invalid::field(&fields.path("name"), message));
        }
        ignored.extend(fields.unknown());
        tools.push(Tool { kind: ToolKind::Function, function });
    }
    Ok(tools)
}

/// Takes a message's `tool_calls` out.
///
/// # Errors
/// The first field that is wrong, by name.
pub(crate) fn read_calls(
    fields: &mut Fields,
    ignored: &mut Vec<String>,
) -> Result<Vec<ToolCall>, Invalid> {
    let Some(items) = fields.take::<Vec<Value>>("tool_calls")? else { return Ok(Vec::new()) };
    let path = fields.path("tool_calls");
    if items.len() > CALLS {
        let message = format!("`{path}` has {} entries; at most {CALLS}", items.len());
        return Err(Invalid::field(&path, message));
    }
    let call = |(at, item): (usize, Value)| {
        let mut fields = Fields::nested(item, &format!("{path}[{at}]"))?;
        is_function(&mut fields)?;
        let id = fields.take("id")?.unwrap_or_default();
        let function = object(&mut fields, "function")?;
        let inner = fields.path("function");
        let function = function.ok_or_else(|| {
            Invalid::field(&inner, format!("`{inner}` is missing; it is required"))
        })?;
        fields.value("index"); // clients that put streamed pieces together send it along
        ignored.extend(fields.unknown());
        let mut fields = Fields::nested(function, &inner)?;
        let function =
            FunctionCall { name: name(&mut fields)?, arguments: fields.required("arguments")? };
        ignored.extend(fields.unknown());
        Ok(ToolCall { id, kind: ToolKind::Function, function })
    };
    items.into_iter().enumerate().map(call).collect()
}

fn is_function(fields: &mut Fields) -> Result<(), Invalid> {
    match fields.take::<String>("type")?.as_deref() {
        None | Some("function") => Ok(()),
        Some(other) => {
            let path = fields.path("type");
            let message = format!("`{path}` is `{other:.40}`; only functions are supported");
            Err(Invalid::field(&path, message).code("unsupported_parameter"))
        }
    }
}

/// Takes a function's `name` out.
pub(crate) fn name(fields: &mut Fields) -> Result<String, Invalid> {
    let name: String = fields.required("name")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if (1..=64).contains(&name.len()) && name.chars().all(is_plain) {
        return Ok(name);
    }
    let path = fields.path("name");
    let message = format!("`{path}` must be 1 to 64 letters, digits, `_`, `.` or `-`");
    Err(Invalid::field(&path, message))
}

fn choice(
    fields: &mut Fields,
    tools: &[Tool],
    ignored: &mut Vec<String>,
) -> Result<Option<ToolChoiceForms>, Invalid> {
    let wrong = || {
        let message = "`tool_choice` must be none, auto, required, or a function: \
                       {\"type\": \"function\", \"function\": {\"name\": …}}";
        Invalid::field("tool_choice", message)
    };
    let word = |word| Ok(Some(ToolChoiceForms::Word(word)));
    match fields.value("tool_choice") {
        None => Ok(None),
        Some(Value::String(text)) => match text.as_str() {
            "none" => word(ToolChoiceWord::None),
            "auto" => word(ToolChoiceWord::Auto),
            "required" if tools.is_empty() => {
                let message = "`tool_choice` requires a tool and `tools` has none";
                Err(Invalid::field("tool_choice", message))
            }
            "required" => word(ToolChoiceWord::Required),
            _ => Err(wrong()),
        },
        Some(value @ Value::Object(_)) => {
            let mut named = Fields::nested(value, "tool_choice")?;
            is_function(&mut named)?;
            let function = object(&mut named, "function")?.ok_or_else(wrong)?;
            ignored.extend(named.unknown());
            let mut function = Fields::nested(function, "tool_choice.function")?;
            let name: String = function.required("name")?;
            ignored.extend(function.unknown());
            if !tools.iter().any(|tool| tool.function.name == name) {
                let message = format!("`tool_choice` names `{name:.80}`, which is none of `tools`");
                return Err(Invalid::field("tool_choice", message));
            }
            let function = NamedFunction { name };
            Ok(Some(ToolChoiceForms::Named(NamedTool { kind: ToolKind::Function, function })))
        }
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(body: Value) -> Result<ToolOptions, Invalid> {
        ToolOptions::take(&mut Fields::new(body)?, &mut Vec::new())
    }

    fn tools() -> Value {
        json!([{"type": "function", "function": {"name": "get_weather", "description": "d",
            "parameters": {"type": "object", "properties": {"b": {}, "a": {}}}, "strict": true}}])
    }

    #[test]
    fn a_choice_is_one_of_the_tools() {
        let read = |choice: Value| take(json!({"tools": tools(), "tool_choice": choice}));
        assert_eq!(read(json!(null)).unwrap().choice(), ToolChoice::Auto);
        assert_eq!(read(json!("none")).unwrap().choice(), ToolChoice::None);
        assert_eq!(read(json!("required")).unwrap().choice(), ToolChoice::Required);
        let named = |name: &str| json!({"type": "function", "function": {"name": name}});
        let chosen = read(named("get_weather")).unwrap().choice();
        assert_eq!(chosen, ToolChoice::Named("get_weather".to_owned()));
        for wrong in [named("other"), json!("any"), json!(1), json!({"type": "function"})] {
            let error = read(wrong.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("tool_choice"), "{wrong}");
        }
        assert!(take(json!({"tool_choice": "required"})).is_err());
        assert_eq!(take(json!({"tool_choice": "auto"})).unwrap().choice(), ToolChoice::None);
    }

    #[test]
    fn a_tool_is_read_as_it_was_written() {
        let read = take(json!({"tools": tools()})).unwrap();
        assert_eq!(json!(read.tools), tools());
        for (tool, param) in [
            (json!({"type": "web_search"}), "tools[0].type"),
            (json!({"type": "function"}), "tools[0].function"),
            (json!({"function": {}}), "tools[0].function.name"),
            (json!({"function": {"name": "a b"}}), "tools[0].function.name"),
            (json!({"function": {"name": "a", "parameters": 1}}), "tools[0].function.parameters"),
        ] {
            let error = take(json!({ "tools": [tool] })).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param));
        }
        let twice = json!([{"function": {"name": "a"}}, {"function": {"name": "a"}}]);
        assert!(take(json!({ "tools": twice })).unwrap_err().message.contains("two tools"));
    }

    #[test]
    fn calls_may_be_written_as_a_message() {
        let text = r#" {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}"#;
        let (content, calls) = written_calls(text).unwrap();
        assert_eq!(with_calls(&content, &calls), "\nf {\"a\":1}");
        for other in ["f", "{", r#"{"tool_calls": []}"#, r#"{"a": 1}"#] {
            assert_eq!(written_calls(other), None);
        }
        assert_eq!(with_calls("x", &[]), "x");
    }

    #[test]
    fn arguments_may_be_an_object() {
        let call: ToolCall = serde_json::from_value(
            json!({"function": {"name": "f", "arguments": {"b": 1, "a": 2}}}),
        )
        .unwrap();
        assert_eq!(call.function.arguments, r#"{"b":1,"a":2}"#);
        assert_eq!(call.function.arguments_value(), json!({"b": 1, "a": 2}));
    }
}
