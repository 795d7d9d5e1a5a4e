//! Whole products on emulated tiles, as the device runs them, against the portable kernels.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{SHAPE, emulated::Emulated};
use crate::{
    Buffer, Cpu, InstructionSet, PackedMatrix, WeightFormat,
    cpu::{
        kernels::{Kernels, Product, TileShape, portable::Portable},
        pool::Pool,
    },
    ops::{LowRank, LowRankPart, MemoryOps as _, ProductOps as _, Projection, SharedInput},
};

unsafe fn product(p: &Product, panels: std::ops::Range<usize>, rows: std::ops::Range<usize>) {
    // SAFETY: the caller keeps the contract of the kernel.
    unsafe {
        if super::takes(p) {
            super::product::<Portable, Emulated>(p, panels, rows);
        } else {
            crate::cpu::kernels::matmul::product::<Portable>(p, panels, rows);
        }
    }
}

/// A device whose products are on emulated tiles.
fn emulated(threads: usize) -> Cpu {
    let plain = Kernels::of(InstructionSet::Portable).unwrap();
    let tiles = Some(TileShape { least: 1, ..SHAPE });
    let kernels = Kernels { tiles, product, ..*plain };
    Cpu {
        kernels: Box::leak(Box::new(kernels)),
        pool: Pool::new(threads).unwrap(),
        activations: std::sync::Mutex::default(),
    }
}

fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0_f32..1.0)).collect()
}

/// A product, and the same added to ones.
fn forward(device: &Cpu, matrix: &PackedMatrix, x: &[f32]) -> [Vec<f32>; 2] {
    let rows = x.len() / matrix.inputs();
    let (held, x) = (device.hold(matrix.clone()), device.upload(x.to_vec()));
    let run = |mut y: Buffer, add| {
        device.product(&held, &x, &mut y, add);
        device.download(y)
    };
    let ones = device.upload(vec![1.0; rows * matrix.outputs()]);
    [run(device.zeros(rows * matrix.outputs()), None), run(ones, Some(-0.5))]
}

fn near(found: &[f32], exact: &[f32], limit: f32) {
    assert_eq!(found.len(), exact.len());
    for (a, b) in found.iter().zip(exact) {
        assert!((a - b).abs() <= limit, "{a} for {b}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn integers_have_the_bits_of_the_other_sets(
        rows in 1..50_usize, inputs in 1..300_usize, outputs in 1..70_usize, seed in 0..1000_u64,
    ) {
        let (plain, tiles) = (Cpu::with(InstructionSet::Portable, 1).unwrap(), emulated(2));
        let x = random(seed, rows * inputs);
        for format in [WeightFormat::Q8, WeightFormat::Q4] {
            let matrix = PackedMatrix::pack(format, inputs, outputs, &random(seed + 1, inputs * outputs));
            prop_assert_eq!(forward(&tiles, &matrix, &x), forward(&plain, &matrix, &x));
        }
    }

    #[test]
    fn bf16_is_near_the_other_sets_and_a_row_does_not_depend_on_its_company(
        rows in 1..70_usize, inputs in 1..200_usize, outputs in 1..70_usize, seed in 0..1000_u64,
    ) {
        let (plain, tiles) = (Cpu::with(InstructionSet::Portable, 1).unwrap(), emulated(2));
        let (x, weights) = (random(seed, rows * inputs), random(seed + 1, inputs * outputs));
        let matrix = PackedMatrix::pack(WeightFormat::Bf16, inputs, outputs, &weights);
        let found = forward(&tiles, &matrix, &x);
        for (found, exact) in found.iter().zip(forward(&plain, &matrix, &x)) {
            near(found, &exact, 1e-5 * inputs as f32);
        }
        let row = seed as usize % rows;
        let alone = forward(&tiles, &matrix, &x[row * inputs..][..inputs]);
        prop_assert_eq!(&alone[0][..], &found[0][row * outputs..][..outputs]);
    }

    #[test]
    fn gradients_are_those_of_rounded_weights(
        rows in 1..40_usize, inputs in 1..90_usize, outputs in 1..90_usize, seed in 0..1000_u64,
    ) {
        let plain = Cpu::with(InstructionSet::Portable, 1).unwrap();
        let tiles = Cpu { kernels: Box::leak(Box::new(Kernels { fast_bf16: true, ..*emulated(1).kernels })), ..emulated(2) };
        let dy = random(seed, rows * outputs);
        for format in [WeightFormat::Bf16, WeightFormat::Q8, WeightFormat::Q4] {
            let matrix = PackedMatrix::pack(format, inputs, outputs, &random(seed + 1, inputs * outputs));
            let run = |device: &Cpu| {
                let mut dx = device.upload(vec![1.0; rows * inputs]);
                let dy = device.upload(dy.clone());
                device.product_backward(&device.hold(matrix.clone()), &dy, &mut dx, Some(2.0));
                device.download(dx)
            };
            near(&run(&tiles), &run(&plain), outputs as f32 / 64.0);
        }
    }
}

/// Layers on tiles, and an adapter in bytes that reads the same rows beside them.
#[test]
fn adapters_in_bytes_have_the_bits_of_the_other_sets() {
    let (rows, inputs, outputs, rank) = (37, 130, 50, 9);
    let x = random(1, rows * inputs);
    let run = |device: &Cpu| {
        let hold = |inputs: usize, outputs: usize, seed| {
            let weights = random(seed, inputs * outputs);
            device.hold(PackedMatrix::pack(WeightFormat::Q8, inputs, outputs, &weights))
        };
        let layer = Projection { weight: hold(inputs, outputs, 2), bias: None };
        let part = LowRankPart { b: hold(rank, outputs, 3), from: 0, scale: 0.5 };
        let adapter = LowRank { a: hold(inputs, rank, 4), parts: vec![Some(part)] };
        let x = device.upload(x.clone());
        let (mut y, mut hidden) = (device.zeros(rows * outputs), Buffer::default());
        let adapters = [(5..20, &adapter)];
        let input = SharedInput { x: &x, dropped: None, adapters: &adapters };
        device.project(input, &mut [(&layer, &mut y)], None, &mut hidden);
        (device.download(y), device.download(hidden))
    };
    let (plain, tiles) = (Cpu::with(InstructionSet::Portable, 1).unwrap(), emulated(2));
    assert_eq!(run(&tiles), run(&plain));
}

/// More rows, inputs and outputs than stay in the caches at once.
#[test]
fn large_products_come_together_from_their_parts() {
    let (rows, inputs, outputs) = (300, 1100, 40);
    let (plain, tiles) = (Cpu::with(InstructionSet::best(), 2).unwrap(), emulated(2));
    let x = random(1, rows * inputs);
    for format in [WeightFormat::Q8, WeightFormat::Q4, WeightFormat::Bf16] {
        let matrix = PackedMatrix::pack(format, inputs, outputs, &random(2, inputs * outputs));
        let (found, exact) = (forward(&tiles, &matrix, &x), forward(&plain, &matrix, &x));
        if format == WeightFormat::Bf16 {
            near(&found[0], &exact[0], 1e-3);
        } else {
            assert_eq!(found, exact);
        }
    }
}
