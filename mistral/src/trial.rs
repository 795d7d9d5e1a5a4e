//! A few prompts that each loaded model is tried out with: whether it computes at all, and what an adapter changes.

use hone_api::chat::{Message, Role};
use hone_text::FrontEnd;

use crate::Error;
use crate::instance::Instance;

/// Tokens of a prompt, at most.
const TRIED: usize = 64;

/// Prompts, and what the base makes of them.
#[derive(Debug)]
pub(crate) struct Trial {
    prompts: Vec<Vec<u32>>,
    base: Vec<Vec<f32>>,
}

impl Trial {
    /// Tries the base out.
    ///
    /// # Errors
    /// The tokenizer or the template refuses plain words, mistralrs fails, or logits are not finite; `class` is named then.
    pub(crate) fn of(front_end: &FrontEnd, base: &Instance, class: &str) -> Result<Self, Error> {
        let prompts = prompts(front_end)?;
        let base: Vec<Vec<f32>> =
            prompts.iter().map(|prompt| base.logits(prompt)).collect::<Result<_, _>>()?;
        if base.iter().flatten().all(|logit| logit.is_finite()) {
            return Ok(Self { prompts, base });
        }
        let reason = "its logits are not finite: a number of config.json does not belong to these weights, or the files are \
                      damaged";
        Err(Error::Load { class: class.to_owned(), reason: reason.to_owned() })
    }

    /// The largest change of a logit against the base; NaN if one is no number.
    ///
    /// # Errors
    /// mistralrs fails.
    pub(crate) fn effect(&self, instance: &Instance) -> Result<f32, Error> {
        let mut effect = 0.0_f32;
        for (prompt, base) in self.prompts.iter().zip(&self.base) {
            effect = largest(effect, &instance.logits(prompt)?, base);
        }
        Ok(effect)
    }
}

/// The largest difference, or NaN. `f32::max` alone would pass over what is no number.
fn largest(so_far: f32, adapted: &[f32], base: &[f32]) -> f32 {
    let changes = adapted.iter().zip(base).map(|(adapted, base)| (adapted - base).abs());
    changes.fold(so_far, |largest, change| {
        if largest.is_nan() || change.is_nan() { f32::NAN } else { largest.max(change) }
    })
}

fn prompts(front_end: &FrontEnd) -> Result<Vec<Vec<u32>>, Error> {
    let text = |text: &str| front_end.tokenizer.encode(text, true).map_err(hone_model::Error::from);
    let mut prompts = vec![text("Hello")?, text("The capital of France is")?];
    if front_end.template.is_there() {
        let question = [Message::new(Role::User, "Hello")];
        prompts.push(front_end.encode_chat(&question).map_err(hone_model::Error::from)?);
    }
    for prompt in &mut prompts {
        prompt.truncate(front_end.context.min(TRIED));
    }
    Ok(prompts)
}

/// A token whose text is one plain letter.
pub(crate) fn plain(front_end: &FrontEnd) -> Option<u32> {
    let tokens = u32::try_from(front_end.vocab_size).ok()?;
    let is_plain = |token: &u32| {
        let bytes = front_end.tokenizer.token_bytes(*token);
        !front_end.tokenizer.is_special(*token)
            && matches!(bytes, [letter] if letter.is_ascii_alphanumeric())
    };
    (0..tokens).find(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_never_passed_over() {
        assert_eq!(largest(0.5, &[1.0, 2.0], &[1.0, 1.0]), 1.0);
        assert_eq!(largest(3.0, &[1.0], &[1.0]), 3.0);
        assert!(largest(0.0, &[f32::NAN, 9.0], &[0.0, 0.0]).is_nan());
        assert!(largest(f32::NAN, &[1.0], &[0.0]).is_nan());
    }
}
