use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::*;
use crate::tokenizer::tests::STARTER;
use crate::{Error, JsonSchema};

const END: u32 = 2;
const FORMATS: [ToolFormat; 4] =
    [ToolFormat::Hermes, ToolFormat::Llama, ToolFormat::Mistral, ToolFormat::MistralArgs];

fn plan(required: bool, parallel: bool) -> CallPlan {
    let rule = |name: &str, schema: Value| CallRule {
        name: name.to_owned(),
        arguments: JsonSchema::new(schema).unwrap().lark_in_line(false),
    };
    let city = json!({"type": "object", "properties": {"city": {"enum": ["Oslo", "Bern \"}{"]}}, "required": ["city"]});
    let calls =
        vec![rule("get_weather", city), rule("stop", json!({"type": "object", "properties": {}}))];
    CallPlan { calls, required, parallel, text: None }
}

/// Whether the grammar lets exactly this text through, token by token.
fn allows(lark: &str, text: &str) -> Result<(), String> {
    let mut grammar = STARTER.grammar(lark, &[END]).unwrap();
    let tokens = STARTER.encode(text, false).unwrap();
    for token in tokens.into_iter().chain([END]) {
        let mut logits = vec![0.0; 4096];
        grammar.mask(&mut logits).map_err(|error| error.to_string())?;
        if logits[token as usize] < 0.0 {
            return Err(STARTER.decode(&[token], false));
        }
        grammar.accept(token).map_err(|error: Error| error.to_string())?;
    }
    Ok(())
}

/// An answer read in pieces of `size` bytes, or so: its text, and its calls.
fn read(format: ToolFormat, answer: &str, size: usize) -> (String, Vec<(String, String)>) {
    let mut reader = ToolReader::new(format);
    let mut pieces = Vec::new();
    let characters: Vec<char> = answer.chars().collect();
    for part in characters.chunks(size) {
        pieces.extend(reader.push(&part.iter().collect::<String>()));
    }
    pieces.extend(reader.finish());
    let (mut text, mut calls) = (String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Text(more) => text += &more,
            Piece::Call { name } => calls.push((name, String::new())),
            Piece::Arguments(more) => calls.last_mut().unwrap().1 += &more,
        }
    }
    (text, calls)
}

const OSLO: &str = r#"{"city": "Oslo"}"#;
const BERN: &str = r#"{"city":"Bern \"}{"}"#;

/// An answer, its text, and its calls.
type Written = (String, &'static str, Vec<(&'static str, &'static str)>);

/// Answers with the calls that are in them.
fn answers(format: ToolFormat) -> Vec<Written> {
    let (oslo, both) = match format {
        ToolFormat::Hermes => (
            format!(
                "<tool_call>\n{{\"name\": \"get_weather\", \"arguments\": {OSLO}}}\n</tool_call>"
            ),
            format!(
                "<tool_call>\n{{\"name\": \"get_weather\", \"arguments\": {BERN}}}\n</tool_call>\n<tool_call>\n{{\"name\": \"stop\", \"arguments\": {{}}}}\n</tool_call>"
            ),
        ),
        ToolFormat::Llama => {
            (format!("{{\"name\": \"get_weather\", \"parameters\": {OSLO}}}"), String::new())
        }
        ToolFormat::Mistral => (
            format!("[TOOL_CALLS] [{{\"name\": \"get_weather\", \"arguments\": {OSLO}}}]"),
            format!(
                "[TOOL_CALLS] [{{\"name\": \"get_weather\", \"arguments\": {BERN}}}, {{\"name\": \"stop\", \"arguments\": {{}}}}]"
            ),
        ),
        ToolFormat::MistralArgs => (
            format!("[TOOL_CALLS]get_weather[ARGS]{OSLO}"),
            format!("[TOOL_CALLS]get_weather[ARGS]{BERN}[TOOL_CALLS]stop[ARGS]{{}}"),
        ),
    };
    let mut all = vec![(oslo.clone(), "", vec![("get_weather", OSLO)])];
    if !both.is_empty() {
        all.push((both, "", vec![("get_weather", BERN), ("stop", "{}")]));
        all.push((
            format!("Let me see: <tool\n{oslo}"),
            "Let me see: <tool",
            vec![("get_weather", OSLO)],
        ));
    }
    all
}

#[test]
fn calls_are_let_through_and_read() {
    for format in FORMATS {
        for (answer, text, calls) in answers(format) {
            let auto = format.grammar(&plan(false, true), &STARTER);
            allows(&auto, &answer)
                .unwrap_or_else(|at| panic!("{format:?}: {answer} at `{at}`\n{auto}"));
            let required = format.grammar(&plan(true, true), &STARTER);
            assert_eq!(allows(&required, &answer).is_ok(), text.is_empty(), "{format:?}: {answer}");
            let single = format.grammar(&plan(false, false), &STARTER);
            assert_eq!(allows(&single, &answer).is_ok(), calls.len() == 1, "{format:?}: {answer}");
            for size in [1, 2, 7, 1000] {
                let (read_text, read_calls) = read(format, &answer, size);
                assert_eq!(read_text, text, "{format:?}: {answer}");
                let expected: Vec<(String, String)> =
                    calls.iter().map(|(n, a)| ((*n).to_owned(), (*a).to_owned())).collect();
                assert_eq!(read_calls, expected, "{format:?}: {answer}");
            }
        }
    }
}

#[test]
fn an_answer_may_be_a_text_but_not_a_wrong_call() {
    for format in FORMATS {
        let auto = format.grammar(&plan(false, true), &STARTER);
        for text in ["Hello.", "a < b and {x}", "1 [2]"] {
            allows(&auto, text).unwrap_or_else(|at| panic!("{format:?}: {text} at `{at}`"));
            assert_eq!(read(format, text, 1), (text.to_owned(), Vec::new()));
            assert!(allows(&format.grammar(&plan(true, true), &STARTER), text).is_err());
        }
        let (right, _, _) = answers(format).swap_remove(0);
        for wrong in [
            right.replace("Oslo", "Rome"),
            right.replace("get_weather", "get_whether"),
            right.replace("city", "town"),
            format!("{right} and more"),
        ] {
            assert!(allows(&auto, &wrong).is_err(), "{format:?}: {wrong}");
        }
    }
}

#[test]
fn a_text_may_have_a_form_of_its_own() {
    let text = Some(
        JsonSchema::new(
            json!({"type": "object", "properties": {"n": {"enum": [1]}}, "required": ["n"]}),
        )
        .unwrap()
        .lark_in_line(false),
    );
    for format in [ToolFormat::Hermes, ToolFormat::Mistral] {
        let lark = format.grammar(&CallPlan { text: text.clone(), ..plan(false, true) }, &STARTER);
        allows(&lark, r#"{"n": 1}"#).unwrap();
        allows(&lark, &answers(format)[0].0).unwrap();
        assert!(allows(&lark, "Hello.").is_err());
    }
}

#[test]
fn what_a_model_without_sense_writes_is_a_right_call() {
    for format in FORMATS {
        let lark = format.grammar(&plan(true, false), &STARTER);
        let grammar = STARTER.grammar(&lark, &[END]).unwrap();
        for seed in 0..4 {
            let (mut grammar, mut random) = (grammar.clone(), ChaCha8Rng::seed_from_u64(seed));
            let mut tokens = Vec::new();
            while tokens.len() < 300 {
                let mut logits: Vec<f32> =
                    (0..4096).map(|_| (random.next_u64() >> 40) as f32).collect();
                grammar.mask(&mut logits).unwrap();
                let token = crate::softmax::argmax(&logits);
                grammar.accept(token).unwrap();
                if token == END {
                    break;
                }
                tokens.push(token);
            }
            let answer = STARTER.decode(&tokens, false);
            let (text, calls) = read(format, &answer, 3);
            assert_eq!((text.as_str(), calls.len()), ("", 1), "{format:?}: {answer}");
            let arguments: Value = serde_json::from_str(&calls[0].1).unwrap();
            match calls[0].0.as_str() {
                "stop" => assert_eq!(arguments, json!({})),
                "get_weather" => assert!(arguments["city"].is_string()),
                other => panic!("{other}"),
            }
        }
    }
}

proptest! {
    /// However the answer is cut into pieces, and wherever it ends, nothing is lost and nothing is told twice.
    #[test]
    fn pieces_do_not_matter(which in 0usize..4, at in 0usize..3, cut in 0usize..200, size in 1usize..9) {
        let format = FORMATS[which];
        let all = answers(format);
        let answer = &all[at % all.len()].0;
        let answer: String = answer.chars().take(cut).collect();
        prop_assert_eq!(read(format, &answer, size), read(format, &answer, 1000));
    }

    #[test]
    fn any_text_comes_back(text in "[a-z<>_{}\\[\\] \n\"]{0,40}", size in 1usize..5) {
        prop_assume!(!text.trim_start().starts_with("{\"name\": \""));
        for format in FORMATS {
            let (read, calls) = read(format, &text, size);
            prop_assert_eq!(&read, &text);
            prop_assert!(calls.is_empty());
        }
    }
}
