use serde_json::Value;

use super::*;
use crate::gguf::testing::{Writer, llama};
use hone_text::{ChatTemplate, Tokenizer};

fn files(writer: Writer) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let bytes = writer.finish();
    of("x.gguf", &Header::parse("x.gguf", &bytes)?)
}

fn tokenizer(writer: Writer) -> Tokenizer {
    Tokenizer::from_bytes(&files(writer).unwrap().0).unwrap()
}

/// A vocabulary of GPT-2's alphabet with every digit, letter and some pairs of them.
fn byte_level(pre: &str) -> Writer {
    let single = "0123456789abcdefghijklmnopqrstuvwxyzABĠĊ/'.";
    let mut tokens: Vec<String> = single.chars().map(String::from).collect();
    let merges = ["1 2", "12 3", "123 4", "' s", "a b", "Ġ a", ". /", "a A", "aA B", "A B"];
    tokens.extend(merges.iter().map(|pair| pair.replace(' ', "")));
    // Tokens that no merge makes.
    tokens.extend(["xyz".to_owned(), "<|im_end|>".to_owned(), "<s>".to_owned(), String::new()]);
    tokens.push("<user>".to_owned());
    let count = tokens.len();
    let mut types = vec![1; count];
    types[count - 3] = 3;
    types[count - 1] = 4;
    Writer::new()
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", pre)
        .texts("tokenizer.ggml.tokens", &tokens)
        .integers("tokenizer.ggml.token_type", &types)
        .texts("tokenizer.ggml.merges", &merges)
        .whole("tokenizer.ggml.bos_token_id", (count - 3) as u64)
        .whole("tokenizer.ggml.eos_token_id", (count - 4) as u64)
}

#[test]
fn each_pre_tokenizer_cuts_as_its_models_do() {
    for (names, digits, slash, case, whole) in [
        ("gpt-2 gpt2", "1234", "./", "aAB", "x|y|z"),
        ("smollm starcoder refact codeshell minerva-7b", "1|2|3|4", "./", "aAB", "x|y|z"),
        ("llama-bpe llama3 llama-v3 falcon3 pixtral", "123|4", "./", "aAB", "xyz"),
        ("dbrx smaug-bpe", "123|4", "./", "aAB", "x|y|z"),
        ("qwen2 deepseek-r1-qwen", "1|2|3|4", "./", "aAB", "x|y|z"),
        ("tekken", "1|2|3|4", "./", "a|AB", "xyz"),
        ("deepseek-coder", "1|2|3|4", "./", "aAB", "x|y|z"),
    ] {
        for name in names.split(' ') {
            let tokenizer = tokenizer(byte_level(name));
            let cut = |text: &str| {
                let ids = tokenizer.encode(text, false).unwrap();
                let texts = ids.iter().map(|id| tokenizer.decode(&[*id], false));
                texts.collect::<Vec<_>>().join("|")
            };
            assert_eq!(cut("1234"), digits, "{name}");
            assert_eq!(cut("./"), slash, "{name}");
            assert_eq!(cut("aAB"), case, "{name}");
            assert_eq!(cut("xyz"), whole, "{name}");
            // A mark stands alone there, and no word begins with it.
            let ending = if name == "deepseek-coder" { "'|s" } else { "'s" };
            assert_eq!(cut("b ab's"), format!("b| |ab|{ending}"), "{name}");
            assert!(pre::SUPPORTED.contains(name) || name == "gpt2");
        }
    }
}

#[test]
fn tokens_that_steer_are_special_and_those_of_the_user_are_not() {
    let tokenizer = tokenizer(byte_level("smollm"));
    let ids = tokenizer.encode("<s>a<user>b<|im_end|>", false).unwrap();
    let special: Vec<bool> = ids.iter().map(|id| tokenizer.is_special(*id)).collect();
    // The end of a turn is one although its type says otherwise.
    assert_eq!(special, [true, false, false, false, true]);
    assert_eq!(tokenizer.decode(&ids, true), "a<user>b");
}

#[test]
fn a_text_begins_with_the_first_token_where_the_model_wants_it() {
    let begins = |writer: Writer| {
        let tokenizer = tokenizer(writer);
        let ids = tokenizer.encode("a", true).unwrap();
        let texts = ids.iter().map(|id| tokenizer.decode(&[*id], false));
        texts.collect::<Vec<_>>().join("|")
    };
    let add = |pre: &str, add: bool| byte_level(pre).boolean("tokenizer.ggml.add_bos_token", add);
    assert_eq!(begins(byte_level("smollm")), "a");
    assert_eq!(begins(byte_level("llama-bpe")), "<s>|a");
    assert_eq!(begins(add("smollm", true)), "<s>|a");
    assert_eq!(begins(add("llama-bpe", false)), "a");
    let both = add("smollm", true).boolean("tokenizer.ggml.add_eos_token", true);
    assert_eq!(begins(both), "<s>|a|<|im_end|>");
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let with = |pre: &str| {
        Writer::new().text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", pre)
    };
    let tokens = |writer: Writer, tokens: &[&str]| writer.texts("tokenizer.ggml.tokens", tokens);
    let typed = |writer: Writer, texts: &[&str]| {
        tokens(writer, texts).integers("tokenizer.ggml.token_type", &vec![1; texts.len()])
    };
    let llama = || Writer::new().text("tokenizer.ggml.model", "llama");
    for (writer, word) in [
        (byte_level("default"), "tokenizer.ggml.pre default"),
        (
            typed(Writer::new().text("tokenizer.ggml.model", "gpt2"), &["a"]),
            "tokenizer.ggml.pre: it is missing",
        ),
        (
            typed(Writer::new().text("tokenizer.ggml.model", "t5"), &["a"]),
            "tokenizer.ggml.model t5",
        ),
        (byte_level("gpt-2").boolean("tokenizer.ggml.new", true), "tokenizer.ggml.new"),
        (tokens(with("gpt-2"), &["a"]), "token_type: it is missing"),
        (
            tokens(with("gpt-2"), &["a"]).integers("tokenizer.ggml.token_type", &[1, 1]),
            "not as long as the 1 tokens",
        ),
        (
            with("gpt-2").integers("tokenizer.ggml.tokens", &[1]),
            "tokens: it is not a list of texts",
        ),
        (typed(with("gpt-2"), &["a"]), "merges: it is missing"),
        (
            typed(with("gpt-2"), &["a"]).texts("tokenizer.ggml.merges", &["ab"]),
            "merge 0 is no pair",
        ),
        (
            typed(with("gpt-2"), &["a", "a"]).texts("tokenizer.ggml.merges", &["a a"]),
            "\"a\" is there twice",
        ),
        (
            byte_level("gpt-2").whole("tokenizer.ggml.unknown_token_id", 999),
            "there is no token 999",
        ),
        (typed(with("gpt-2"), &[&"x".repeat(2000)]), "1024 bytes in token 0"),
        (typed(llama(), &["a"]), "scores: it is missing"),
        (typed(llama(), &["a"]).reals("tokenizer.ggml.scores", &[0.0]), "0 tokens of a byte"),
    ] {
        let message = files(writer).unwrap_err().to_string();
        assert!(
            message.contains(word) && message.contains("x.gguf"),
            "{message} instead of {word}"
        );
    }
}

#[test]
fn the_chat_template_is_that_of_the_metadata() {
    let writer =
        llama().text("tokenizer.chat_template", "{{ bos_token }}{{ messages[0].content }}");
    let (_, config) = files(writer).unwrap();
    let json: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!((&json["bos_token"], &json["eos_token"]), (&"<s>".into(), &"</s>".into()));
    let message = hone_api::chat::Message::new(hone_api::chat::Role::User, "hi");
    let template = ChatTemplate::from_config(&config).unwrap();
    assert_eq!(template.render(&[message], true).unwrap(), "<s>hi");
}
