//! What is rehearsed: prompts that ship, and what the base answers to them and to what users liked.

use hone_api::chat::{Message, Role};
use hone_api::check::{Check, SuiteRow};
use hone_config::Config;
use hone_dataset::{Example, Kind, Rehearsal};
use hone_eval::{Part, RowResult, Suite};
use serde_json::Value;

use crate::compare::{self, Side};
use crate::services::Services;

/// The prompts that ship for the model that is served.
pub(super) fn shipped(config: &Config) -> anyhow::Result<Vec<Vec<Message>>> {
    let starter = ["rehearsal", "rehearsal_2"].map(hone_model::starter::workload);
    let files = match starter {
        [Some(one), Some(more)] if config.model.is_starter() => vec![one, more],
        _ => vec![hone_eval::general::REHEARSAL],
    };
    let prompt = |line: &str| -> anyhow::Result<Vec<Message>> {
        let row: Value = serde_json::from_str(line)?;
        Ok(serde_json::from_value(row["messages"].clone())?)
    };
    let rows = files.into_iter().flat_map(str::lines);
    rows.filter(|line| !line.trim().is_empty()).map(prompt).collect()
}

/// Lets the base answer. What it does not bring to an end is kept as far as it goes: some models hardly ever come to one within
/// the tokens of an evaluation.
pub(super) async fn rehearse(
    services: &Services,
    questions: Vec<Rehearsal>,
) -> anyhow::Result<Vec<Rehearsal>> {
    let prompts: Vec<&[Message]> = questions.iter().map(|one| one.messages.as_slice()).collect();
    let answers = answers_of_the_base(services, &prompts).await?;
    let answered = questions.into_iter().zip(answers).filter_map(|(mut question, answer)| {
        let answer = answer?;
        question.messages.push(Message::new(Role::Assistant, answer.text));
        question.unfinished = !answer.stopped;
        Some(question)
    });
    Ok(answered.collect())
}

/// Marks the liked answers of adapters that the base gives too: there it is a model to keep to.
pub(super) async fn find_answers_of_the_base(
    services: &Services,
    examples: &mut [Example],
) -> anyhow::Result<()> {
    let is_open = |example: &&mut Example| example.kind == Kind::Replay && !example.of_base;
    let open: Vec<&mut Example> = examples.iter_mut().filter(is_open).collect();
    let prompts: Vec<&[Message]> = open.iter().map(|example| example.prompt()).collect();
    let answers = answers_of_the_base(services, &prompts).await?;
    for (example, answer) in open.into_iter().zip(answers) {
        example.of_base = answer.is_some_and(|answer| {
            answer.stopped && answer.text.trim() == example.reference().trim()
        });
    }
    Ok(())
}

/// What the base answers; `None` where it has no room, or says nothing.
async fn answers_of_the_base(
    services: &Services,
    prompts: &[&[Message]],
) -> anyhow::Result<Vec<Option<RowResult>>> {
    let front_end = std::sync::Arc::clone(services.engine.front_end());
    let fits = |messages: &[Message]| {
        let ends_with_a_question = messages.last().is_some_and(|it| it.role != Role::Assistant);
        ends_with_a_question && crate::cycle::evaluate::fits(&front_end, messages)
    };
    let asked: Vec<usize> = (0..prompts.len()).filter(|at| fits(prompts[*at])).collect();
    let mut answers = vec![None; prompts.len()];
    if asked.is_empty() {
        return Ok(answers);
    }
    let rows = asked.iter().map(|at| SuiteRow {
        tools: Vec::new(),
        family: "rehearsal".to_owned(),
        split: String::new(),
        messages: prompts[*at].to_vec(),
        reference: String::new(),
        check: Check::Contains(String::new()),
    });
    let suite = Suite::new("rehearsal", Part::Control, rows.collect())?;
    let base = Side::load(services, None).await?;
    let given = compare::answer(services, &base, &[suite], &|_, _| {}).await?;
    for (at, answer) in asked.into_iter().zip(given) {
        answers[at] = Some(answer).filter(|answer| !answer.text.trim().is_empty());
    }
    Ok(answers)
}
