//! Model and adapter folders: packing once, and what is refused.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test fails by panicking, and prints what it measured

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use hone_device::Cpu;
use hone_model::{Adapter, AdapterHome, Error, Model, ModelConfig, Source, WeightFormat, prepare};

fn starter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("starter")
}

fn peft() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/peft_adapter")
}

fn config() -> ModelConfig {
    ModelConfig::parse(&std::fs::read(starter().join("config.json")).unwrap(), None).unwrap()
}

fn cpu() -> Cpu {
    Cpu::new(1).unwrap()
}

fn home(cpu: &Cpu) -> AdapterHome<'_> {
    AdapterHome { device: cpu, format: WeightFormat::F32 }
}

/// A copy of a folder's files, to be damaged.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    to
}

/// How many packed bases there are; nothing else lies beside them but what is known of their sources.
fn packed_in(base: &Path) -> usize {
    let names = std::fs::read_dir(base).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    let is_digest = |name: &&String| name.len() == 64 && !name.starts_with('.');
    let packed = names.iter().filter(is_digest).count();
    assert!(names.iter().all(|name| is_digest(&name) || name == "sources"), "{names:?}");
    packed
}

#[test]
fn packing_is_done_once_and_leaves_nothing_beside() {
    let base = tempfile::tempdir().unwrap();
    let source = Source::Folder(starter());
    let first = prepare(&source, WeightFormat::Q8, base.path()).unwrap();
    let written = std::fs::metadata(first.join("weights.hone")).unwrap().modified().unwrap();
    assert_eq!(prepare(&source, WeightFormat::Q8, base.path()).unwrap(), first);
    let again = std::fs::metadata(first.join("weights.hone")).unwrap().modified().unwrap();
    assert_eq!(written, again);
    let other = prepare(&source, WeightFormat::Q4, base.path()).unwrap();
    assert_ne!(first, other);
    assert_eq!(packed_in(base.path()), 2);
    let model = Model::open(&first, 1).unwrap();
    assert_eq!(first.file_name().unwrap().to_str(), Some(model.digest()));
    assert_eq!(model.config().eos_token_ids, [2, 0]);
}

#[test]
fn two_at_once_make_one_folder() {
    let base = tempfile::tempdir().unwrap();
    let packed: Vec<PathBuf> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| prepare(&Source::Folder(starter()), WeightFormat::Q8, base.path()))
            })
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap().unwrap()).collect()
    });
    assert!(packed.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(packed_in(base.path()), 1);
}

/// Damages a model folder.
type Edit = Box<dyn Fn(&Path)>;

#[test]
fn wrong_model_folders_are_refused_by_name() {
    let base = tempfile::tempdir().unwrap();
    let refusal = |edit: &dyn Fn(&Path)| {
        let folder = copy(&starter());
        edit(folder.path());
        let source = Source::Folder(folder.path().into());
        prepare(&source, WeightFormat::Q8, base.path()).unwrap_err().to_string()
    };
    fn set(folder: &Path, key: &str, value: serde_json::Value) {
        let path = folder.join("config.json");
        let mut json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        json[key] = value;
        std::fs::write(path, json.to_string()).unwrap();
    }
    let cases: [(&str, Edit); 6] = [
        ("tokenizer.json", Box::new(|f| std::fs::remove_file(f.join("tokenizer.json")).unwrap())),
        (
            "model.safetensors",
            Box::new(|f| std::fs::remove_file(f.join("model.safetensors")).unwrap()),
        ),
        (
            "GPT2LMHeadModel",
            Box::new(|f| set(f, "architectures", serde_json::json!(["GPT2LMHeadModel"]))),
        ),
        (
            "layers.6.input_layernorm.weight is missing",
            Box::new(|f| set(f, "num_hidden_layers", 7.into())),
        ),
        ("asks for [4097, 512]", Box::new(|f| set(f, "vocab_size", 4097.into()))),
        ("no lm_head.weight", Box::new(|f| set(f, "tie_word_embeddings", false.into()))),
    ];
    for (word, edit) in cases {
        let message = refusal(&*edit);
        assert!(message.contains(word), "{message}");
    }
    let leftovers = std::fs::read_dir(base.path()).unwrap().count();
    assert_eq!(leftovers, 0, "a refused model leaves nothing behind");
}

fn tensors() -> HashMap<String, Tensor> {
    candle_core::safetensors::load(peft().join("adapter_model.safetensors"), &Device::Cpu).unwrap()
}

const Q_A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

fn refused_adapter(edit: impl Fn(&mut HashMap<String, Tensor>)) -> String {
    let folder = copy(&peft());
    let mut all = tensors();
    edit(&mut all);
    candle_core::safetensors::save(&all, folder.path().join("adapter_model.safetensors")).unwrap();
    Adapter::load(folder.path(), &config(), home(&cpu())).unwrap_err().to_string()
}

#[test]
fn wrong_adapters_are_refused_by_tensor() {
    let nan = refused_adapter(|all| {
        let bad = (all[Q_A].clone() * f64::NAN).unwrap();
        all.insert(Q_A.into(), bad);
    });
    assert!(nan.contains("not finite") && nan.contains(Q_A), "{nan}");
    let shape = refused_adapter(|all| {
        let bad = all[Q_A].narrow(1, 0, 500).unwrap().contiguous().unwrap();
        all.insert(Q_A.into(), bad);
    });
    assert!(shape.contains("[8, 500]") && shape.contains("[8, 512]"), "{shape}");
    let partner = refused_adapter(|all| drop(all.remove(Q_A)));
    assert!(partner.contains("missing") && partner.contains(Q_A), "{partner}");
    let stray = refused_adapter(|all| {
        let extra = all[Q_A].clone();
        all.insert("base_model.model.lm_head.lora_A.weight".into(), extra);
    });
    assert!(stray.contains("lm_head"), "{stray}");
}

#[test]
fn a_truncated_adapter_file_is_refused() {
    let folder = copy(&peft());
    let path = folder.path().join("adapter_model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(matches!(
            Adapter::load(folder.path(), &config(), home(&cpu())),
            Err(Error::Invalid { .. })
        ));
    }
}

#[test]
fn adapter_kinds_beyond_lora_are_refused_by_name() {
    for (key, value) in [
        ("use_dora", serde_json::json!(true)),
        ("bias", serde_json::json!("all")),
        ("peft_type", serde_json::json!("IA3")),
        ("modules_to_save", serde_json::json!(["lm_head"])),
        ("fan_in_fan_out", serde_json::json!(true)),
    ] {
        let folder = copy(&peft());
        let path = folder.path().join("adapter_config.json");
        let mut json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        json[key] = value;
        std::fs::write(&path, json.to_string()).unwrap();
        let message =
            Adapter::load(folder.path(), &config(), home(&cpu())).unwrap_err().to_string();
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn options_that_ask_for_nothing_are_no_fault() {
    let folder = copy(&peft());
    let path = folder.path().join("adapter_config.json");
    let json = std::fs::read(&path).unwrap();
    for option in ["use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save"]
    {
        for nothing in [serde_json::json!(null), serde_json::json!(0), serde_json::json!([])] {
            let mut json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            json[option] = nothing;
            std::fs::write(&path, json.to_string()).unwrap();
            Adapter::load(folder.path(), &config(), home(&cpu())).unwrap();
        }
    }
}

#[test]
fn an_adapter_names_itself_by_its_bytes() {
    let adapter = Adapter::load(&peft(), &config(), home(&cpu())).unwrap();
    assert_eq!((adapter.rank(), adapter.alpha()), (8, 16.0));
    assert_eq!(adapter.digest().len(), 64);
    assert_eq!(adapter.digest(), Adapter::load(&peft(), &config(), home(&cpu())).unwrap().digest());
}

#[cfg(feature = "starter")]
#[test]
fn the_starter_in_the_binary_is_the_one_in_the_folder() {
    let base = tempfile::tempdir().unwrap();
    let embedded = prepare(&Source::Starter, WeightFormat::Q8, base.path()).unwrap();
    assert_eq!(
        prepare(&Source::Folder(starter()), WeightFormat::Q8, base.path()).unwrap(),
        embedded
    );
    let workloads = std::fs::read_dir(starter().join("workloads")).unwrap().count();
    assert_eq!(hone_model::starter::workloads().len(), workloads);
    assert_eq!(hone_model::starter::workload("triage").unwrap().lines().count(), 600);
    assert!(hone_model::starter::card().unwrap().contains("Hone starter"));
}

#[cfg(not(feature = "starter"))]
#[test]
fn without_the_feature_the_starter_is_refused_with_a_way_out() {
    let base = tempfile::tempdir().unwrap();
    let error = prepare(&Source::Starter, WeightFormat::Q8, base.path()).unwrap_err().to_string();
    assert!(error.contains("--features starter"), "{error}");
}

#[test]
fn leftovers_of_a_killed_packing_are_removed_and_what_is_written_stays() {
    let base = tempfile::tempdir().unwrap();
    let (left, busy) = (base.path().join(".unfinished-left"), base.path().join(".unfinished-busy"));
    for folder in [&left, &busy] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("weights.hone"), "half").unwrap();
    }
    // As another process does that packs.
    let lock = std::fs::File::open(&busy).unwrap();
    lock.lock().unwrap();
    prepare(&Source::Folder(starter()), WeightFormat::Q8, base.path()).unwrap();
    assert!(!left.exists() && busy.exists());
    drop(lock);
    prepare(&Source::Folder(starter()), WeightFormat::Q8, base.path()).unwrap();
    assert!(!busy.exists());
}
