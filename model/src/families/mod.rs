//! The families of decoders: each file turns a `config.json` into a [`DecoderSpec`], and nothing else in the workspace
//! knows a family's name.

mod gemma;
mod granite;
mod llama;
mod olmo2;
mod parse;
mod phi3;
mod qwen;
mod shared;
mod smollm3;

use crate::{
    Error,
    config::{
        DecoderSpec, Sizes,
        keys::{Keys, unsupported},
    },
};

/// One family.
#[derive(Debug)]
pub(crate) struct Family {
    /// The class in `architectures`.
    class: &'static str,
    /// `model_type`, and `general.architecture` of a GGUF file.
    model_type: &'static str,
    /// Whether the head is the embedding table where the configuration does not say.
    pub(crate) tied_by_default: bool,
    spec: fn(&Keys<'_>, Sizes) -> Result<DecoderSpec, Error>,
}

impl Family {
    const fn new(
        class: &'static str,
        model_type: &'static str,
        spec: fn(&Keys<'_>, Sizes) -> Result<DecoderSpec, Error>,
    ) -> Self {
        Self { class, model_type, tied_by_default: false, spec }
    }

    const fn tied(mut self) -> Self {
        self.tied_by_default = true;
        self
    }

    /// What a model of this family computes.
    pub(crate) fn spec(&self, keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
        (self.spec)(keys, sizes)
    }
}

static FAMILIES: [Family; 11] = [
    Family::new("LlamaForCausalLM", "llama", llama::spec),
    Family::new("MistralForCausalLM", "mistral", llama::mistral),
    Family::new("MinistralForCausalLM", "ministral", llama::mistral),
    Family::new("Qwen2ForCausalLM", "qwen2", qwen::qwen2),
    Family::new("Qwen3ForCausalLM", "qwen3", qwen::qwen3),
    Family::new("SmolLM3ForCausalLM", "smollm3", smollm3::spec).tied(),
    Family::new("Gemma2ForCausalLM", "gemma2", gemma::gemma2).tied(),
    Family::new("Gemma3ForCausalLM", "gemma3_text", gemma::gemma3).tied(),
    Family::new("Phi3ForCausalLM", "phi3", phi3::spec),
    Family::new("GraniteForCausalLM", "granite", granite::spec),
    Family::new("Olmo2ForCausalLM", "olmo2", olmo2::spec),
];

/// The family of a configuration.
///
/// # Errors
/// It names none that this build has, or several.
pub(crate) fn of(keys: &Keys<'_>) -> Result<&'static Family, Error> {
    let known = || FAMILIES.iter().map(|family| family.class).collect::<Vec<_>>().join(", ");
    let classes = keys.get("architectures").and_then(|list| list.as_array());
    if classes.is_some_and(|classes| classes.len() > 1) {
        return Err(unsupported("config.json with several architectures", known()));
    }
    let class = classes.and_then(|classes| classes.first()).and_then(|class| class.as_str());
    let name = match class {
        Some(class) => class,
        None => keys.text("model_type")?.unwrap_or("none"),
    };
    FAMILIES
        .iter()
        .find(|family| family.class == name || (class.is_none() && family.model_type == name))
        .ok_or_else(|| Error::Family { class: name.to_owned(), known: known() })
}
