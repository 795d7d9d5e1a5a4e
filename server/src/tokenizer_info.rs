//! `GET /tokenizer_info`: the tokenizer as lm-evaluation-harness asks for it (`tokenizer_backend=remote`), in vLLM's shape.

use actix_web::{HttpResponse, web};
use hone_text::{FrontEnd, TokenizerInfo};
use serde::Serialize;
use utoipa::ToSchema;

use crate::may::{May, to};
use crate::state::AppState;

/// The served model's tokenizer, with the names of its `tokenizer_config.json`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenizerInfoView {
    /// The class in transformers.
    tokenizer_class: Option<String>,
    /// Begins texts.
    bos_token: Option<String>,
    /// Ends texts; where the tokenizer names none, the first token that ends the model's answers.
    eos_token: Option<String>,
    /// Fills up rows of a batch.
    pad_token: Option<String>,
    /// Stands for what no token spells.
    unk_token: Option<String>,
    /// Whether `bos_token` is put before texts, if the model's files say.
    add_bos_token: Option<bool>,
    /// Whether `eos_token` is put behind texts, if the model's files say.
    add_eos_token: Option<bool>,
    /// What the context holds, in tokens.
    model_max_length: u32,
    /// Entries of the vocabulary.
    vocab_size: u32,
    /// The chat template, in Jinja.
    chat_template: Option<String>,
}

/// The tokenizer of the served model, which all adapters share.
#[utoipa::path(get, path = "/tokenizer_info", tag = "openai",
    security(("api_key" = ["chat"])),
    responses((status = 200, description = "The tokenizer", body = TokenizerInfoView)))]
pub(crate) async fn get(_caller: May<to::Chat>, state: web::Data<AppState>) -> HttpResponse {
    let front_end = state.engine.front_end();
    let info = front_end.template.tokenizer_info().clone();
    let TokenizerInfo { tokenizer_class, bos_token, eos_token, pad_token, unk_token, .. } = info;
    HttpResponse::Ok().json(TokenizerInfoView {
        tokenizer_class,
        bos_token,
        eos_token: eos_token.or_else(|| first_end(front_end)),
        pad_token,
        unk_token,
        add_bos_token: info.add_bos_token,
        add_eos_token: info.add_eos_token,
        model_max_length: state.limits.context,
        vocab_size: state.limits.vocab_size,
        chat_template: info.chat_template,
    })
}

fn first_end(front_end: &FrontEnd) -> Option<String> {
    let end = front_end.end_tokens.first()?;
    let bytes = front_end.tokenizer.token_bytes(*end).to_vec();
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}
