//! What the tools of a request make of its answers: their grammar before, their calls after.

use hone_api::InteractionId;
use hone_api::chat::{FunctionCall, Tool, ToolCall, ToolChoice, ToolKind, ToolOptions};
use hone_api::error::Invalid;
use hone_text::calls::{CallPlan, CallRule, Piece, ToolReader};
use hone_text::{FrontEnd, Grammar, JsonSchema, ToolFormat};
use serde_json::{Value, json};

use crate::grammar_source::{Source, refused};
use crate::grammars::Made;

/// The tools that the model of a request is told of.
#[derive(Debug, Clone)]
pub(crate) struct ToolUse {
    pub(crate) tools: Vec<Tool>,
    pub(crate) format: ToolFormat,
    /// Special tokens that calls are written with.
    pub(crate) shown: Vec<u32>,
}

impl ToolUse {
    /// `None`: the model is told of no tools.
    pub(crate) fn of(options: &ToolOptions, front_end: &FrontEnd) -> Option<Self> {
        if options.choice() == ToolChoice::None {
            return None;
        }
        Self::of_log(options.tools.clone(), front_end)
    }

    /// As it was in a request whose tools were logged.
    pub(crate) fn of_log(tools: Vec<Tool>, front_end: &FrontEnd) -> Option<Self> {
        if tools.is_empty() {
            return None;
        }
        let format = front_end.template.tool_format();
        Some(Self { tools, format, shown: format.special_tokens(&front_end.tokenizer) })
    }

    /// The calls in an answer's text, and the text without them.
    pub(crate) fn read(&self, answer: &str, ids: CallIds) -> Said {
        let mut reader = ToolReader::new(self.format);
        let mut said = Said::default();
        let pieces = reader.push(answer).into_iter();
        for piece in pieces.chain(reader.finish()) {
            match piece {
                Piece::Text(text) => said.text += &text,
                Piece::Call { name } => {
                    let function = FunctionCall { name, arguments: String::new() };
                    let id = ids.id(self.format, said.calls.len());
                    said.calls.push(ToolCall { id, kind: ToolKind::Function, function });
                }
                Piece::Arguments(more) => {
                    if let Some(call) = said.calls.last_mut() {
                        call.function.arguments += &more;
                    }
                }
            }
        }
        said
    }
}

/// An answer with its calls taken out.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) calls: Vec<ToolCall>,
}

/// The ids of one answer's calls: the same in its chunks and in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallIds {
    pub(crate) interaction: InteractionId,
    /// The answer's place.
    pub(crate) index: usize,
}

impl CallIds {
    pub(crate) fn id(self, format: ToolFormat, number: usize) -> String {
        let whole =
            blake3::hash(format!("{}/{}/{number}", self.interaction, self.index).as_bytes());
        let whole = whole.to_hex();
        match format {
            // Its templates take nothing else.
            ToolFormat::Mistral | ToolFormat::MistralArgs => whole[..9].to_owned(),
            ToolFormat::Hermes | ToolFormat::Llama => format!("call_{}", &whole[..24]),
        }
    }
}

/// What answers with tools are held to.
#[derive(Debug, Clone)]
pub(crate) struct ToolSource {
    format: ToolFormat,
    /// With their places in the request.
    tools: Vec<(usize, Tool)>,
    required: bool,
    parallel: bool,
    /// What an answer without calls is held to.
    text: Option<Source>,
}

impl ToolSource {
    /// `text`: what the request says of the answer's form.
    ///
    /// # Errors
    /// A grammar of the client's own beside tools: the two cannot be put together.
    pub(crate) fn of(
        options: &ToolOptions,
        format: ToolFormat,
        text: Option<Source>,
    ) -> Result<Self, Invalid> {
        if let Some(source) = text.as_ref().filter(|source| source.rule.is_none()) {
            let field = &source.field;
            let message = format!("`{field}` and `tools` cannot be used together; send one");
            return Err(Invalid::field(field, message));
        }
        let mut tools: Vec<_> = options.tools.iter().cloned().enumerate().collect();
        let mut parallel = options.parallel_tool_calls != Some(false);
        let choice = options.choice();
        if let ToolChoice::Named(name) = &choice {
            tools.retain(|(_, tool)| tool.function.name == *name);
            parallel = false;
        }
        let required = choice != ToolChoice::Auto;
        Ok(Self { format, tools, required, parallel, text })
    }

    /// Identifies it, for one that is the same.
    pub(crate) fn key(&self) -> String {
        let text = self.text.as_ref().map(|source| &source.lark);
        json!([self.tools, self.required, self.parallel, text]).to_string()
    }

    /// Makes the grammar.
    ///
    /// # Errors
    /// The field that it fails at.
    pub(crate) fn make(&self, front_end: &FrontEnd) -> Result<Made, Invalid> {
        let compile = |lark: &str| front_end.grammar(lark);
        let mut ignored = self.text.as_ref().map_or_else(Vec::new, |text| text.ignored.clone());
        let mut calls = Vec::with_capacity(self.tools.len());
        for (at, tool) in &self.tools {
            let field = format!("tools[{at}].function.parameters");
            let rule = arguments(tool, &field, &compile, &mut ignored)?;
            calls.push(CallRule { name: tool.function.name.clone(), arguments: rule });
        }
        let text = self.text.as_ref().and_then(|source| source.rule.clone());
        let plan = CallPlan { calls, required: self.required, parallel: self.parallel, text };
        let lark = self.format.grammar(&plan, &front_end.tokenizer);
        let grammar = compile(&lark).map_err(|error| {
            let field = self.text.as_ref().map_or("tools", |source| source.field.as_str());
            refused(field, &error)
        })?;
        Ok(Made { grammar, lark: lark.into(), ignored })
    }
}

/// What a tool's arguments are held to. Of a tool that is not strict what cannot be applied says nothing.
fn arguments(
    tool: &Tool,
    field: &str,
    compile: &impl Fn(&str) -> Result<Grammar, hone_text::Error>,
    ignored: &mut Vec<String>,
) -> Result<String, Invalid> {
    let nothing = || json!({"type": "object", "properties": {}, "additionalProperties": false});
    let mut parameters = tool.function.parameters.clone().unwrap_or_else(nothing);
    match parameters.get("type") {
        None => parameters["type"] = json!("object"),
        Some(Value::String(name)) if name == "object" => {}
        Some(_) => {
            let message = format!("`{field}` must be a schema of type object");
            return Err(Invalid::field(field, message));
        }
    }
    let made = JsonSchema::new(parameters).and_then(|schema| {
        let rule = schema.lark_in_line(false);
        compile(&format!("start: {rule}\n"))?;
        Ok((rule, schema.remarks().to_vec()))
    });
    let error = match made {
        Ok((rule, remarks)) => {
            ignored.extend(remarks.iter().map(|format| format!("{field} (format {format})")));
            return Ok(rule);
        }
        Err(error) if tool.function.strict == Some(true) => return Err(refused(field, &error)),
        Err(error) => error,
    };
    tracing::debug!(field, %error, "a tool's schema is applied in part");
    ignored.push(field.to_owned());
    let parameters = tool.function.parameters.clone().unwrap_or_else(nothing);
    let lenient = JsonSchema::new(parameters).and_then(|schema| {
        let rule = schema.lark_in_line(true);
        compile(&format!("start: {rule}\n"))?;
        Ok(rule)
    });
    let any =
        || JsonSchema::new(json!({"type": "object"})).map(|schema| schema.lark_in_line(false));
    lenient.or_else(|_| any()).map_err(|error| refused(field, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_calls_have_ids_of_their_own() {
        let tools = ToolUse { tools: Vec::new(), format: ToolFormat::Hermes, shown: Vec::new() };
        let interaction = InteractionId::new();
        let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
        let answer = format!("So:\n{call}\n{call}");
        let read = |index| tools.read(&answer, CallIds { interaction, index });
        let said = read(0);
        assert_eq!((said.text.as_str(), said.calls.len()), ("So:", 2));
        assert_eq!(said.calls[0].function.arguments, "{\"a\": 1}");
        assert_ne!(said.calls[0].id, said.calls[1].id);
        assert_ne!(said.calls[0].id, read(1).calls[0].id);
        assert_eq!(said, read(0));
        let mistral = CallIds { interaction, index: 0 }.id(ToolFormat::Mistral, 0);
        assert!(mistral.len() == 9 && mistral.chars().all(char::is_alphanumeric));
    }
}
