//! What becomes of a row.

use hone_model::ModelConfig;
use hone_text::{ChatTemplate, Tokenizer};

use super::*;

fn starter() -> (Tokenizer, ChatTemplate, ModelConfig) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/starter");
    let read = |name: &str| fs_err::read(dir.join(name)).unwrap();
    (
        Tokenizer::from_bytes(&read("tokenizer.json")).unwrap(),
        ChatTemplate::from_config(&read("tokenizer_config.json")).unwrap(),
        ModelConfig::parse(&read("config.json"), None).unwrap(),
    )
}

fn read(lines: &[&str], training: &TrainingConfig) -> Result<Rows, Error> {
    let (tokenizer, template, config) = starter();
    let renderer = Renderer { tokenizer: &tokenizer, template: &template, config: &config };
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), lines.join("\n")).unwrap();
    Rows::read(file.path(), renderer, training)
}

const ROW: &str = r#"{"messages":[{"role":"user","content":"2+2?"},{"role":"assistant","content":"4"}],"split":"train"}"#;

#[test]
fn the_answer_and_its_end_are_supervised_and_nothing_else() {
    let rows = read(&[ROW], &TrainingConfig::plain()).unwrap();
    let row = rows.train[0].itself();
    // "4" and <|im_end|>
    assert_eq!(row.supervised_tokens(), 2);
    assert_eq!(row.tokens.last(), Some(&2));
    assert!(row.supervised.ends_with(&[false, true, true]));
}

#[test]
fn splits_by_any_of_their_names() {
    let named = |name: &str| ROW.replace("\"train\"", &format!("{name:?}"));
    for (name, taught) in [("Training", 2), ("val", 1), ("dev", 1), ("test", 1), ("held-out", 1)] {
        let rows = read(&[ROW, &named(name)], &TrainingConfig::plain()).unwrap();
        assert_eq!(rows.train.len(), taught, "{name}");
        let measured = usize::from(matches!(name, "val" | "dev"));
        assert_eq!(rows.validation.len(), measured, "{name}");
    }
    let error = read(&[ROW, &named("spare")], &TrainingConfig::plain()).unwrap_err().to_string();
    assert!(error.contains("\"spare\"") && error.contains('2'), "{error}");
}

#[test]
fn a_weight_is_zero_or_one_with_a_point_or_without() {
    let row = |weight: &str| {
        let turn = format!(r#"{{"role":"assistant","content":"bad","weight":{weight}}}"#);
        let first = r#"{"role":"user","content":"a"}"#;
        let rest = &ROW[r#"{"messages":["#.len()..];
        read(&[&format!(r#"{{"messages":[{first},{turn},{rest}"#)], &TrainingConfig::plain())
    };
    let supervised = |weight| row(weight).unwrap().train[0].itself().supervised_tokens();
    assert_eq!(supervised("0.0"), supervised("0"));
    assert_eq!(supervised("1.0"), supervised("1"));
    assert!(supervised("0") < supervised("1"));
    assert!(row("0.5").unwrap_err().to_string().contains("0 or 1"));
}

#[test]
fn rows_of_other_tools_are_read() {
    let share = r#"{"conversations":[{"from":"human","value":"2+2?"},{"from":"gpt","value":"4"}]}"#;
    let alpaca = r#"{"instruction":"2+2?","input":"","output":"4"}"#;
    let rows = read(&[ROW, share, alpaca], &TrainingConfig::plain()).unwrap();
    assert_eq!(rows.train.len(), 3);
    assert!(rows.train.iter().all(|lesson| lesson.itself() == rows.train[0].itself()));
    let error = read(&[r#"{"text":"2+2=4"}"#], &TrainingConfig::plain()).unwrap_err().to_string();
    assert!(error.contains("ShareGPT") && error.contains("text"), "{error}");
}

#[test]
fn a_call_is_supervised_as_it_is_served() {
    let tools = r#""tools":[{"type":"function","function":{"name":"add","parameters":{"type":"object","properties":{"a":{"type":"integer"}}}}}]"#;
    let call = r#"{"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function","function":{"name":"add","arguments":"{\"a\":4}"}}]}"#;
    let asked = r#"{"role":"user","content":"add 4"}"#;
    let row = format!(r#"{{"messages":[{asked},{call}],{tools}}}"#);
    let null = row.replace(r#""content":"","#, r#""content":null,"#);
    let object = row.replace(r#""{\"a\":4}""#, r#"{"a":4}"#);
    let result = r#"{"role":"tool","tool_call_id":"c1","content":"8"}"#;
    let end = r#"{"role":"assistant","content":"It is 8."}"#;
    let whole = row.replace(call, &format!("{call},{result},{end}"));
    let rows = read(&[&row, &null, &object, &whole], &TrainingConfig::plain()).unwrap();
    assert_eq!(rows.refused.len(), 0);
    let (tokenizer, _, _) = starter();
    let taught = |at: usize| {
        let row = rows.train[at].itself();
        let supervised = row.tokens.iter().zip(&row.supervised).filter(|(_, s)| **s);
        let ids: Vec<u32> = supervised.map(|(id, _)| *id).collect();
        (tokenizer.decode(&ids, false), tokenizer.decode(&row.tokens, false))
    };
    let written =
        "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 4}}\n</tool_call><|im_end|>";
    assert_eq!(taught(0).0, written);
    assert!(taught(0).1.contains("<tools>\n{\"type\": \"function\""), "{}", taught(0).1);
    assert_eq!((taught(1), taught(2)), (taught(0), taught(0)));
    assert_eq!(taught(3).0, format!("{written}It is 8.<|im_end|>"));
    assert!(taught(3).1.contains("<tool_response>\n8\n</tool_response>"));
    let neither = row.replace("tool_calls", "calls").replace(r#""content":"","#, "");
    assert!(read(&[&neither], &TrainingConfig::plain()).is_err());
}

#[test]
fn replay_rows_have_kl_to_base_where_they_train() {
    let kind = |kind: &str| ROW.replace("\"split\"", &format!("\"kind\":\"{kind}\",\"split\""));
    let (replay, supervised) = (kind("replay"), kind("supervised"));
    let rehearsal = kind("rehearsal");
    let measured = replay.replace("\"train\"", "\"validation\"");
    let lines = [ROW, &replay, &supervised, &rehearsal, &measured];
    let roles = |training: &TrainingConfig| -> Vec<(bool, bool)> {
        let rows = read(&lines, training).unwrap();
        let rows = rows.train.iter().map(Lesson::itself).chain(&rows.validation);
        rows.map(|row| (row.imitated, row.has_kl_to_base())).collect()
    };
    let (taught, both, kept) = ((true, false), (true, true), (false, true));
    assert_eq!(roles(&TrainingConfig::plain()), [taught, both, taught, kept, taught]);
    let without = TrainingConfig { kl_weight: 0.0, ..TrainingConfig::plain() };
    assert_eq!(roles(&without), [taught; 4]);
    assert!(read(&[&kind("other")], &without).is_err());
}

#[test]
fn of_a_snapshots_row_only_the_judged_turn_is_taught() {
    let talk = |kind: &str, weight: &str| {
        format!(
            r#"{{"kind":"{kind}","split":"train","messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":"b c"{weight}}},{{"role":"user","content":"d"}},{{"role":"assistant","content":"e"}}]}}"#
        )
    };
    let one =
        |line: String| read(&[&line], &TrainingConfig::plain()).unwrap().train[0].itself().clone();
    let taught = one(talk("supervised", ""));
    assert_eq!(taught.supervised_tokens(), 2, "e and the end");
    let kept = one(talk("replay", ""));
    assert_eq!((kept.supervised_tokens(), kept.kl_to_base.contains(&false)), (2, false));
    // Nobody is held to what was called bad.
    let called_bad = one(talk("rehearsal", r#","weight":0"#));
    let free = called_bad.kl_to_base.iter().filter(|kl_to_base| !**kl_to_base).count();
    assert_eq!(free, 3, "b, c and the end");
    assert!(called_bad.kl_to_base.ends_with(&[true, true]));
}

#[test]
fn a_row_is_shown_in_all_its_wordings_in_turn() {
    let row = ROW.replace("\"split\"", r#""showings":2,"wordings":["1+3?","4+0?"],"split""#);
    let lesson = read(&[&row], &TrainingConfig::plain()).unwrap().train.remove(0);
    assert_eq!((lesson.showings, lesson.wordings().len()), (2, 3));
    assert_eq!(lesson.shown(0), lesson.itself());
    assert_eq!(lesson.shown(3), lesson.itself());
    assert_eq!(Some(lesson.shown(2)), lesson.in_other_words());
    assert_ne!(lesson.shown(1).tokens, lesson.shown(2).tokens);
    assert!(lesson.wordings().iter().all(|it| it.supervised_tokens() == 2), "the answer stays");
    assert!(read(&[&row.replace(":2,", ":0,")], &TrainingConfig::plain()).is_err());
    assert!(read(&[&row.replace(":2,", ":300,")], &TrainingConfig::plain()).is_err());
    let plain = read(&[ROW], &TrainingConfig::plain()).unwrap().train.remove(0);
    assert!(plain.in_other_words().is_none());
}

#[test]
fn what_is_rehearsed_goes_through_its_conversations() {
    let other = r#""alternates":[[{"role":"user","content":"a"},{"role":"assistant","content":"b c","weight":0},{"role":"user","content":"d"},{"role":"assistant","content":"e"}]],"split""#;
    let row = ROW.replace("\"split\"", &format!(r#""kind":"rehearsal",{other}"#));
    let lesson = read(&[&row], &TrainingConfig::plain()).unwrap().train.remove(0);
    assert_eq!(lesson.shown_in(0, 0), lesson.itself());
    assert_eq!(lesson.shown_in(2, 0), lesson.itself());
    let alternate = lesson.shown_in(1, 0);
    assert_ne!(alternate.tokens, lesson.itself().tokens);
    let free = alternate.kl_to_base.iter().filter(|kl_to_base| !**kl_to_base).count();
    assert_eq!((free, alternate.imitated), (3, false), "its own turns count, not the first one's");
    let taught = ROW.replace("\"split\"", r#""wordings":["1+3?"],"split""#);
    let lesson = read(&[&taught], &TrainingConfig::plain()).unwrap().train.remove(0);
    assert_eq!(lesson.shown_in(0, 0), lesson.itself(), "its own words come first");
    assert_eq!(lesson.shown_in(1, 0), lesson.shown(1), "then it is put otherwise");
}

#[test]
fn what_the_base_did_not_end_is_kept_without_an_end() {
    let whole = ROW.replace("\"split\"", r#""kind":"rehearsal","split""#);
    let cut_off = whole.replace(r#""content":"4""#, r#""content":"4","unfinished":true"#);
    let one =
        |line: &str| read(&[line], &TrainingConfig::plain()).unwrap().train[0].itself().clone();
    let (whole, cut_off) = (one(&whole), one(&cut_off));
    assert_eq!(whole.tokens.last(), Some(&2));
    assert_eq!(cut_off.tokens, whole.tokens[..whole.tokens.len() - 1]);
    assert_eq!((cut_off.supervised_tokens(), cut_off.kl_to_base.len()), (1, cut_off.tokens.len()));
    // What is taught has an end, whatever it says of itself.
    assert_eq!(one(&ROW.replace("\"4\"", "\"4\",\"unfinished\":true")), one(ROW));
}

#[test]
fn weight_zero_takes_a_turn_out() {
    let talk = |weight: &str| {
        format!(
            r#"{{"messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":"b c"{weight}}},{{"role":"user","content":"d"}},{{"role":"assistant","content":"e"}}]}}"#
        )
    };
    let training = TrainingConfig { validation_share: 0.0, ..TrainingConfig::plain() };
    let whole = read(&[&talk("")], &training).unwrap().train[0].itself().clone();
    let masked = read(&[&talk(r#","weight":0"#)], &training).unwrap().train[0].itself().clone();
    assert_eq!(masked.tokens, whole.tokens);
    assert_eq!(masked.supervised_tokens(), 2);
    assert!(whole.supervised_tokens() > 3);
    let error = read(&[&talk(r#","weight":2"#)], &training).unwrap_err().to_string();
    assert!(error.contains("weight"), "{error}");
}

#[test]
fn rows_that_teach_nothing_are_refused_by_name() {
    let silent = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":0}]}"#;
    let unanswered = r#"{"messages":[{"role":"user","content":"a"}]}"#;
    let rows = read(&[ROW, ROW, silent, unanswered, ROW], &TrainingConfig::plain()).unwrap();
    assert_eq!(rows.train.len(), 3);
    assert_eq!(rows.refused.values().sum::<usize>(), 2);
    assert_eq!(rows.refused["no supervised token"], 1);

    let error = read(&[silent, unanswered], &TrainingConfig::plain()).unwrap_err().to_string();
    assert!(error.contains("1: no supervised token"), "{error}");
    let few = TrainingConfig { max_refused_share: 0.1, ..TrainingConfig::plain() };
    assert!(matches!(
        read(&[ROW, silent], &few),
        Err(Error::TooManyRefused { refused: 1, rows: 2, .. })
    ));
    let short = TrainingConfig { max_length: 5, ..TrainingConfig::plain() };
    assert!(read(&[ROW], &short).unwrap_err().to_string().contains("longer than 5"));
    let marked = read(&[&format!("\u{feff}{ROW}")], &TrainingConfig::plain()).unwrap();
    assert_eq!(marked.train.len(), 1, "a mark of the encoding is no part of a row");
    let error = read(&[ROW, "{"], &TrainingConfig::plain()).unwrap_err().to_string();
    assert!(error.contains("line 2 of ") && error.contains("not JSON"), "{error}");
    let error = read(&[&format!("[{ROW}]")], &TrainingConfig::plain()).unwrap_err().to_string();
    assert!(error.contains("one object a line"), "{error}");
}

#[test]
fn a_line_in_another_encoding_is_named() {
    let (tokenizer, template, config) = starter();
    let renderer = Renderer { tokenizer: &tokenizer, template: &template, config: &config };
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), [ROW.as_bytes(), b"\n\n\xe9\n"].concat()).unwrap();
    let error =
        Rows::read(file.path(), renderer, &TrainingConfig::plain()).unwrap_err().to_string();
    assert!(error.contains("line 3 of ") && error.contains("UTF-8"), "{error}");
}

#[test]
fn held_out_rows_never_train_and_references_are_answers() {
    let held = ROW.replace("\"train\"", "\"held_out\"");
    let suite = r#"{"family":"f","split":"feedback","messages":[{"role":"user","content":"a"}],"reference":"b","check":{"type":"exact","value":"b"}}"#;
    let marked = ROW.replace("\"train\"", "\"validation\"");
    let rows = read(&[&held, suite, &marked], &TrainingConfig::plain()).unwrap();
    assert_eq!((rows.train.len(), rows.validation.len()), (1, 1));
}
