//! Embeddings against the decoder's own hidden states, alone and beside answers.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot start its engine has failed

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hone_api::sampling_params::SamplingParams;
use hone_api::{AdapterId, InteractionId};
use hone_engine::testing::{random_adapter, tiny_model};
use hone_engine::{
    EmbedRequest, Engine, EngineConfig, Error, Event, Generate, Party, Priority, Request, Target,
};
use hone_model::{KvCache, LogitsFor, Model, Scratch, Segment, Source, WeightFormat};

/// As the settings that ship.
fn shipped() -> EngineConfig {
    EngineConfig::from(&hone_config::Config::shipped().unwrap().engine)
}

fn model(folder: &Path) -> Arc<Model> {
    tiny_model(&folder.join("hf"), 3).unwrap();
    let source = Source::Folder(folder.join("hf"));
    let packed = hone_model::prepare(&source, WeightFormat::F32, folder).unwrap();
    Arc::new(Model::open(&packed, 2).unwrap())
}

fn texts() -> Vec<Vec<u32>> {
    [1, 7, 40, 129, 300, 2, 512]
        .iter()
        .map(|n| (0..*n).map(|at| at * 7 % 4096 + 3).collect())
        .collect()
}

fn ask(inputs: Vec<Vec<u32>>, target: Target) -> EmbedRequest {
    EmbedRequest { inputs, target, party: Party::default() }
}

/// The whole text in one step, by itself.
fn hidden(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let mut cache = KvCache::new(model.config());
    let segment = Segment { tokens, cache: &mut cache, adapter: None, logits: LogitsFor::All };
    model.hidden(&mut [segment], &mut Scratch::new()).unwrap()
}

fn mean(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let (hidden, width) = (hidden(model, tokens), model.config().hidden_size);
    let column = |at: usize| hidden.iter().skip(at).step_by(width).map(|x| f64::from(*x));
    (0..width).map(|at| (column(at).sum::<f64>() / tokens.len() as f64) as f32).collect()
}

#[test]
fn hidden_states_times_the_output_matrix_are_the_logits() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let tokens = &texts()[2];
    let mut cache = KvCache::new(model.config());
    let segment = Segment { tokens, cache: &mut cache, adapter: None, logits: LogitsFor::All };
    let logits = model.forward(&mut [segment], &mut Scratch::new()).unwrap();
    let hidden = hidden(&model, tokens);
    let bytes = fs_err::read(folder.path().join("hf/model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let head = file.tensor("lm_head.weight").unwrap();
    let width = model.config().hidden_size;
    let value = |at: usize| f32::from_le_bytes(head.data()[at * 4..][..4].try_into().unwrap());
    for (row, hidden) in hidden.chunks_exact(width).enumerate() {
        for word in [0, 1, 777, 4095] {
            let products = hidden
                .iter()
                .enumerate()
                .map(|(at, x)| f64::from(*x) * f64::from(value(word * width + at)));
            let expected: f64 = products.sum();
            let logit = f64::from(logits.row(row)[word]);
            assert!((logit - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{logit} {expected}");
        }
    }
}

#[tokio::test]
async fn vectors_are_means_to_the_last_bit_however_texts_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let expected: Vec<_> = texts().iter().map(|text| mean(&model, text)).collect();
    for max_step_tokens in [1024, 64, 7] {
        let config = EngineConfig { max_step_tokens, ..shipped() };
        let engine = Engine::start(Arc::clone(&model), config).unwrap();
        let vectors = engine.embed(ask(texts(), Target::Live)).unwrap().vectors().await.unwrap();
        assert!(vectors == expected, "pieces of {max_step_tokens}");
    }
}

#[tokio::test]
async fn answers_go_on_beside_them_and_an_adapter_reads_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    random_adapter(&folder.path().join("adapter"), model.config(), 4, 1.0, 9).unwrap();
    let engine = Engine::start(Arc::clone(&model), shipped()).unwrap();
    let id = AdapterId::new();
    let loading = Arc::clone(&engine);
    let path = folder.path().join("adapter");
    tokio::task::spawn_blocking(move || loading.load(id, &path)).await.unwrap().unwrap();
    let sampling =
        SamplingParams { max_tokens: 400, ignore_eos: true, ..SamplingParams::default() };
    let mut answer = engine
        .submit(Request {
            id: InteractionId::new(),
            prompt: vec![5, 6, 7],
            sampling,
            target: Target::Base,
            echo_from: None,
            grammar: None,
            shown: Vec::new(),
            priority: Priority::Interactive,
            party: Party::default(),
        })
        .unwrap();
    let base = engine.embed(ask(texts(), Target::Base)).unwrap();
    let taught = engine.embed(ask(texts(), Target::Exact(id))).unwrap();
    assert_eq!((base.adapter, taught.adapter), (None, Some(id)));
    let (base, taught) = (base.vectors().await.unwrap(), taught.vectors().await.unwrap());
    let expected: Vec<_> = texts().iter().map(|text| mean(&model, text)).collect();
    assert!(base == expected && taught != expected);
    let mut last = None;
    while let Some(event) = answer.next().await {
        last = Some(event);
    }
    assert!(matches!(last, Some(Event::Finished { completion_tokens: 400, .. })), "{last:?}");
    assert_eq!(engine.shutdown(Duration::from_secs(5)), 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_a_full_queue_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(model(folder.path()), shipped()).unwrap();
    let refused =
        |input: Vec<u32>, target| engine.embed(ask(vec![vec![1], input], target)).unwrap_err();
    assert!(matches!(refused(Vec::new(), Target::Live), Error::EmptyPrompt));
    assert!(matches!(refused(vec![1; 513], Target::Live), Error::PromptTooLong { .. }));
    assert!(matches!(refused(vec![4096], Target::Live), Error::TokenRange { .. }));
    let unknown = refused(vec![1], Target::Exact(AdapterId::new()));
    assert!(matches!(unknown, Error::UnknownAdapter(_)));
    let long = || ask(vec![vec![9; 512]; 8], Target::Live);
    let mut under_way: Vec<_> = (0..64).filter_map(|_| engine.embed(long()).ok()).collect();
    let mut full = engine.embed(long());
    while let Ok(one_more) = full {
        under_way.push(one_more);
        full = engine.embed(long());
    }
    assert!(matches!(full.unwrap_err(), Error::QueueFull { .. }));
    let first = under_way.remove(0);
    drop(under_way);
    assert_eq!(first.vectors().await.unwrap().len(), 8);
    // Those whose clients left are given up.
    let again = loop {
        match engine.embed(ask(vec![vec![1]], Target::Live)) {
            Ok(again) => break again,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(again.vectors().await.unwrap().len(), 1);
}
