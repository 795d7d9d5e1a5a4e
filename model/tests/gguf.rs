//! GGUF files against sentencepiece and transformers, which made `golden/gguf`.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::path::{Path, PathBuf};

use hone_model::{KvCache, LogitsFor, Model, Pack, Scratch, Segment, Source, WeightFormat};
use safetensors::SafeTensors;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gguf").join(name)
}

fn open(base: &Path) -> Model {
    let pack = Pack::prepare(&Source::at(&golden("tiny.gguf")), WeightFormat::F32, base).unwrap();
    Model::of(&pack, 1).unwrap()
}

#[test]
fn logits_are_those_of_transformers() {
    let base = tempfile::tempdir().unwrap();
    let model = open(base.path());
    let bytes = std::fs::read(golden("tiny.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |name: &str| expected.tensor(name).unwrap().data().to_vec();
    let tokens: Vec<u32> = numbers("ids")
        .chunks(8)
        .map(|id| u64::from_le_bytes(id.try_into().unwrap()) as u32)
        .collect();
    let logits: Vec<f32> =
        numbers("logits").chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let mut cache = KvCache::new(model.config());
    let segment =
        Segment { tokens: &tokens, cache: &mut cache, adapter: None, logits: LogitsFor::All };
    let found = model.forward(&mut [segment], &mut Scratch::new()).unwrap();
    assert_eq!(found.rows(), tokens.len());
    for (row, expected) in logits.chunks(model.config().vocab_size).enumerate() {
        for (found, expected) in found.row(row).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "row {row}: {found} instead of {expected}");
        }
    }
}

#[test]
fn ids_are_those_of_sentencepiece() {
    let base = tempfile::tempdir().unwrap();
    let model = open(base.path());
    let lines = std::fs::read_to_string(golden("tiny.jsonl")).unwrap();
    assert!(lines.lines().count() > 50);
    for line in lines.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let expected: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
        let text = row["text"].as_str().unwrap();
        let ids = model.front_end().tokenizer.encode(text, false).unwrap();
        assert_eq!(ids, expected, "{text:?}");
        let begun = model.front_end().tokenizer.encode(text, true).unwrap();
        assert_eq!(begun, [&[1], expected.as_slice()].concat(), "{text:?}");
    }
}

#[test]
fn a_file_is_packed_once_and_a_changed_one_again() {
    let folder = tempfile::tempdir().unwrap();
    let (base, file) = (folder.path().join("base"), folder.path().join("mine.gguf"));
    std::fs::copy(golden("tiny.gguf"), &file).unwrap();
    let prepare =
        || Pack::prepare(&Source::at(&file), WeightFormat::Q8, &base).unwrap().folder().to_owned();
    let first = prepare();
    assert_eq!(prepare(), first);
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_ne!(prepare(), first);
}

#[test]
fn what_is_no_model_is_told_what_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let (base, file) = (folder.path().join("base"), folder.path().join("mine.gguf"));
    let refusal = |path: &Path| {
        Pack::prepare(&Source::at(path), WeightFormat::Q8, &base).unwrap_err().to_string()
    };
    assert!(refusal(&file).contains("No such file"), "{}", refusal(&file));
    std::fs::copy(golden("tiny.gguf"), &file).unwrap();
    let inside = refusal(folder.path());
    assert!(inside.ends_with(&format!("name the file itself: {}", file.display())), "{inside}");
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "hello").unwrap();
    assert!(
        refusal(&text).contains("notes.txt is not valid: it does not begin as a GGUF file does")
    );
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(refusal(&file).contains("cut off; copy it again"), "{}", refusal(&file));
    std::fs::write(&file, &bytes[..32]).unwrap();
    assert!(refusal(&file).contains("cannot stand in"), "{}", refusal(&file));
}
