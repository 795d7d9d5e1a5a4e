//! Loss and gradients of the starter model against PyTorch and PEFT (`tests/golden/make.py`).
#![cfg(test)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use hone_model::train::{LoraLayout, Pass, TrainBatch, TrainSequence, Trainable};
use hone_model::{LoraTarget, Model, Module, Source, WeightFormat, prepare};

fn golden(name: &str) -> HashMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// The starter in f32 with the adapter of the golden files, and three answered questions.
struct World {
    model: Arc<Model>,
    trainable: Trainable,
    tensors: Vec<Tensor>,
    sequences: Vec<TrainSequence>,
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

fn name(layer: usize, target: &LoraTarget, matrix: char) -> String {
    format!("base_model.model.model.layers.{layer}.{}.lora_{matrix}.weight", target.path)
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("starter");
    let packed = prepare(&Source::Folder(starter), WeightFormat::F32, dir.path()).unwrap();
    let model = Arc::new(Model::open(&packed, 2).unwrap());
    let modules = Module::ALL.map(|module| module.name().to_owned());
    let layout = LoraLayout::new(model.config(), 8, 16.0, &modules).unwrap();
    let trainable = Trainable::new(Arc::clone(&model), layout);
    let adapter = golden("peft_adapter/adapter_model.safetensors");
    let variable = |layer| {
        let mut flat = vec![0.0; trainable.layout().len()];
        for slot in trainable.layout().slots() {
            let a = floats(&adapter[&name(layer, slot.target, 'A')]);
            let b = floats(&adapter[&name(layer, slot.target, 'B')]);
            flat[slot.a.clone()].copy_from_slice(&a);
            flat[slot.b.clone()].copy_from_slice(&b);
        }
        Var::from_vec(flat, trainable.layout().len(), &Device::Cpu).unwrap()
    };
    let layers = model.config().num_layers;
    let tensors = (0..layers).map(|layer| variable(layer).as_tensor().clone()).collect();

    let expected = golden("gradients.safetensors");
    let integers = |key: &str| -> Vec<u32> {
        let tensor = expected[key].to_dtype(candle_core::DType::F32).unwrap();
        floats(&tensor).into_iter().map(|value| value as u32).collect()
    };
    let sequences = (0..3)
        .map(|i| {
            let tokens = integers(&format!("ids.{i}"));
            let prompt = integers(&format!("prompt_length.{i}"))[0] as usize;
            let supervised = (0..tokens.len()).map(|at| at >= prompt).collect();
            TrainSequence { tokens, supervised, imitated: true, kl_to_base: Vec::new() }
        })
        .collect();
    World { model, trainable, tensors, sequences }
}

/// Compares the mean loss and the gradients of some layers with a golden file.
fn check(world: &World, pass: &Pass, file: &str, layers: &[usize]) {
    let expected = golden(file);
    let batch = Arc::new(TrainBatch::new(world.model.config(), &world.sequences).unwrap());
    let count = batch.supervised_tokens() as f64;
    let sum = world.trainable.loss(&world.tensors, &batch, pass).unwrap();
    let loss = (sum / count).unwrap();
    let found = loss.to_scalar::<f32>().unwrap();
    let wanted = floats(&expected["loss"])[0];
    assert!((found - wanted).abs() < 1e-4 * wanted, "loss {found}, PEFT {wanted}");

    let store = loss.backward().unwrap();
    let mut worst = 0.0_f32;
    for &layer in layers {
        let gradient = floats(store.get(&world.tensors[layer]).unwrap());
        for slot in world.trainable.layout().slots() {
            for (matrix, range) in [('A', slot.a.clone()), ('B', slot.b.clone())] {
                let key = format!("grad.{}", name(layer, slot.target, matrix));
                let wanted = floats(&expected[&key]);
                let found = &gradient[range];
                let norm = |values: &mut dyn Iterator<Item = f32>| {
                    values.map(|v| v * v).sum::<f32>().sqrt()
                };
                let distance = norm(&mut wanted.iter().zip(found).map(|(w, f)| w - f));
                let relative = distance / norm(&mut wanted.iter().copied());
                worst = worst.max(relative);
                assert!(relative < 1e-3, "{key}: relative distance {relative}");
            }
        }
    }
    assert!(worst > 0.0, "bit-equal to another implementation: the comparison is not real");
}

#[test]
fn loss_and_gradients_agree_with_peft() {
    check(&world(), &Pass::default(), "gradients.safetensors", &[0, 3, 5]);
}

#[test]
fn loss_and_gradients_with_the_divergence_from_the_base_agree_with_peft() {
    let mut world = world();
    for sequence in &mut world.sequences {
        sequence.kl_to_base = vec![true; sequence.tokens.len()];
    }
    let pass = Pass { kl_weight: 0.5, ..Pass::default() };
    check(&world, &pass, "anchored.safetensors", &[3]);
}
