//! A demonstration that is too long to be trained on, or to be compared, is kept, but whoever sends it
//! hears of it at once: it would be left out in silence, nights later.

use hone_api::chat::{Message, Role};
use hone_api::feedback::{Feedback, Signal};
use hone_text::Error;
use hone_text::Talk;

use crate::state::AppState;
use crate::tokenising::{self, Refused};

/// Why a demonstration will not teach, or not be compared; `None`: it will, or it is none, or its answer
/// is not on disk yet.
pub(crate) async fn warning(state: &AppState, feedback: &Feedback) -> Option<String> {
    let Signal::Demonstration(text) = &feedback.signal else { return None };
    let found = state.store.interaction(feedback.inference_id).await;
    let interaction = found.ok().flatten().filter(|it| it.trainable && !it.messages.is_empty())?;
    let answer = text.clone();
    let (mut messages, tools) = (interaction.messages, interaction.tools);
    messages.push(Message::new(Role::Assistant, text));
    let context = state.limits.context;
    let (max_length, compared) =
        (state.control.training_max_length(), state.control.evaluation_max_tokens());
    let most = tokenising::counted(context).max(max_length).max(compared);
    let size = messages.iter().map(|message| message.content.len()).sum();
    let counted = tokenising::run(state, size, most, move |front_end, effort| {
        let (template, tokenizer) = (&front_end.template, &front_end.tokenizer);
        let talk = Talk { messages: &messages, tools: &tools };
        let whole = template.encode_training_within(tokenizer, talk, effort)?;
        let answer = tokenizer.encode_within(&answer, false, effort)?;
        Ok((whole.len(), answer.len()))
    });
    let context = context as usize;
    match counted.await {
        Ok((whole, answer)) => {
            describe(whole, max_length, context).or_else(|| is_not_compared(answer, compared))
        }
        Err(Refused::Failed(Error::TooManyTokens { at_least, .. })) => {
            describe(at_least, max_length, context)
        }
        Err(Refused::Failed(error)) => Some(format!("this demonstration will not teach: {error}")),
        // Its length is not known, which is no reason to warn.
        Err(Refused::Busy | Refused::Panicked(_)) => None,
    }
}

/// `max_length` 0 is the whole context.
fn describe(tokens: usize, max_length: usize, context: usize) -> Option<String> {
    let (most, bound) = match max_length {
        set if (1..context).contains(&set) => (set, "training.max_length"),
        _ => (context, "the model's context"),
    };
    (tokens > most).then(|| {
        format!(
            "the conversation with this demonstration has {tokens} tokens; training takes at most \
             {most} ({bound}): it will not teach"
        )
    })
}

/// An answer must end before the comparison cuts it off.
fn is_not_compared(tokens: usize, most: usize) -> Option<String> {
    (tokens >= most).then(|| {
        format!(
            "this demonstration has {tokens} tokens; a comparison ends answers after {most} \
             (evaluation.max_tokens): it will teach, and count for nothing in the verdict"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_not_spoken_of() {
        for (tokens, max_length, said) in [
            (100, 100, None),
            (101, 100, Some("at most 100 (training.max_length)")),
            (513, 0, Some("at most 512 (the model's context)")),
            (513, 1024, Some("at most 512 (the model's context)")),
            (512, 0, None),
        ] {
            let words = describe(tokens, max_length, 512);
            assert_eq!(words.is_some(), said.is_some(), "{tokens} {max_length}");
            if let (Some(words), Some(said)) = (words, said) {
                assert!(words.contains(said) && words.contains(&tokens.to_string()), "{words}");
            }
        }
    }
}
