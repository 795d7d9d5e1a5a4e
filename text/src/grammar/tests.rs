use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::*;
use crate::tokenizer::tests::STARTER;

/// The starter's `<|im_end|>`.
const END: u32 = 2;

fn grammar(lark: &str) -> Result<Grammar, Error> {
    STARTER.grammar(lark, &[END])
}

fn of_schema(schema: &Value) -> Result<Grammar, Error> {
    let schema = JsonSchema::new(schema.clone())?;
    grammar(&format!("start: {}\n", schema.lark()))
}

/// The text that a model with random logits writes, `None` if it does not end within `most` tokens.
fn written(mut grammar: Grammar, seed: u64, most: usize) -> Option<String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut tokens = Vec::new();
    while tokens.len() < most {
        // A padded vocabulary.
        let mut logits: Vec<f32> =
            (0..4100).map(|_| (random.next_u64() >> 40) as f32 * (-24f32).exp2()).collect();
        grammar.mask(&mut logits).unwrap();
        assert!(logits[4096..].iter().all(|logit| *logit == f32::NEG_INFINITY));
        let token = crate::softmax::argmax(&logits);
        assert!(logits[token as usize] > f32::NEG_INFINITY);
        grammar.accept(token).unwrap();
        if token == END {
            assert!(grammar.is_complete());
            return Some(STARTER.decode(&tokens, false));
        }
        tokens.push(token);
    }
    None
}

#[test]
fn what_comes_out_satisfies_the_schema() {
    let schemas: Vec<Value> = serde_json::from_str(include_str!("schemas.json")).unwrap();
    assert_eq!(schemas.len(), 100);
    let mut finished = 0;
    for schema in &schemas {
        let grammar = of_schema(schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
        let validator = jsonschema::options().should_validate_formats(true).build(schema).unwrap();
        for seed in 0..3 {
            let Some(text) = written(grammar.clone(), seed, 200) else { continue };
            finished += 1;
            let value: Value = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{error} in {text} of {schema}"));
            let wrong = validator.validate(&value).err();
            assert!(wrong.is_none(), "{text} is not of {schema}: {wrong:?}");
        }
    }
    assert!(finished > schemas.len() * 2, "only {finished} were finished");
}

#[test]
fn a_keyword_that_is_not_supported_is_named() {
    for (keyword, value) in [
        ("not", json!({"type": "string"})),
        ("if", json!({"type": "string"})),
        ("uniqueItems", json!(true)),
        ("contains", json!({"const": 1})),
        ("propertyNames", json!({"pattern": "^a"})),
        ("dependentRequired", json!({"a": ["b"]})),
        ("unevaluatedProperties", json!(false)),
    ] {
        let mut schema = json!({"type": "object", "properties": {"a": {"type": "array"}}});
        schema["properties"]["a"][keyword] = value;
        let error = of_schema(&schema).unwrap_err().to_string();
        assert!(error.contains(keyword), "{keyword}: {error}");
    }
    for (schema, word) in [
        (json!({"type": "objekt"}), "objekt"),
        (json!({"$ref": "http://example.com/schema.json"}), "example.com"),
        (json!({"$ref": "#/$defs/nowhere"}), "nowhere"),
        (json!({"type": "string", "pattern": "(?=a)b"}), "look-around"),
        (json!({"type": "integer", "minimum": 3, "maximum": 2}), "minimum"),
        (json!([1]), "object"),
    ] {
        let error = of_schema(&schema).unwrap_err().to_string();
        assert!(error.contains(word), "{schema}: {error}");
        assert!(error.len() < 500, "{error}");
    }
}

#[test]
fn schemas_have_bounds() {
    let mut deep = json!({"type": "string"});
    for _ in 0..40 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    assert!(of_schema(&deep).unwrap_err().to_string().contains("deep"));
    let names: Vec<String> = (0..9000).map(|at| format!("name{at}")).collect();
    let large = of_schema(&json!({ "enum": names })).unwrap_err().to_string();
    assert!(large.contains("bytes"), "{large}");
    let began = std::time::Instant::now();
    for bomb in [
        json!({"type": "array", "items": {"type": "array", "items": {"type": "array", "minItems": 3000, "items": {"enum": [1]}}, "minItems": 3000}, "minItems": 3000}),
        json!({"type": "string", "pattern": "^((((a{1,100}){1,100}){1,100}){1,100})$"}),
        json!({"type": "string", "minLength": 100_000_000}),
        json!({"type": "string", "pattern": "(x+x+)+y"}),
    ] {
        let Ok(made) = of_schema(&bomb) else { continue };
        let mut logits = vec![0.0; 4096];
        let mut made = made;
        let _either = made.mask(&mut logits);
    }
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn objects_are_closed_where_that_contradicts_nothing() {
    let closed =
        JsonSchema::new(json!({"type": "object", "properties": {"a": {"type": "integer"}}}));
    assert_eq!(closed.unwrap().value["additionalProperties"], json!(false));
    let open = json!({"type": "object", "properties": {"a": {}}, "additionalProperties": true});
    assert_eq!(JsonSchema::new(open.clone()).unwrap().value, open);
    let parts = json!({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]});
    assert_eq!(JsonSchema::new(parts.clone()).unwrap().value, parts);
    // A property may be called as a keyword is.
    let named = json!({"type": "object", "properties": {"format": {"const": "int32"}}, "additionalProperties": false});
    assert_eq!(JsonSchema::new(named.clone()).unwrap().value, named);
    let remarks = JsonSchema::new(json!({"type": "integer", "format": "int32"})).unwrap();
    assert_eq!(remarks.remarks(), ["int32"]);
}

#[test]
fn expressions_choices_and_grammars_hold() {
    let regex = regex::Regex::new(r"^(?:[a-c]{2}/\d+)$").unwrap();
    let made = grammar(&format!("start: {}", regex_rule(r"[a-c]{2}/[0-9]{1,4}"))).unwrap();
    let choices = ["one".to_owned(), "t\"w\no".to_owned(), "größer".to_owned()];
    let choice = grammar(&format!("start: {}", choice_rule(&choices))).unwrap();
    let lark = grammar("start: (\"a\" | b)+ \"!\"\nb: \"b\" /[0-9]/").unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let text = written(made.clone(), seed, 50).unwrap();
        assert!(regex.is_match(&text), "{text}");
        let text = written(choice.clone(), seed, 50).unwrap();
        assert!(choices.contains(&text), "{text}");
        seen.insert(text);
        if let Some(text) = written(lark.clone(), seed, 50) {
            assert!(text.ends_with('!') && !text.contains("<|"), "{text}");
        }
    }
    assert!(seen.len() > 1);
    assert!(grammar("start: nowhere").unwrap_err().to_string().contains("nowhere"));
    assert!(grammar("").is_err());
}
