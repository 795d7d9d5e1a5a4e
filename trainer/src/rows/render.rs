//! From a conversation to tokens, and which of them are learned from.

use std::ops::Range;

use hone_api::chat::{Message, Role, Tool};
use hone_model::ModelConfig;
use hone_model::train::TrainSequence;
use hone_text::{ChatTemplate, Talk, Tokenizer};

use super::lesson::Lesson;
use super::line::{Row, Turn};

/// What turns conversations into tokens.
#[derive(Clone, Copy)]
pub struct Renderer<'a> {
    /// The base's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The base's chat template.
    pub template: &'a ChatTemplate,
    /// The base's sizes.
    pub config: &'a ModelConfig,
}

/// A conversation with the tools that the model is told of in it.
#[derive(Clone, Copy)]
struct Shown<'a> {
    turns: &'a [Turn],
    tools: &'a [Tool],
}

impl Renderer<'_> {
    /// A row in all its wordings. One that cannot be rendered is left out, but not the row itself.
    pub(super) fn lesson(
        &self,
        row: &Row,
        longest: usize,
        wants_kl: bool,
    ) -> Result<Lesson, String> {
        let tools = row.tools.as_deref().unwrap_or_default();
        let shown = |messages: &[Turn], tools: &[Tool]| {
            self.sequence(row, Shown { turns: messages, tools }, longest, wants_kl)
        };
        let mut wordings = vec![shown(&row.messages, tools)?];
        let question = row.messages.iter().rposition(|turn| turn.message.role == Role::User);
        for (wording, question) in row.wordings.iter().zip(question.into_iter().cycle()) {
            let mut messages = row.messages.clone();
            messages[question].message.content.clone_from(wording);
            wordings.extend(shown(&messages, tools));
        }
        for messages in &row.alternates {
            wordings.extend(shown(messages, &[]));
        }
        let showings = row.showings.map_or(1, |times| usize::from(times.get()));
        Ok(Lesson { showings, teacher: row.teacher, wordings })
    }

    /// One conversation; `Err` is the reason that it is refused for.
    fn sequence(
        &self,
        row: &Row,
        shown: Shown<'_>,
        longest: usize,
        wants_kl: bool,
    ) -> Result<TrainSequence, String> {
        let Shown { turns, tools } = shown;
        let messages: Vec<Message> = turns.iter().map(|turn| turn.message.clone()).collect();
        let tokens = self
            .template
            .encode_training(self.tokenizer, Talk { messages: &messages, tools })
            .map_err(|error| error.to_string())?;
        let (mut tokens, mut supervised): (Vec<u32>, Vec<bool>) = tokens.into_iter().unzip();
        if tokens.len() > longest {
            return Err(format!("longer than {longest} tokens"));
        }
        self.check_ends(&tokens, &supervised)?;
        if row.is_cut_off(turns) {
            // The base did not end there, so neither may what keeps it.
            tokens.pop();
            supervised.pop();
        }
        let kl_to_base = match wants_kl && row.has_kl_to_base() {
            true => kl_targets(turns, &supervised)?,
            false => Vec::new(),
        };
        mask(row, turns, &mut supervised)?;
        let imitated = row.is_imitated();
        let sequence = TrainSequence { tokens, supervised, imitated, kl_to_base };
        match sequence.supervised_tokens() {
            0 => Err("no supervised token".to_owned()),
            _ => Ok(sequence),
        }
    }

    /// The last supervised token must be one that ends a generation.
    fn check_ends(&self, tokens: &[u32], supervised: &[bool]) -> Result<(), String> {
        let Some(last) = supervised.iter().rposition(|supervised| *supervised) else {
            return Err("no supervised token".to_owned());
        };
        if self.config.eos_token_ids.contains(&tokens[last]) {
            return Ok(());
        }
        Err("no end token after the answer".to_owned())
    }
}

/// Takes out of the loss what the row does not teach: turns with weight 0, and of a snapshot's row
/// all turns but the last.
fn mask(row: &Row, turns: &[Turn], supervised: &mut [bool]) -> Result<(), String> {
    if row.kind.is_some() {
        let end = supervised.iter().rposition(|s| *s).map_or(0, |last| last + 1);
        let start = supervised[..end].iter().rposition(|s| !*s).map_or(0, |before| before + 1);
        supervised[..start].fill(false);
        return Ok(());
    }
    for turn in unweighted(turns, supervised)? {
        supervised[turn].fill(false);
    }
    Ok(())
}

/// Where the base's distribution is a target: everywhere but in turns with weight 0. What somebody
/// called bad is nothing to keep.
fn kl_targets(turns: &[Turn], supervised: &[bool]) -> Result<Vec<bool>, String> {
    let mut kl_to_base = vec![true; supervised.len()];
    for turn in unweighted(turns, supervised)? {
        kl_to_base[turn].fill(false);
    }
    Ok(kl_to_base)
}

/// The tokens of each turn with weight 0. The runs of supervised tokens are the assistant's turns in
/// order, for a template never writes two of them without a header in between.
fn unweighted(turns: &[Turn], supervised: &[bool]) -> Result<Vec<Range<usize>>, String> {
    let turns = turns.iter().filter(|turn| turn.message.role == Role::Assistant);
    let weights: Vec<u8> = turns.map(|turn| turn.weight.unwrap_or(1)).collect();
    if weights.iter().all(|weight| *weight == 1) {
        return Ok(Vec::new());
    }
    if weights.iter().any(|weight| *weight > 1) {
        return Err("a weight other than 0 or 1".to_owned());
    }
    let mut runs: Vec<Range<usize>> = Vec::new();
    for at in (0..supervised.len()).filter(|at| supervised[*at]) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    if runs.len() != weights.len() {
        return Err("weights on turns that the template does not keep apart".to_owned());
    }
    let zero = runs.into_iter().zip(weights).filter(|(_, weight)| *weight == 0);
    Ok(zero.map(|(run, _)| run).collect())
}
