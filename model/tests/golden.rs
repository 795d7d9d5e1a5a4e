//! Against transformers and PEFT: the golden files that `golden/make.py` wrote.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test fails by panicking, and prints what it measured

use std::path::{Path, PathBuf};

use hone_model::{
    Adapter, KvCache, LogitsFor, Model, Scratch, Segment, Source, WeightFormat, prepare,
};
use safetensors::SafeTensors;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn starter(format: WeightFormat, threads: usize) -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::Folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("starter"));
    let packed = prepare(&source, format, folder.path()).unwrap();
    let model = Model::open(&packed, threads).unwrap();
    (folder, model)
}

fn all_logits(model: &Model, tokens: &[u32], adapter: Option<&Adapter>) -> hone_model::Logits {
    let mut cache = KvCache::new(model.config());
    let segment = Segment { tokens, cache: &mut cache, adapter, logits: LogitsFor::All };
    model.forward(&mut [segment], &mut Scratch::new()).unwrap()
}

/// Largest difference between our logits and the golden ones, for the base and the adapter.
fn differences(model: &Model) -> [f32; 2] {
    let bytes = std::fs::read(golden("logits.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let adapter = model.load_adapter(&golden("peft_adapter")).unwrap();
    let mut worst = [0.0_f32; 2];
    for index in 0..4 {
        let ids: Vec<u32> = file
            .tensor(&format!("ids.{index}"))
            .unwrap()
            .data()
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        for (which, adapter) in [("base", None), ("adapter", Some(&adapter))] {
            let ours = all_logits(model, &ids, adapter);
            let n = ids.len();
            let view = file.tensor(&format!("{which}.{index}")).unwrap();
            let mut theirs =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            for position in [0, n / 3, n / 2, n - 1] {
                for (a, b) in ours.row(position).iter().zip(theirs.by_ref()) {
                    let slot = &mut worst[usize::from(adapter.is_some())];
                    *slot = slot.max((a - b).abs());
                }
            }
            assert!(theirs.next().is_none());
        }
    }
    worst
}

#[test]
fn f32_logits_equal_those_of_transformers_and_peft() {
    let (_folder, model) = starter(WeightFormat::F32, 2);
    let worst = differences(&model);
    assert!(worst.iter().all(|d| *d < 1e-3), "base and adapter differ by {worst:?}");
}

/// The quantised formats stay near: the logits of the starter span about 40.
#[test]
fn other_formats_stay_near_f32() {
    for (format, limit) in
        [(WeightFormat::Bf16, 0.5), (WeightFormat::Q8, 0.6), (WeightFormat::Q4, 5.0)]
    {
        let (_folder, model) = starter(format, 1);
        let worst = differences(&model);
        println!("{format}: {worst:?}");
        assert!(worst.iter().all(|d| *d < limit), "{format}: base and adapter differ by {worst:?}");
    }
}

fn largest(row: &[f32]) -> u32 {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map(|(index, _)| index as u32).unwrap()
}

/// Greedy answers of all prompts at once, as the engine makes them.
fn greedy(model: &Model, prompts: &[Vec<u32>], most: usize) -> Vec<Vec<u32>> {
    let mut caches: Vec<_> = prompts.iter().map(|_| KvCache::new(model.config())).collect();
    let mut next = prompts.to_vec();
    let mut answers = vec![Vec::new(); prompts.len()];
    let mut scratch = Scratch::new();
    for _ in 0..most {
        let mut segments: Vec<Segment<'_>> = next
            .iter()
            .zip(&mut caches)
            .filter(|(tokens, _)| !tokens.is_empty())
            .map(|(tokens, cache)| Segment {
                tokens,
                cache,
                adapter: None,
                logits: LogitsFor::Last,
            })
            .collect();
        if segments.is_empty() {
            break;
        }
        let logits = model.forward(&mut segments, &mut scratch).unwrap();
        let mut row = 0;
        for (next, answer) in next.iter_mut().zip(&mut answers) {
            if next.is_empty() {
                continue;
            }
            let token = largest(logits.row(row));
            row += 1;
            answer.push(token);
            *next =
                if model.config().eos_token_ids.contains(&token) { vec![] } else { vec![token] };
        }
    }
    answers
}

fn share_equal(format: WeightFormat) -> f64 {
    #[derive(serde::Deserialize)]
    struct Row {
        prompt: Vec<u32>,
        tokens: Vec<u32>,
    }
    let text = std::fs::read_to_string(golden("greedy.jsonl")).unwrap();
    let rows: Vec<Row> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 50);
    let (_folder, model) = starter(format, 2);
    let prompts: Vec<_> = rows.iter().map(|row| row.prompt.clone()).collect();
    let answers = greedy(&model, &prompts, 128);
    let equal = answers.iter().zip(&rows).filter(|(answer, row)| **answer == row.tokens).count();
    equal as f64 / rows.len() as f64
}

#[test]
fn f32_greedy_text_equals_that_of_transformers() {
    assert_eq!(share_equal(WeightFormat::F32), 1.0);
}

#[test]
fn q8_greedy_text_is_nearly_always_the_same() {
    let share = share_equal(WeightFormat::Q8);
    println!("q8: {share}");
    assert!(share >= 0.9, "{share}");
}
