//! Calls of tools in what a model writes: the grammar that makes them right, and the reader that takes them out.

mod reader;

use crate::grammar::regex_rule;
use crate::{Tokenizer, ToolFormat};

pub use self::reader::{Piece, ToolReader};

/// Calls of one answer.
const MOST: usize = 32;

/// A tool as the grammar knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRule {
    /// The function's name.
    pub name: String,
    /// What its arguments follow, as a rule in Lark.
    pub arguments: String,
}

/// What an answer may be.
#[derive(Debug, Clone, PartialEq)]
pub struct CallPlan {
    /// What may be called; at least one.
    pub calls: Vec<CallRule>,
    /// Something must be called.
    pub required: bool,
    /// Several things may be called at once.
    pub parallel: bool,
    /// What an answer without a call follows, as a rule in Lark; `None`: any text, which may also stand before a call.
    pub text: Option<String>,
}

/// How calls are written, as both the grammar and the reader have it.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// What begins the first call.
    open: &'static str,
    /// Between that and a name.
    lead: &'static str,
    /// Between a name and the arguments.
    tail: &'static str,
    /// After the arguments.
    close: &'static str,
    /// Between a call and the next one's name; `None`: there is none.
    again: Option<&'static str>,
    /// After the last call.
    end: &'static str,
    /// Text may stand before the first call.
    after_text: bool,
}

impl ToolFormat {
    const fn form(self) -> Form {
        match self {
            Self::Hermes => Form {
                open: "<tool_call>",
                lead: "\n{\"name\": \"",
                tail: "\", \"arguments\": ",
                close: "}\n</tool_call>",
                again: Some("\n<tool_call>\n{\"name\": \""),
                end: "",
                after_text: true,
            },
            Self::Llama => Form {
                open: "{\"name\": \"",
                lead: "",
                tail: "\", \"parameters\": ",
                close: "}",
                again: None,
                end: "",
                after_text: false,
            },
            Self::Mistral => Form {
                open: "[TOOL_CALLS]",
                lead: " [{\"name\": \"",
                tail: "\", \"arguments\": ",
                close: "}",
                again: Some(", {\"name\": \""),
                end: "]",
                after_text: true,
            },
            Self::MistralArgs => Form {
                open: "[TOOL_CALLS]",
                lead: "",
                tail: "[ARGS]",
                close: "",
                again: Some("[TOOL_CALLS]"),
                end: "",
                after_text: true,
            },
        }
    }

    /// The special tokens among those that calls are written with: [`ToolReader`] needs their text.
    #[must_use]
    pub fn special_tokens(self, tokenizer: &Tokenizer) -> Vec<u32> {
        let written = ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]"];
        let ids = written.iter().filter(|text| self.writes(text)).map(|text| tokenizer.id_of(text));
        ids.flatten().filter(|id| tokenizer.is_special(*id)).collect()
    }

    fn writes(self, text: &str) -> bool {
        let form = self.form();
        form.open == text || form.close.contains(text) || form.tail == text
    }

    /// The grammar of an answer.
    #[must_use]
    pub fn grammar(self, plan: &CallPlan, tokenizer: &Tokenizer) -> String {
        let form = self.form();
        let words = |text: &str| in_lark(text, tokenizer);
        let mut lark = String::new();
        let opened = match form.again.filter(|_| plan.parallel) {
            Some(again) => {
                format!(
                    "{} call ({} call){{0,{}}} {}",
                    words(form.lead),
                    words(again),
                    MOST - 1,
                    words(form.end)
                )
            }
            None => format!("{} call {}", words(form.lead), words(form.end)),
        };
        let open = words(form.open);
        match (plan.required, &plan.text) {
            (true, _) => lark += &format!("start: {open} opened\n"),
            (false, Some(text)) => {
                lark += &format!("start: text | {open} opened\ntext: {text}\n");
            }
            // Lazy: what opens a call ends the text, whatever else the text could go on with.
            (false, None) if is_special(form.open, tokenizer) => {
                lark += &format!("start: TEXT? | TEXT? {open} opened\nTEXT: /(?s:.+)/\n");
            }
            (false, None) => {
                let before = if form.after_text { "(?s:.*)" } else { "\\s*" };
                let opening = regex_rule(&format!("{before}{}", escaped(form.open)));
                lark += &format!(
                    "start: TEXT? | opening opened\nopening[lazy]: {opening}\nTEXT: /(?s:.+)/\n"
                );
            }
        }
        lark += &format!("opened: {opened}\n");
        let names: Vec<String> = (0..plan.calls.len()).map(|at| format!("call{at}")).collect();
        lark += &format!("call: {}\n", names.join(" | "));
        for (call, name) in plan.calls.iter().zip(&names) {
            let (tail, close) = (words(form.tail), words(form.close));
            let called = words(&call.name);
            lark += &format!("{name}: {called} {tail} {name}_arguments {close}\n");
            lark += &format!("{name}_arguments: {}\n", call.arguments);
        }
        lark
    }
}

/// A text as the grammar has it: characters, but where a special token is written it is that token.
fn in_lark(text: &str, tokenizer: &Tokenizer) -> String {
    let quoted = |text: &str| match text {
        "" => String::new(),
        text => serde_json::json!(text).to_string(),
    };
    let special = ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]"];
    for marker in special.iter().filter(|marker| is_special(marker, tokenizer)) {
        if let (Some((before, after)), Some(id)) =
            (text.split_once(marker), tokenizer.id_of(marker))
        {
            return format!("{} <[{id}]> {}", quoted(before), in_lark(after, tokenizer));
        }
    }
    quoted(text)
}

fn is_special(text: &str, tokenizer: &Tokenizer) -> bool {
    tokenizer.id_of(text).is_some_and(|id| tokenizer.is_special(id))
}

/// Characters that mean something in regular expressions, as themselves.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !c.is_alphanumeric() && !c.is_whitespace() && !matches!(c, '<' | '>' | '_' | '"') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests;
