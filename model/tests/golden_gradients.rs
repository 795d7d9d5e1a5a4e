//! Loss and gradients of the starter model against PyTorch and PEFT (`tests/golden/make.py`).
#![cfg(test)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use hone_model::train::{LoraLayout, Pass, TrainBatch, TrainSequence, Trainable};
use hone_model::{Model, Module, Source, WeightFormat, prepare};

fn golden(name: &str) -> HashMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

#[test]
fn loss_and_gradients_agree_with_peft() {
    let dir = tempfile::tempdir().unwrap();
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("starter");
    let packed = prepare(&Source::Folder(starter), WeightFormat::F32, dir.path()).unwrap();
    let model = Arc::new(Model::open(&packed, 2).unwrap());
    let modules = Module::ALL.map(|module| module.name().to_owned());
    let layout = LoraLayout::new(model.config(), 8, 16.0, &modules).unwrap();
    let trainable = Trainable::new(Arc::clone(&model), layout);

    let floats = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let name = |layer: usize, module: Module, matrix: char| {
        format!("base_model.model.model.layers.{layer}.{}.lora_{matrix}.weight", module.path())
    };
    let adapter = golden("peft_adapter/adapter_model.safetensors");
    let variables: Vec<Var> = (0..model.config().num_layers)
        .map(|layer| {
            let mut flat = vec![0.0; trainable.layout().len()];
            for slot in trainable.layout().slots() {
                let a = floats(&adapter[&name(layer, slot.module, 'A')]);
                let b = floats(&adapter[&name(layer, slot.module, 'B')]);
                flat[slot.a.clone()].copy_from_slice(&a);
                flat[slot.b.clone()].copy_from_slice(&b);
            }
            Var::from_vec(flat, trainable.layout().len(), &Device::Cpu).unwrap()
        })
        .collect();
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();

    let expected = golden("gradients.safetensors");
    let integers = |key: &str| -> Vec<u32> {
        let tensor = expected[key].to_dtype(candle_core::DType::F32).unwrap();
        floats(&tensor).into_iter().map(|value| value as u32).collect()
    };
    let sequences: Vec<TrainSequence> = (0..3)
        .map(|i| {
            let tokens = integers(&format!("ids.{i}"));
            let prompt = integers(&format!("prompt_length.{i}"))[0] as usize;
            let supervised = (0..tokens.len()).map(|at| at >= prompt).collect();
            TrainSequence { tokens, supervised }
        })
        .collect();
    let batch = Arc::new(TrainBatch::new(model.config(), &sequences).unwrap());
    let count = batch.supervised_tokens() as f64;
    let sum = trainable.loss(&tensors, &batch, &Pass::default()).unwrap();
    let loss = (sum / count).unwrap();
    let found = loss.to_scalar::<f32>().unwrap();
    let wanted = floats(&expected["loss"])[0];
    assert!((found - wanted).abs() < 1e-4 * wanted, "loss {found}, PEFT {wanted}");

    let store = loss.backward().unwrap();
    let mut worst = 0.0_f32;
    for layer in [0, 3, 5] {
        let gradient = floats(store.get(&tensors[layer]).unwrap());
        for slot in trainable.layout().slots() {
            for (matrix, range) in [('A', slot.a.clone()), ('B', slot.b.clone())] {
                let key = format!("grad.{}", name(layer, slot.module, matrix));
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
