//! What an answer must look like: `response_format`, and vLLM's `structured_outputs` and `guided_…`.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::Invalid;
use crate::fields::{Fields, kind};

/// Entries of `choice`.
const CHOICES: usize = 1024;

/// OpenAI's `response_format`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that satisfies a schema.
    JsonSchema {
        /// The schema.
        json_schema: NamedSchema,
    },
}

/// A JSON schema with its name.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct NamedSchema {
    /// What the client calls it.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The schema, at most 64 KiB and 32 deep. A keyword that is not supported is refused by name.
    pub schema: JsonObject,
    /// Answers are held to the schema either way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// A JSON object of any content.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[schema(value_type = Object)]
#[serde(transparent)]
pub struct JsonObject(pub Value);

/// vLLM's `structured_outputs`: exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct StructuredOutputs {
    /// JSON that satisfies this schema: an object, or its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<SchemaForms>,
    /// The whole answer matches this regular expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// The answer is one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1024)]
    pub choice: Option<Vec<String>>,
    /// A grammar in llguidance's Lark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grammar: Option<String>,
    /// Any JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_object: Option<bool>,
}

/// The shapes that a schema may have on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum SchemaForms {
    /// The schema.
    Object(JsonObject),
    /// Its text.
    Text(String),
}

/// The older names of vLLM for the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Guided {
    /// As `structured_outputs.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guided_json: Option<SchemaForms>,
    /// As `structured_outputs.regex`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guided_regex: Option<String>,
    /// As `structured_outputs.choice`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1024)]
    pub guided_choice: Option<Vec<String>>,
    /// As `structured_outputs.grammar`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guided_grammar: Option<String>,
}

/// All that a request can say of its answer's form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Form {
    /// The answer's form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// As vLLM has it: exactly one of its fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured_outputs: Option<StructuredOutputs>,
    /// vLLM's older names.
    #[serde(flatten)]
    pub guided: Guided,
}

/// What an answer is held to.
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// Any JSON object.
    JsonObject,
    /// JSON that satisfies a schema.
    Schema(Value),
    /// A text that matches.
    Regex(String),
    /// One of these.
    Choice(Vec<String>),
    /// A grammar in Lark.
    Grammar(String),
}

/// A constraint with the field that it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// For errors.
    pub field: String,
    /// What the answer is held to.
    pub constraint: Constraint,
}

impl Form {
    /// Takes the fields out of a request.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn take(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<Self, Invalid> {
        Ok(Self {
            response_format: response_format(fields, ignored)?,
            structured_outputs: structured_outputs(fields, ignored)?,
            guided: Guided {
                guided_json: schema_form(fields, "guided_json")?,
                guided_regex: fields.take("guided_regex")?,
                guided_choice: choices(fields, "guided_choice")?,
                guided_grammar: fields.take("guided_grammar")?,
            },
        })
    }

    /// What the answer is held to, if anything.
    ///
    /// # Errors
    /// Several fields say what it must look like; a schema's text is none.
    pub fn asked(&self) -> Result<Option<Asked>, Invalid> {
        let mut all = Vec::new();
        match &self.response_format {
            None | Some(ResponseFormat::Text) => {}
            Some(ResponseFormat::JsonObject) => {
                all.push(("response_format", Constraint::JsonObject));
            }
            Some(ResponseFormat::JsonSchema { json_schema }) => {
                let schema = Constraint::Schema(json_schema.schema.0.clone());
                all.push(("response_format.json_schema.schema", schema));
            }
        }
        if let Some(outputs) = &self.structured_outputs {
            let schema = outputs.json.as_ref().map(|form| form.schema("structured_outputs.json"));
            let schema = schema.transpose()?.map(Constraint::Schema);
            let object = (outputs.json_object == Some(true)).then_some(Constraint::JsonObject);
            let found = [
                ("structured_outputs.json", schema),
                ("structured_outputs.regex", outputs.regex.clone().map(Constraint::Regex)),
                ("structured_outputs.choice", outputs.choice.clone().map(Constraint::Choice)),
                ("structured_outputs.grammar", outputs.grammar.clone().map(Constraint::Grammar)),
                ("structured_outputs.json_object", object),
            ];
            all.extend(found.into_iter().filter_map(|(name, found)| Some((name, found?))));
        }
        let guided = &self.guided;
        let schema = guided.guided_json.as_ref().map(|form| form.schema("guided_json"));
        let found = [
            ("guided_json", schema.transpose()?.map(Constraint::Schema)),
            ("guided_regex", guided.guided_regex.clone().map(Constraint::Regex)),
            ("guided_choice", guided.guided_choice.clone().map(Constraint::Choice)),
            ("guided_grammar", guided.guided_grammar.clone().map(Constraint::Grammar)),
        ];
        all.extend(found.into_iter().filter_map(|(name, found)| Some((name, found?))));
        let mut all = all.into_iter();
        let Some((field, constraint)) = all.next() else { return Ok(None) };
        if let Some((other, _)) = all.next() {
            let message = format!(
                "`{field}` and `{other}` both say what the answer must look like; send one"
            );
            return Err(Invalid::field(other, message));
        }
        Ok(Some(Asked { field: field.to_owned(), constraint }))
    }
}

impl SchemaForms {
    fn schema(&self, field: &str) -> Result<Value, Invalid> {
        match self {
            Self::Object(JsonObject(schema)) => Ok(schema.clone()),
            Self::Text(text) => {
                serde_json::from_str(text).ok().filter(Value::is_object).ok_or_else(|| {
                    let message = format!("`{field}` must be a JSON schema, or the text of one");
                    Invalid::field(field, message)
                })
            }
        }
    }
}

fn response_format(
    fields: &mut Fields,
    ignored: &mut Vec<String>,
) -> Result<Option<ResponseFormat>, Invalid> {
    let Some(value) = fields.value("response_format") else { return Ok(None) };
    let mut inner = Fields::nested(value, "response_format")?;
    let format = match inner.required::<String>("type")?.as_str() {
        "text" => ResponseFormat::Text,
        "json_object" => ResponseFormat::JsonObject,
        "json_schema" => {
            let path = inner.path("json_schema");
            let missing = || Invalid::field(&path, format!("`{path}` is missing; it is required"));
            let schema = inner.value("json_schema").ok_or_else(missing)?;
            let mut named = Fields::nested(schema, &path)?;
            let json_schema = NamedSchema {
                name: named.required("name")?,
                description: named.take("description")?,
                schema: JsonObject(object(&mut named, "schema")?.ok_or_else(|| {
                    let path = named.path("schema");
                    Invalid::field(&path, format!("`{path}` is missing; it is required"))
                })?),
                strict: named.take("strict")?,
            };
            ignored.extend(named.unknown());
            ResponseFormat::JsonSchema { json_schema }
        }
        other => {
            let path = inner.path("type");
            let message =
                format!("`{path}` is `{other:.40}`; it must be text, json_object or json_schema");
            return Err(Invalid::field(&path, message));
        }
    };
    ignored.extend(inner.unknown());
    Ok(Some(format))
}

fn structured_outputs(
    fields: &mut Fields,
    ignored: &mut Vec<String>,
) -> Result<Option<StructuredOutputs>, Invalid> {
    let Some(value) = fields.value("structured_outputs") else { return Ok(None) };
    let mut inner = Fields::nested(value, "structured_outputs")?;
    let outputs = StructuredOutputs {
        json: schema_form(&mut inner, "json")?,
        regex: inner.take("regex")?,
        choice: choices(&mut inner, "choice")?,
        grammar: inner.take("grammar")?,
        json_object: inner.take("json_object")?,
    };
    for name in ["structural_tag", "whitespace_pattern"] {
        inner.unsupported(name, &[])?;
    }
    inner.unsupported("disable_additional_properties", &[json!(false)])?;
    inner.unsupported("disable_any_whitespace", &[json!(false)])?;
    let count = [
        outputs.json.is_some(),
        outputs.regex.is_some(),
        outputs.choice.is_some(),
        outputs.grammar.is_some(),
        outputs.json_object == Some(true),
    ];
    if count.into_iter().filter(|there| *there).count() != 1 {
        let message = "`structured_outputs` must have exactly one of json, regex, choice, grammar and json_object";
        return Err(Invalid::field("structured_outputs", message));
    }
    ignored.extend(inner.unknown());
    Ok(Some(outputs))
}

/// Takes an object of any content out.
pub(crate) fn object(fields: &mut Fields, name: &str) -> Result<Option<Value>, Invalid> {
    match fields.value(name) {
        None => Ok(None),
        Some(object @ Value::Object(_)) => Ok(Some(object)),
        Some(other) => {
            let path = fields.path(name);
            let message = format!("`{path}` must be an object, not {}", kind(&other));
            Err(Invalid::field(&path, message))
        }
    }
}

fn schema_form(fields: &mut Fields, name: &str) -> Result<Option<SchemaForms>, Invalid> {
    match fields.value(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(SchemaForms::Text(text))),
        Some(object @ Value::Object(_)) => Ok(Some(SchemaForms::Object(JsonObject(object)))),
        Some(other) => {
            let path = fields.path(name);
            let message =
                format!("`{path}` must be a JSON schema, or the text of one, not {}", kind(&other));
            Err(Invalid::field(&path, message))
        }
    }
}

fn choices(fields: &mut Fields, name: &str) -> Result<Option<Vec<String>>, Invalid> {
    let path = fields.path(name);
    let Some(value) = fields.value(name) else { return Ok(None) };
    let wrong = || {
        let message =
            format!("`{path}` must be an array of 1 to {CHOICES} strings that are not empty");
        Invalid::field(&path, message)
    };
    let choices: Vec<String> = serde_json::from_value(value).map_err(|_| wrong())?;
    let fine = !choices.is_empty() && choices.len() <= CHOICES;
    match fine && choices.iter().all(|choice| !choice.is_empty()) {
        true => Ok(Some(choices)),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: Value) -> Result<Option<Asked>, Invalid> {
        let mut fields = Fields::new(body)?;
        let form = Form::take(&mut fields, &mut Vec::new())?;
        form.asked()
    }

    #[test]
    fn each_way_to_ask_is_understood() {
        let schema = json!({"type": "object"});
        for (body, field, constraint) in [
            (
                json!({"response_format": {"type": "json_object"}}),
                "response_format",
                Constraint::JsonObject,
            ),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}}}),
                "response_format.json_schema.schema",
                Constraint::Schema(schema.clone()),
            ),
            (
                json!({"guided_json": schema.to_string()}),
                "guided_json",
                Constraint::Schema(schema.clone()),
            ),
            (json!({"guided_regex": "a+"}), "guided_regex", Constraint::Regex("a+".into())),
            (
                json!({"structured_outputs": {"choice": ["a", "b"]}}),
                "structured_outputs.choice",
                Constraint::Choice(vec!["a".into(), "b".into()]),
            ),
            (
                json!({"guided_grammar": "start: \"a\""}),
                "guided_grammar",
                Constraint::Grammar("start: \"a\"".into()),
            ),
        ] {
            let expected = Asked { field: field.to_owned(), constraint };
            assert_eq!(asked(body).unwrap(), Some(expected));
        }
        assert_eq!(asked(json!({"response_format": {"type": "text"}})).unwrap(), None);
        assert_eq!(asked(json!({"guided_json": null})).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (body, param) in [
            (json!({"response_format": {"type": "xml"}}), "response_format.type"),
            (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema"),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}}),
                "response_format.json_schema.schema",
            ),
            (json!({"guided_choice": []}), "guided_choice"),
            (json!({"guided_choice": ["a", 1]}), "guided_choice"),
            (json!({"guided_json": "not json"}), "guided_json"),
            (json!({"guided_json": [1]}), "guided_json"),
            (json!({"structured_outputs": {}}), "structured_outputs"),
            (json!({"structured_outputs": {"regex": "a", "choice": ["a"]}}), "structured_outputs"),
            (
                json!({"structured_outputs": {"structural_tag": "x"}}),
                "structured_outputs.structural_tag",
            ),
            (
                json!({"guided_regex": "a", "response_format": {"type": "json_object"}}),
                "guided_regex",
            ),
        ] {
            let error = asked(body.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{body}");
        }
    }
}
