//! Personal data is taken out of what goes to the store, where the settings ask for it.

use std::collections::BTreeMap;

use hone_api::chat::Message;
use hone_api::feedback::{Feedback, Signal};
use hone_api::interaction::Interaction;
use hone_dataset::redact::redact;

/// Takes it out of an answered request. Where there was any, no tokens are kept: they spell the text.
pub(crate) fn without_personal_data(interaction: &mut Interaction) {
    let mut found = false;
    let mut clean = |text: &mut String| {
        let redacted = redact(text);
        if !redacted.counts.is_empty() {
            found = true;
            *text = redacted.text;
        }
    };
    interaction.messages.iter_mut().flat_map(Message::texts).for_each(&mut clean);
    for answer in &mut interaction.answers {
        answer.text.iter_mut().for_each(&mut clean);
        let calls = answer.tool_calls.iter_mut();
        calls.map(|call| &mut call.function.arguments).for_each(&mut clean);
    }
    interaction.sampling.stop.iter_mut().for_each(&mut clean);
    interaction.grammar.iter_mut().for_each(&mut clean);
    if let Some(echo) = &mut interaction.response {
        let mut format = echo.format.to_string();
        clean(&mut format);
        echo.format = serde_json::from_str(&format).unwrap_or_default();
    }
    interaction.metadata = of_map(std::mem::take(&mut interaction.metadata), &mut clean);
    if found {
        interaction.prompt_tokens.clear();
        for answer in &mut interaction.answers {
            answer.tokens.clear();
            answer.logprobs.clear();
        }
    }
}

/// Takes it out of what somebody says.
pub(crate) fn said_without_personal_data(feedback: &mut Feedback) {
    let mut clean = |text: &mut String| *text = redact(text).text;
    match &mut feedback.signal {
        Signal::Demonstration(text) | Signal::Comment(text) => clean(text),
        Signal::Thumbs(_) | Signal::Score(_) | Signal::Discard => {}
    }
    feedback.tags = of_map(std::mem::take(&mut feedback.tags), &mut clean);
}

fn of_map(
    map: BTreeMap<String, String>,
    clean: &mut dyn FnMut(&mut String),
) -> BTreeMap<String, String> {
    map.into_iter()
        .map(|(mut name, mut value)| {
            clean(&mut name);
            clean(&mut value);
            (name, value)
        })
        .collect()
}
