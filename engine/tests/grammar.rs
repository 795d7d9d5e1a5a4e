//! Answers of the starter that are held to a schema, in one batch with answers that are not.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot start its engine has failed

use std::sync::Arc;

use hone_api::InteractionId;
use hone_api::chat::{FinishReason, Message, Role};
use hone_api::sampling_params::SamplingParams;
use hone_engine::{
    Engine, EngineConfig, Event, Generate, Generation, Party, Priority, Request, Target,
};
use hone_model::{Model, Source, WeightFormat};
use hone_text::{Grammar, JsonSchema};
use serde_json::Value;

const SCHEMAS: &str = include_str!("../../text/src/grammar/schemas.json");

fn request(model: &Model, grammar: Option<Grammar>, temperature: f32) -> Request {
    let question = [Message::new(Role::User, "922 times 8?")];
    Request {
        id: InteractionId::new(),
        prompt: model.front_end().encode_chat(&question).unwrap(),
        sampling: SamplingParams {
            temperature,
            max_tokens: 128,
            seed: Some(7),
            ..SamplingParams::default()
        },
        target: Target::Base,
        echo_from: None,
        grammar,
        shown: Vec::new(),
        priority: Priority::Interactive,
        party: Party::default(),
    }
}

struct Answer {
    text: String,
    logprobs: Vec<f32>,
    reason: Option<FinishReason>,
}

async fn collect(mut generation: Generation) -> Answer {
    let mut answer = Answer { text: String::new(), logprobs: Vec::new(), reason: None };
    while let Some(event) = generation.next().await {
        match event {
            Event::Token { text, logprob, .. } => {
                answer.text += &text;
                answer.logprobs.push(logprob);
            }
            Event::Finished { reason, .. } => answer.reason = Some(reason),
            Event::Failed(why) => panic!("{why}"),
            _ => {}
        }
    }
    answer
}

#[tokio::test]
async fn finished_answers_satisfy_their_schemas_and_leave_the_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let packed = hone_model::prepare(&Source::Starter, WeightFormat::Q8, folder.path()).unwrap();
    let model = Arc::new(Model::open(&packed, 2).unwrap());
    let config = EngineConfig::from(&hone_config::Config::shipped().unwrap().engine);
    let engine = Engine::start(Arc::clone(&model), config).unwrap();
    let alone = collect(engine.submit(request(&model, None, 0.0)).unwrap()).await;
    assert_eq!(alone.text, "922 * 8 = 7376");

    let schemas: Vec<Value> = serde_json::from_str(SCHEMAS).unwrap();
    let ends = &model.config().eos_token_ids;
    let grammar = |schema: &Value| {
        let rule = JsonSchema::new(schema.clone()).unwrap().lark();
        model.front_end().tokenizer.grammar(&format!("start: {rule}\n"), ends).unwrap()
    };
    let (mut finished, mut cut) = (0, 0);
    for schemas in schemas.chunks(6) {
        let mut running = Vec::new();
        for schema in schemas {
            let grammar = grammar(schema);
            for temperature in [0.0, 1.0] {
                let held = request(&model, Some(grammar.clone()), temperature);
                running.push((schema, engine.submit(held).unwrap()));
            }
        }
        let free = engine.submit(request(&model, None, 0.0)).unwrap();
        for (schema, generation) in running {
            let answer = collect(generation).await;
            match answer.reason {
                Some(FinishReason::Stop) => finished += 1,
                Some(FinishReason::Length) => {
                    cut += 1;
                    continue;
                }
                other => panic!("{other:?}: {}", answer.text),
            }
            let value: Value = serde_json::from_str(&answer.text).unwrap();
            let validator = jsonschema::options().should_validate_formats(true).build(schema);
            let wrong = validator.unwrap().validate(&value).err().map(|error| error.to_string());
            assert_eq!(wrong, None, "{} is not of {schema}", answer.text);
            assert!(
                answer.logprobs.iter().all(|logprob| *logprob <= 1e-4),
                "{:?}",
                answer.logprobs
            );
        }
        // To the last bit.
        let free = collect(free).await;
        assert_eq!((free.text, free.logprobs), (alone.text.clone(), alone.logprobs.clone()));
    }
    assert!(finished > 4 * cut, "{finished} finished, {cut} were cut off");
}
