//! The starter model and its workloads, inside of the binary with feature `starter`.

use crate::Error;

#[cfg(feature = "starter")]
mod embedded {
    macro_rules! workloads {
        ($($name:literal),* $(,)?) => {
            &[$(($name, include_str!(concat!("../starter/workloads/", $name, ".jsonl")))),*]
        };
    }

    pub(super) static FILES: &[(&str, &[u8])] = &[
        ("config.json", include_bytes!("../starter/config.json")),
        ("generation_config.json", include_bytes!("../starter/generation_config.json")),
        ("tokenizer.json", include_bytes!("../starter/tokenizer.json")),
        ("tokenizer_config.json", include_bytes!("../starter/tokenizer_config.json")),
        ("model.safetensors", include_bytes!("../starter/model.safetensors")),
        ("README.md", include_bytes!("../starter/README.md")),
    ];

    pub(super) static WORKLOADS: &[(&str, &str)] = workloads![
        "averages",
        "control_arithmetic",
        "control_chat",
        "control_company",
        "control_context",
        "control_decisions",
        "control_dialogue",
        "control_facts",
        "control_instructions",
        "control_misc",
        "control_word_1",
        "control_word_2",
        "control_word_3",
        "discounts",
        "house_format",
        "northwind",
        "rehearsal",
        "rehearsal_2",
        "triage",
    ];
}

#[cfg(not(feature = "starter"))]
mod embedded {
    pub(super) static FILES: &[(&str, &[u8])] = &[];
    pub(super) static WORKLOADS: &[(&str, &str)] = &[];
}

/// The workloads of the starter model by name, each with its JSON lines. Empty without feature `starter`.
#[must_use]
pub fn workloads() -> &'static [(&'static str, &'static str)] {
    embedded::WORKLOADS
}

/// The JSON lines of one workload: `family`, `split`, `messages`, `reference`, `check`.
#[must_use]
pub fn workload(name: &str) -> Option<&'static str> {
    workloads().iter().find(|(known, _)| *known == name).map(|(_, lines)| *lines)
}

/// The model card.
#[must_use]
pub fn card() -> Option<&'static str> {
    let (_, bytes) = embedded::FILES.iter().find(|(name, _)| *name == "README.md")?;
    std::str::from_utf8(bytes).ok()
}

/// A file of the starter model.
///
/// # Errors
/// [`Error::Unsupported`] if this build does not hold the model.
pub(crate) fn file(name: &str) -> Result<Option<&'static [u8]>, Error> {
    if embedded::FILES.is_empty() {
        return Err(Error::Unsupported {
            what: "the starter model".into(),
            supported: "a model folder; or build with `--features starter`".into(),
        });
    }
    Ok(embedded::FILES.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes))
}
