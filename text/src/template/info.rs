//! What `tokenizer_config.json` says of a tokenizer to who uses it from elsewhere.

use serde::Serialize;
use serde_json::Value;

/// A tokenizer as its own files describe it, with transformers' names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TokenizerInfo {
    /// The class in transformers.
    pub tokenizer_class: Option<String>,
    /// Begins texts.
    pub bos_token: Option<String>,
    /// Ends texts.
    pub eos_token: Option<String>,
    /// Fills up rows of a batch.
    pub pad_token: Option<String>,
    /// Stands for what no token spells.
    pub unk_token: Option<String>,
    /// Whether `bos_token` is put before texts, if the file says.
    pub add_bos_token: Option<bool>,
    /// Whether `eos_token` is put behind texts, if the file says.
    pub add_eos_token: Option<bool>,
    /// The chat template, in Jinja; where there are two, the one without tools.
    pub chat_template: Option<String>,
}

impl TokenizerInfo {
    /// Reads the file's content; `template` was found in it.
    pub(super) fn new(config: &Value, template: Option<&str>) -> Self {
        let text = |name: &str| config[name].as_str().map(str::to_owned);
        let token =
            |name: &str| text(name).or_else(|| Some(config[name]["content"].as_str()?.to_owned()));
        Self {
            tokenizer_class: text("tokenizer_class"),
            bos_token: token("bos_token"),
            eos_token: token("eos_token"),
            pad_token: token("pad_token"),
            unk_token: token("unk_token"),
            add_bos_token: config["add_bos_token"].as_bool(),
            add_eos_token: config["add_eos_token"].as_bool(),
            chat_template: template.map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_may_be_texts_or_objects() {
        let config = json!({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>",
            "pad_token": null, "add_bos_token": true});
        let info = TokenizerInfo::new(&config, Some("{{ messages }}"));
        assert_eq!(
            (info.bos_token.as_deref(), info.eos_token.as_deref(), info.pad_token),
            (Some("<s>"), Some("</s>"), None)
        );
        assert_eq!(info.chat_template.as_deref(), Some("{{ messages }}"));
        assert_eq!((info.add_bos_token, info.add_eos_token), (Some(true), None));
    }
}
