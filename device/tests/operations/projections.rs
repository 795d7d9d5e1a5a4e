//! Products of layers that share their input, with adapters beside some of the rows.

use std::ops::Range;

use hone_device::{
    Buffer, Device, Matrix, PackedMatrix, WeightFormat,
    ops::{LowRank, LowRankPart, Projection, SharedInput},
};
use proptest::prelude::*;

use super::cases::{agree, cases, devices, random, upload};

const INPUTS: usize = 72;
const OUTPUTS: [usize; 3] = [40, 16, 100];

fn matrix(
    device: &dyn Device,
    format: WeightFormat,
    inputs: usize,
    outputs: usize,
    seed: u64,
) -> Matrix {
    let weights = random(seed, inputs * outputs);
    device.hold(PackedMatrix::pack(format, inputs, outputs, &weights))
}

fn layers(device: &dyn Device, format: WeightFormat, biased: bool) -> [Projection; 3] {
    OUTPUTS.map(|outputs| Projection {
        weight: matrix(device, format, INPUTS, outputs, outputs as u64),
        bias: (biased && outputs != 16)
            .then(|| upload(device, &random(outputs as u64 + 1, outputs))),
    })
}

/// An adapter of all layers but the second.
fn adapter(device: &dyn Device, format: WeightFormat, rank: usize, seed: u64) -> LowRank {
    let part = |from, outputs| {
        let b = matrix(device, format, rank, outputs, seed + outputs as u64);
        Some(LowRankPart { b, from, scale: 0.7 })
    };
    LowRank {
        a: matrix(device, format, INPUTS, 2 * rank, seed),
        parts: vec![part(rank, OUTPUTS[0]), None, part(0, OUTPUTS[2])],
    }
}

/// The results of all layers, and the products with A.
fn run(
    device: &dyn Device,
    layers: &[Projection; 3],
    input: SharedInput<'_>,
    add: Option<f32>,
) -> Vec<Buffer> {
    let rows = input.x.len() / INPUTS;
    let mut hidden = Buffer::default();
    let mut outs = OUTPUTS.map(|outputs| upload(device, &random(9, rows * outputs)));
    let mut pairs: Vec<_> = layers.iter().zip(&mut outs).collect();
    device.project(input, &mut pairs, add, &mut hidden);
    outs.into_iter().chain([hidden]).collect()
}

fn adapter_formats() -> impl Strategy<Value = WeightFormat> {
    prop::sample::select(vec![WeightFormat::F32, WeightFormat::Bf16, WeightFormat::Q8])
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn all_devices_agree_with_the_reference(
        rows in 2..12_usize, rank in 1..80_usize, biased: bool, dropped: bool, format in adapter_formats(),
        seed in 0..1000_u64,
    ) {
        let x = random(seed, rows * INPUTS);
        let other = random(seed + 1, rows * INPUTS);
        // Bytes are not trained. They round what A gives, of magnitudes of about 10, once more, and B adds up so many of them.
        let in_bytes = format == WeightFormat::Q8;
        let dropped = dropped && !in_bytes;
        let limit = if in_bytes { 0.07 * ((rank + 1) as f64).sqrt() } else { 1e-4 };
        for add in [None, Some(0.5)] {
            let biased = biased && add.is_none();
            agree("projection", limit, |device| {
                let layers = layers(device, WeightFormat::F32, biased);
                let adapters = [rank, rank + 1].map(|rank| adapter(device, format, rank, rank as u64));
                let (x, other) = (upload(device, &x), upload(device, &other));
                // The first rows have one, the last another, and those between have none.
                let ranges: [Range<usize>; 2] = [0..rows / 3, rows / 2..rows];
                let adapters: Vec<_> = ranges.into_iter().zip(&adapters).collect();
                let dropped = dropped.then_some(&other);
                run(device, &layers, SharedInput { x: &x, dropped, adapters: &adapters }, add)
            });
        }
    }
}

#[test]
fn layers_together_equal_layers_alone() {
    let x = random(1, 5 * INPUTS);
    for tested in devices() {
        let device = &*tested.device;
        for format in WeightFormat::ALL {
            let (layers, x) = (layers(device, format, false), upload(device, &x));
            let input = SharedInput { x: &x, dropped: None, adapters: &[] };
            let together = run(device, &layers, input, None);
            for (layer, together) in layers.iter().zip(together) {
                let mut alone = device.zeros(5 * layer.weight.outputs());
                device.product(&layer.weight, &x, &mut alone, None);
                assert_eq!(device.download(together), device.download(alone));
            }
        }
    }
}

#[test]
fn rows_without_an_adapter_are_those_of_the_base() {
    let x = random(1, 6 * INPUTS);
    for tested in devices() {
        let device = &*tested.device;
        for format in WeightFormat::ALL {
            let (layers, x) = (layers(device, format, true), upload(device, &x));
            for adapted in [WeightFormat::Bf16, WeightFormat::Q8] {
                let one = adapter(device, adapted, 4, 3);
                let with = |adapters: &[(Range<usize>, &LowRank)]| {
                    let input = SharedInput { x: &x, dropped: None, adapters };
                    device.download(run(device, &layers, input, None).swap_remove(0))
                };
                let (base, adapted) = (with(&[]), with(&[(2..4, &one)]));
                let width = OUTPUTS[0];
                assert_eq!(base[..2 * width], adapted[..2 * width]);
                assert_eq!(base[4 * width..], adapted[4 * width..]);
                assert_ne!(base[2 * width..4 * width], adapted[2 * width..4 * width]);
            }
        }
    }
}
