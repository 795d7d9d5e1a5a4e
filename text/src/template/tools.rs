//! How a model writes that it wants a tool to be called.

/// The form of a model's calls, which its chat template tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>\n{"name": …, "arguments": …}\n</tool_call>`: Hermes, Qwen, and all that are told so by the prompt.
    Hermes,
    /// `{"name": …, "parameters": …}` and nothing else: Llama 3.
    Llama,
    /// `[TOOL_CALLS] [{"name": …, "arguments": …}]`: Mistral.
    Mistral,
    /// `[TOOL_CALLS]name[ARGS]{…}`: Mistral since 2025.
    MistralArgs,
}

/// A form, and whether the template itself writes tools, calls and results in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) format: ToolFormat,
    pub(super) native: bool,
}

impl Family {
    /// What a template's text says. A form of calls that is not known here is not asked for: the prompt tells Hermes'.
    pub(super) fn of(source: &str) -> Self {
        let native = |format| Self { format, native: true };
        let has = |words: &str| source.contains(words);
        match () {
            () if !has("tools") || has("<function=") => {}
            () if has("[TOOL_CALLS]") && has("[ARGS]") => return native(ToolFormat::MistralArgs),
            () if has("[TOOL_CALLS]") => return native(ToolFormat::Mistral),
            () if has("<tool_call>") => return native(ToolFormat::Hermes),
            () if has("<|start_header_id|>") && has("parameters") => {
                return native(ToolFormat::Llama);
            }
            () => {}
        }
        Self { format: ToolFormat::Hermes, native: false }
    }
}
