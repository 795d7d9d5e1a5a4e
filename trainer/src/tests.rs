//! Whole jobs on the starter model, kept small.

mod resume;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hone_machine::Room;
use hone_model::train::{Pass, TrainBatch, TrainSequence};
use hone_model::{
    Adapter, AdapterHome, KvCache, LogitsFor, Scratch, Segment, Source, WeightFormat, prepare,
};

use super::*;

/// The starter, packed once for all tests of this process.
fn base() -> &'static Path {
    static BASE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BASE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/starter");
        let path = prepare(&Source::Folder(starter), WeightFormat::Q8, dir.path()).unwrap();
        (dir, path)
    });
    path
}

/// A sixth of them to measure on.
fn rows(count: usize) -> String {
    marked(count, |i| if i % 6 == 5 { "validation" } else { "train" })
}

fn marked(count: usize, split: fn(usize) -> &'static str) -> String {
    let words = ["red", "blue", "green", "black"];
    (0..count)
        .map(|i| {
            let (word, other) = (words[i % 4], words[(i + 1) % 4]);
            let split = split(i);
            format!(
                r#"{{"messages":[{{"role":"user","content":"Colour {i} after {word}?"}},{{"role":"assistant","content":"It is {other}."}}],"split":"{split}"}}"#
            ) + "\n"
        })
        .collect()
}

/// Few rows to train on, and just enough to choose by.
fn measured() -> String {
    marked(28, |i| if i < 8 { "train" } else { "validation" })
}

/// Of a snapshot, all of one kind, to train on.
fn of_kind(count: usize, kind: &str) -> String {
    let marked = marked(count, |_| "train");
    marked.replace("\"split\"", &format!("\"kind\":\"{kind}\",\"split\""))
}

/// A job directory with `count` rows.
fn job(dir: &Path, count: usize, change: impl FnOnce(&mut Job)) {
    let training = TrainingConfig {
        rank: 4,
        alpha: 8.0,
        epochs: 2,
        batch_size: 4,
        dropout: 0.1,
        learning_rate: 2e-3,
        checkpoint_every: 2,
        early_stop_patience: 0,
        ..TrainingConfig::plain()
    };
    let mut job = Job::new(base(), "rows.jsonl", training);
    job.threads = 2;
    change(&mut job);
    fs_err::create_dir_all(dir).unwrap();
    fs_err::write(dir.join("rows.jsonl"), rows(count)).unwrap();
    job.write(dir).unwrap();
}

fn adapter_bytes(dir: &Path) -> Vec<u8> {
    fs_err::read(dir.join("adapter/adapter_model.safetensors")).unwrap()
}

#[test]
fn a_job_learns_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path(), 24, |job| job.base_name = Some("starter".into()));
    let mut lines = Vec::new();
    let outcome = run(dir.path(), &mut |line| lines.push(line.clone())).unwrap();
    assert_eq!((outcome.train_rows, outcome.validation_rows, outcome.steps), (20, 4, 10));
    assert!(outcome.validation_loss.unwrap() < outcome.initial_validation_loss.unwrap() * 0.8);
    assert!(outcome.tokens > outcome.supervised_tokens && outcome.supervised_tokens > 0);
    assert_eq!(lines.first().unwrap().phase, Phase::Prepare);
    assert_eq!(lines.last().unwrap().phase, Phase::Finished);
    assert_eq!(lines.iter().filter(|line| line.phase == Phase::Train).count(), 10);
    let log = fs_err::read_to_string(dir.path().join("progress.jsonl")).unwrap();
    let read: Vec<TrainingProgress> =
        log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(read, lines);
    let figures = crate::tfevents::tests::figures(dir.path());
    let losses: Vec<_> = lines.iter().filter(|line| line.phase == Phase::Train).collect();
    let losses: Vec<_> =
        losses.iter().map(|line| (line.step as u64, line.loss.unwrap() as f32)).collect();
    assert_eq!(figures["loss"], losses);
    for tag in ["learning_rate", "gradient_norm", "tokens_per_second"] {
        assert_eq!(figures[tag].len(), 10, "{tag}");
    }
    assert_eq!(figures["validation_loss"].last().unwrap().0, 10);
    let config = fs_err::read(dir.path().join("adapter/adapter_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["base_model_name_or_path"], "starter");
    assert_eq!(config.get("revision"), Some(&serde_json::Value::Null));
    assert_eq!(config["init_lora_weights"], true);
    // A complete job is not done twice.
    let again = run(dir.path(), &mut |_| unreachable!()).unwrap();
    assert_eq!(again, outcome);
}

#[test]
fn a_job_goes_on_from_an_adapter() {
    let first = tempfile::tempdir().unwrap();
    job(first.path(), 24, |_| {});
    let before = run(first.path(), &mut |_| {}).unwrap();
    let second = tempfile::tempdir().unwrap();
    let goes_on = |dir: &Path, rank| {
        job(dir, 24, |job| {
            job.start = Some(first.path().join("adapter"));
            (job.training.learning_rate, job.training.epochs, job.training.rank) = (1e-5, 1, rank);
        });
        run(dir, &mut |_| {})
    };
    let after = goes_on(second.path(), 4).unwrap();
    assert_ne!(after.adapter_digest, before.adapter_digest);
    let moved = (after.train_loss - before.train_loss).abs();
    assert!(moved < 0.5, "{} and then {}", before.train_loss, after.train_loss);
    let other = tempfile::tempdir().unwrap();
    let refused = goes_on(other.path(), 2).unwrap_err().to_string();
    assert!(refused.contains("lora_A.weight has "), "{refused}");
}

#[test]
fn a_job_keeps_the_adapter_that_it_is_told_to() {
    let first = tempfile::tempdir().unwrap();
    job(first.path(), 24, |_| {});
    run(first.path(), &mut |_| {}).unwrap();
    let adapter = first.path().join("adapter");
    let away = |keeps: bool, row_says: &str| {
        let dir = tempfile::tempdir().unwrap();
        job(dir.path(), 12, |job| {
            job.start = Some(adapter.clone());
            job.kept = keeps.then(|| adapter.clone());
            (job.training.epochs, job.training.dropout) = (1, 0.0);
        });
        let rows = of_kind(12, "rehearsal").replace("\"split\"", &format!("{row_says}\"split\""));
        fs_err::write(dir.path().join("rows.jsonl"), rows).unwrap();
        let mut lines = Vec::new();
        run(dir.path(), &mut |line| lines.push(line.clone())).unwrap();
        lines.iter().find_map(|line| line.loss).unwrap()
    };
    let (from_kept, from_base) = (away(true, ""), away(false, ""));
    assert!(from_kept.abs() < 1e-3 && from_base > 0.01, "{from_kept} {from_base}");
    let row_by_row = away(true, r#""teacher":"base","#);
    assert_eq!(row_by_row, from_base, "a row may say that it keeps the base");
}

#[test]
fn accumulation_and_cuts_give_the_big_batch() {
    let bytes = |batch_size, accumulation, batch_tokens| {
        let dir = tempfile::tempdir().unwrap();
        job(dir.path(), 12, |job| {
            job.training.dropout = 0.0;
            job.training.epochs = 1;
            job.training.learning_rate = 1e-4;
            job.training.batch_size = batch_size;
            job.training.accumulation = accumulation;
            job.training.batch_tokens = batch_tokens;
        });
        let mut norms = Vec::new();
        run(dir.path(), &mut |line| norms.extend(line.gradient_norm.zip(line.loss))).unwrap();
        norms
    };
    let whole = bytes(8, 1, 4096);
    assert_eq!(whole.len(), 2);
    for cut in [bytes(4, 2, 4096), bytes(2, 4, 4096), bytes(8, 1, 60)] {
        // The first step starts from the same weights, so only rounding differs.
        let ((norm, loss), (cut_norm, cut_loss)) = (whole[0], cut[0]);
        assert!((loss - cut_loss).abs() < 1e-5 * loss, "{loss} {cut_loss}");
        assert!((norm - cut_norm).abs() < 1e-4 * norm, "{norm} {cut_norm}");
    }
}

#[test]
fn a_loss_that_breaks_down_names_its_step() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path(), 12, |job| {
        job.training.learning_rate = 1e30;
        job.training.warmup_ratio = 0.0;
    });
    let error = run(dir.path(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::NonFinite { step: 1..=3, .. }), "{error}");
    assert!(!dir.path().join("adapter").exists());
    assert!(TrainingOutcome::read(dir.path()).unwrap().is_none());
}

#[test]
fn training_ends_when_validation_no_longer_improves() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path(), 12, |job| {
        job.training.epochs = 12;
        job.training.learning_rate = 2e-2;
        job.training.early_stop_patience = 1;
    });
    fs_err::write(dir.path().join("rows.jsonl"), measured()).unwrap();
    let outcome = run(dir.path(), &mut |_| {}).unwrap();
    assert!(outcome.stopped_early, "{outcome:?}");
    assert!(outcome.best_step < outcome.steps && outcome.steps < 24);
}

#[test]
fn a_few_validation_rows_stop_nothing_and_choose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path(), 12, |job| {
        job.training.epochs = 6;
        job.training.learning_rate = 2e-2;
        job.training.early_stop_patience = 1;
    });
    let mut losses = Vec::new();
    let outcome = run(dir.path(), &mut |line| {
        losses.extend(line.validation_loss.filter(|_| line.phase == Phase::Validate));
    })
    .unwrap();
    assert!(losses.windows(2).any(|pair| pair[0] < pair[1]), "it could have stopped: {losses:?}");
    assert!(!outcome.stopped_early);
    assert_eq!((outcome.steps, outcome.best_step), (18, 18));
    assert_eq!(outcome.validation_loss.as_ref(), losses.last());
}

#[test]
fn rounds_follow_until_what_is_taught_is_learned() {
    let trained = |learned_loss| {
        let dir = tempfile::tempdir().unwrap();
        job(dir.path(), 12, |job| {
            (job.training.epochs, job.training.rounds) = (1, 3);
            job.training.learned_loss = learned_loss;
        });
        let mut lines = Vec::new();
        let outcome = run(dir.path(), &mut |line| lines.push(line.clone())).unwrap();
        (outcome, lines)
    };
    let (one, lines) = trained(100.0);
    assert_eq!((one.steps, one.epochs), (3, 1.0));
    let says = |lines: &[TrainingProgress], what| {
        lines.iter().filter(|line| line.message.ends_with(what)).count()
    };
    assert_eq!((says(&lines, ", learned"), says(&lines, "it goes on")), (1, 0));

    let (all, lines) = trained(0.0);
    assert_eq!((all.steps, all.epochs), (9, 3.0));
    assert_eq!((says(&lines, ", learned"), says(&lines, "it goes on")), (0, 2));
    let steps: Vec<&TrainingProgress> =
        lines.iter().filter(|line| line.phase == Phase::Train).collect();
    // The schedule begins anew, and no line promises fewer steps than there are.
    let rates: Vec<f64> = steps.iter().map(|line| line.learning_rate).collect();
    assert_eq!((&rates[..3], &rates[..3]), (&rates[3..6], &rates[6..]));
    assert_eq!(
        steps.iter().map(|line| line.steps).collect::<Vec<_>>(),
        [3, 3, 3, 6, 6, 6, 9, 9, 9]
    );
    assert!(all.train_loss < one.train_loss);
}

#[test]
fn rows_that_only_keep_train_without_breaking_down() {
    for (kl_weight, rounds) in [(1.0, 3), (0.5, 1)] {
        let dir = tempfile::tempdir().unwrap();
        job(dir.path(), 12, |job| {
            job.training.kl_weight = kl_weight;
            job.training.rounds = rounds;
            job.training.learned_loss = 0.0;
        });
        fs_err::write(dir.path().join("rows.jsonl"), of_kind(12, "rehearsal")).unwrap();
        let mut lines = Vec::new();
        let ended = run(dir.path(), &mut |line| lines.push(line.clone()));
        // An adapter that learnt nothing is the base, and is not exported.
        assert!(matches!(ended, Ok(_) | Err(Error::NoEffect)), "{ended:?}");
        let steps: Vec<&TrainingProgress> =
            lines.iter().filter(|it| it.phase == Phase::Train).collect();
        // Nothing is taught, so one round is enough.
        assert_eq!(steps.len(), 6);
        for step in steps {
            assert!(step.loss.unwrap().abs() < 1.0, "{step:?}");
            assert!(step.gradient_norm.unwrap().is_finite());
        }
    }
}

#[test]
fn a_scaled_adapter_has_half_of_the_update_and_loads() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path(), 12, |job| job.training.epochs = 1);
    run(dir.path(), &mut |_| {}).unwrap();
    let whole = dir.path().join("adapter");
    let (half, same) = (dir.path().join("half"), dir.path().join("same"));
    export::scaled(&whole, &half, 0.5).unwrap();
    export::scaled(&whole, &same, 1.0).unwrap();
    let bytes = |of: &Path| fs_err::read(of.join("adapter_model.safetensors")).unwrap();
    assert_eq!(bytes(&same), bytes(&whole));
    let (whole_bytes, half_bytes) = (bytes(&whole), bytes(&half));
    let whole_file = safetensors::SafeTensors::deserialize(&whole_bytes).unwrap();
    let half_file = safetensors::SafeTensors::deserialize(&half_bytes).unwrap();
    assert_eq!(half_file.names().len(), whole_file.names().len());
    for (name, tensor) in whole_file.tensors() {
        let factor = if name.contains("lora_B") { 0.5 } else { 1.0 };
        let scaled: Vec<f32> = floats(&tensor).iter().map(|value| value * factor).collect();
        assert_eq!(scaled, floats(&half_file.tensor(&name).unwrap()), "{name}");
    }
    let model = Model::open(base(), 1).unwrap();
    let load = |dir: &Path| model.load_adapter(dir).unwrap();
    assert_ne!(load(&half).digest(), load(&whole).digest());
    assert!(export::scaled(&dir.path().join("none"), &half, 0.5).is_err());
}

fn floats(tensor: &safetensors::tensor::TensorView<'_>) -> Vec<f32> {
    let bytes = tensor.data().chunks_exact(4);
    bytes.map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}

/// The loss of the supervised tokens under an adapter that serves.
fn served_loss(model: &Model, adapter: &Adapter, rows: &[TrainSequence]) -> f64 {
    let mut served = 0.0;
    for row in rows {
        let mut cache = KvCache::new(model.config());
        let logits = model
            .forward(
                &mut [Segment {
                    tokens: &row.tokens,
                    cache: &mut cache,
                    adapter: Some(adapter),
                    logits: LogitsFor::All,
                }],
                &mut Scratch::new(),
            )
            .unwrap();
        for at in (1..row.tokens.len()).filter(|at| row.supervised[*at]) {
            let logits = logits.row(at - 1);
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|l| f64::from(l - largest).exp()).sum();
            served += sum.ln() + f64::from(largest - logits[row.tokens[at] as usize]);
        }
    }
    served
}

/// The loss that training reports is that of the served logits with the exported adapter: the same where its products round
/// nothing, and nearly where they round to bytes.
#[test]
fn the_exported_adapter_serves_what_was_trained() {
    let dir = tempfile::tempdir().unwrap();
    job(dir.path(), 12, |job| job.training.dropout = 0.0);
    run(dir.path(), &mut |_| {}).unwrap();
    let model = Model::open(base(), 2).unwrap();
    let job = Job::read(dir.path()).unwrap();
    let rows = read_rows(&job, &model).unwrap();
    let folder = dir.path().join("adapter");
    let [exact, served] = [WeightFormat::F32, model.adapter_format()].map(|format| {
        let home = AdapterHome { device: model.device(), format };
        let adapter = Adapter::load(&folder, model.config(), home).unwrap();
        served_loss(&model, &adapter, &rows.validation)
    });
    let model = Arc::new(model);
    let layout = LoraLayout::new(model.config(), 4, 8.0, &job.training.target_modules).unwrap();
    let file = fs_err::read(dir.path().join("adapter/adapter_model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    let trainable = Trainable::new(Arc::clone(&model), layout);
    let adapters: Vec<candle_core::Tensor> = (0..model.config().num_layers)
        .map(|layer| {
            let mut flat = vec![0.0_f32; trainable.layout().len()];
            for slot in trainable.layout().slots() {
                for (matrix, range) in [('A', slot.a.clone()), ('B', slot.b.clone())] {
                    let path = slot.target.path;
                    let name = format!(
                        "base_model.model.model.layers.{layer}.{path}.lora_{matrix}.weight"
                    );
                    let tensor = file.tensor(&name).unwrap();
                    flat[range].copy_from_slice(&floats(&tensor));
                }
            }
            let length = flat.len();
            candle_core::Tensor::from_vec(flat, length, &candle_core::Device::Cpu).unwrap()
        })
        .collect();
    let batch = Arc::new(TrainBatch::new(model.config(), &rows.validation).unwrap());
    let loss = trainable.loss(&adapters, &batch, &Pass::default()).unwrap();
    let trained = f64::from(loss.to_scalar::<f32>().unwrap());
    assert!((trained - exact).abs() < 1e-4 * exact, "trained {trained}, served in f32 {exact}");
    assert!((trained - served).abs() < 0.03 * served, "trained {trained}, served {served}");
}

#[test]
fn a_plan_that_does_not_fit_is_refused_and_auto_recomputes_first() {
    let model = Arc::new(Model::open(base(), 1).unwrap());
    let names = TrainingConfig::plain().target_modules;
    let layout = LoraLayout::new(model.config(), 16, 32.0, &names).unwrap();
    let plan = |tokens, bytes| {
        let work = probe::Work {
            config: model.config(),
            format: model.format(),
            layout: &layout,
            tokens,
            recompute: Recompute::Auto,
        };
        work.plan(&Room { bytes, by: "the test".to_owned() })
    };
    let roomy = plan(1024, 16 << 30).unwrap();
    assert!(roomy.keep);
    let weights = hone_model::packed_bytes(model.config(), model.format());
    let tight = plan(1024, roomy.bytes + weights).unwrap();
    assert!(!tight.keep && tight.bytes < roomy.bytes);
    let error = plan(1024, 50 << 20).unwrap_err().to_string();
    assert!(error.contains("for weights") && error.contains("50 MiB (the test)"), "{error}");
    let error = plan(2000 * 2000, 16 << 30).unwrap_err().to_string();
    assert!(error.contains("for training") && error.contains("16384 MiB"), "{error}");
}

#[test]
fn the_bench_counts_what_it_ran() {
    let model = Arc::new(Model::open(base(), 2).unwrap());
    let shape = BenchShape { sequences: 2, length: 16, rank: 4, supervised: 1.0, recompute: false };
    let figures = bench(&model, shape, 1).unwrap();
    assert!(figures.tokens_per_second > 0.0 && figures.loss.is_finite());
    assert!(figures.forward_seconds + figures.backward_seconds <= figures.seconds);
}
