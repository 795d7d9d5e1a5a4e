//! All instruction sets against plain Rust, and plain Rust against arithmetic written out.

mod oracle;
mod training;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    gemm::{Matrix, gemm},
    layout::{BLOCK, unpack_one, unpack_tile},
    simd::LANES,
    *,
};
use crate::{
    WeightFormat,
    linear::{Activations, Cpu, Linear, forward_all},
    pool::Pool,
};

fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0_f32..1.0)).collect()
}

fn cpu(kernels: &'static Kernels, threads: usize) -> Cpu {
    Cpu { kernels, pool: Pool::new(threads).unwrap() }
}

fn forward(cpu: &Cpu, layer: &Linear, x: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / layer.inputs() * layer.outputs()];
    layer.forward(cpu, &mut Activations::default(), x, &mut y, None);
    y
}

/// The matrix that a packed layer stands for, row-major `[outputs, inputs]`.
fn widened(layer: &Linear) -> Vec<f32> {
    let mut all = vec![0.0; layer.inputs() * layer.outputs()];
    for (index, row) in all.chunks_exact_mut(layer.inputs()).enumerate() {
        layer.row(index, row);
    }
    all
}

fn assert_near(ours: &[f32], exact: &[f64], limit: f64) {
    assert_eq!(ours.len(), exact.len());
    for (index, (a, b)) in ours.iter().zip(exact).enumerate() {
        assert!((f64::from(*a) - b).abs() <= limit, "element {index}: {a} for {b}");
    }
}

/// `a[m, k] · b[n, k]ᵀ` in f64.
fn exact(a: &[f32], b: &[f32], k: usize) -> Vec<f64> {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    a.chunks_exact(k).flat_map(|x| b.chunks_exact(k).map(move |y| dot(x, y))).collect()
}

/// Rounding of activations: none, to 8 bits of mantissa, or to 1/254 of the block's largest.
fn activation_error(format: WeightFormat, inputs: usize) -> f64 {
    let k = inputs as f64;
    match format {
        WeightFormat::F32 => k * 1e-6,
        WeightFormat::Bf16 => k / 256.0,
        WeightFormat::Q8 | WeightFormat::Q4 => k / 254.0 + k * 1e-5,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn products_agree_with_arithmetic_and_between_sets(
        rows in 1..20_usize, inputs in 1..200_usize, outputs in 1..90_usize, seed in 0..1000_u64,
    ) {
        let weights = random(seed, inputs * outputs);
        let x = random(seed + 1, rows * inputs);
        for format in WeightFormat::ALL {
            let layer = Linear::pack(format, inputs, outputs, &weights);
            let plain = forward(&cpu(&on_portable::TABLE, 1), &layer, &x);
            assert_near(&plain, &exact(&x, &widened(&layer), inputs), activation_error(format, inputs));
            for kernels in available() {
                let here = forward(&cpu(kernels, 2), &layer, &x);
                if format == WeightFormat::Bf16 && kernels.fast_bf16 {
                    let plain: Vec<f64> = plain.iter().map(|v| f64::from(*v)).collect();
                    assert_near(&here, &plain, inputs as f64 * 1e-6);
                } else {
                    prop_assert_eq!(&here, &plain, "{} {}", format, kernels.name);
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours(
        rows in 1..24_usize, from in 0..24_usize, count in 1..24_usize, seed in 0..1000_u64,
    ) {
        let (inputs, outputs) = (96, 80);
        let from = from % rows;
        let count = count.min(rows - from);
        let x = random(seed, rows * inputs);
        for kernels in available() {
            for format in WeightFormat::ALL {
                let layer = Linear::pack(format, inputs, outputs, &random(7, inputs * outputs));
                let whole = forward(&cpu(kernels, 3), &layer, &x);
                let part = forward(&cpu(kernels, 1), &layer, &x[from * inputs..][..count * inputs]);
                prop_assert_eq!(&whole[from * outputs..][..count * outputs], &part[..]);
            }
        }
    }

    #[test]
    fn input_gradients_agree_with_arithmetic(
        rows in 1..20_usize, inputs in 1..150_usize, outputs in 1..70_usize, seed in 0..1000_u64,
    ) {
        let weights = random(seed, inputs * outputs);
        let dy = random(seed + 1, rows * outputs);
        for format in WeightFormat::ALL {
            let layer = Linear::pack(format, inputs, outputs, &weights);
            let wide = widened(&layer);
            let transposed: Vec<f32> =
                (0..inputs * outputs).map(|i| wide[i % outputs * inputs + i / outputs]).collect();
            let expected = exact(&dy, &transposed, outputs);
            for kernels in available() {
                let cpu = cpu(kernels, 2);
                let mut dx = vec![1.0; rows * inputs];
                layer.backward_input(&cpu, &mut Activations::default(), &dy, &mut dx, Some(2.0));
                let dx: Vec<f32> = dx.iter().map(|v| (v - 1.0) / 2.0).collect();
                let rounded = kernels.fast_bf16 && format != WeightFormat::F32;
                let limit = if rounded { outputs as f64 / 128.0 } else { outputs as f64 * 1e-5 };
                assert_near(&dx, &expected, limit + 1e-6);
            }
        }
    }

    #[test]
    fn general_products_in_all_orientations(
        m in 1..40_usize, n in 1..70_usize, k in 1..80_usize, seed in 0..1000_u64,
    ) {
        let (a, b) = (random(seed, m * k), random(seed + 1, n * k));
        let expected = exact(&a, &b, k);
        let flip = |x: &[f32], rows: usize, columns: usize| -> Vec<f32> {
            (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect()
        };
        let (at, bt) = (flip(&a, m, k), flip(&b, n, k));
        let cpu = cpu(detect(), 2);
        for (a, b) in [
            (Matrix::new(&a, m, k), Matrix::new(&bt, k, n)),
            (Matrix::new(&a, m, k), Matrix::new(&b, n, k).t()),
            (Matrix::new(&at, k, m).t(), Matrix::new(&bt, k, n)),
            (Matrix::new(&at, k, m).t(), Matrix::new(&b, n, k).t()),
        ] {
            let mut c = vec![f32::NAN; m * n];
            gemm(&cpu, a, b, &mut c, None);
            assert_near(&c, &expected, k as f64 * 1e-6);
            gemm(&cpu, a, b, &mut c, Some(-1.0));
            assert_near(&c, &vec![0.0; m * n], k as f64 * 1e-6);
        }
    }

    #[test]
    fn conversions_and_norms_agree_with_arithmetic_and_between_sets(width in 1..300_usize, seed in 0..1000_u64) {
        let (x, w) = (random(seed, width), random(seed + 1, width));
        let run = |kernels: &Kernels| {
            let (mut normed, mut gated) = (vec![0.0; width], vec![0.0; width]);
            let inverse = kernels.rms_norm(&x, &w, 1e-5, &mut normed);
            kernels.gated(Activation::Silu, &x, &w, &mut gated);
            let blocks = width.div_ceil(BLOCK);
            let mut codes = vec![1; blocks * BLOCK];
            let (mut scales, mut biases) = (vec![0.0; blocks], vec![0; blocks]);
            kernels.quantise(&x, &mut codes, &mut scales, &mut biases);
            let mut halves = vec![7; width + 1];
            kernels.round_to_bf16(&x, &mut halves);
            (inverse, normed, gated, codes, scales, biases, halves)
        };
        let plain = run(&on_portable::TABLE);
        for kernels in available() {
            prop_assert_eq!(&run(kernels), &plain, "{}", kernels.name);
        }
        let (_, normed, gated, codes, scales, biases, halves) = plain;
        let square = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / width as f64 + 1e-5;
        for i in 0..width {
            let (x, w) = (f64::from(x[i]), f64::from(w[i]));
            prop_assert!((f64::from(normed[i]) - x / square.sqrt() * w).abs() < 1e-5);
            prop_assert!((f64::from(gated[i]) - x / (1.0 + (-x).exp()) * w).abs() < 1e-6);
            let back = f64::from(codes[i]) * f64::from(scales[i / BLOCK]);
            prop_assert!((back - x).abs() <= f64::from(scales[i / BLOCK]) * 0.501);
            // Not `from_f64`, which drops the low half of the mantissa before it rounds.
            prop_assert_eq!(halves[i], half::bf16::from_f32(x as f32).to_bits());
        }
        prop_assert!(codes[width..].iter().all(|c| *c == 0));
        for (codes, bias) in codes.chunks(BLOCK).zip(biases) {
            prop_assert_eq!(bias, -128 * codes.iter().map(|c| i32::from(*c)).sum::<i32>());
        }
    }

    #[test]
    fn packing_keeps_the_weights(inputs in 1..200_usize, outputs in 1..40_usize, seed in 0..1000_u64) {
        let weights = random(seed, inputs * outputs);
        for format in WeightFormat::ALL {
            let layer = Linear::pack(format, inputs, outputs, &weights);
            let back = widened(&layer);
            let limit = match format {
                WeightFormat::F32 => 0.0,
                WeightFormat::Bf16 => 1.0 / 256.0,
                WeightFormat::Q8 => 0.51 / 127.0,
                // Half of the widest gap of the codebook, and the chosen scale may cut off the largest.
                WeightFormat::Q4 => 0.35,
            };
            for (a, b) in back.iter().zip(&weights) {
                prop_assert!((a - b).abs() <= limit, "{}: {} for {}", format, a, b);
            }
            let from = inputs / 2 / LANES * LANES;
            let count = (inputs - from).min(LANES);
            let size = layout::panel_bytes(format, inputs);
            let mut tile = [[0.0; LANES]; LANES];
            unpack_tile(format, &layer.bytes()[..size], from, count, &mut tile);
            for (lane, row) in tile.iter().enumerate() {
                for (k, value) in row.iter().enumerate().take(count) {
                    let one = unpack_one(format, &layer.bytes()[..size], lane, from + k);
                    prop_assert_eq!(*value, one);
                }
            }
        }
    }
}

#[test]
fn four_bits_lose_little_of_normal_weights() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let normal =
        |rng: &mut ChaCha8Rng| (0..12).map(|_| rng.random_range(-0.5_f32..0.5)).sum::<f32>();
    let weights: Vec<f32> = (0..64 * 256).map(|_| normal(&mut rng)).collect();
    let relative = |format| {
        let back = widened(&Linear::pack(format, 256, 64, &weights));
        let square = |v: f32| f64::from(v) * f64::from(v);
        let error: f64 = back.iter().zip(&weights).map(|(a, b)| square(a - b)).sum();
        (error / weights.iter().map(|w| square(*w)).sum::<f64>()).sqrt()
    };
    assert!(relative(WeightFormat::Q4) < 0.10, "{}", relative(WeightFormat::Q4));
    assert!(relative(WeightFormat::Q8) < 0.007, "{}", relative(WeightFormat::Q8));
}

#[test]
fn several_layers_in_one_fork_equal_single_ones() {
    let cpu = cpu(detect(), 2);
    let x = random(1, 5 * 64);
    for format in WeightFormat::ALL {
        let layers = [40, 16, 100].map(|n| Linear::pack(format, 64, n, &random(n as u64, 64 * n)));
        let mut outs = [40, 16, 100].map(|n| vec![0.0; 5 * n]);
        let [a, b, c] = &mut outs;
        let mut products =
            [(&layers[0], &mut a[..]), (&layers[1], &mut b[..]), (&layers[2], &mut c[..])];
        forward_all(&cpu, &mut Activations::default(), &x, &mut products, None);
        for (layer, out) in layers.iter().zip(&outs) {
            assert_eq!(out, &forward(&cpu, layer, &x));
        }
    }
}

#[test]
fn a_nan_is_not_lost_in_bytes() {
    let layer = Linear::pack(WeightFormat::Q8, 128, 16, &random(1, 128 * 16));
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = random(2, 128);
        x[70] = bad;
        for kernels in available() {
            assert!(forward(&cpu(kernels, 1), &layer, &x).iter().all(|y| !y.is_finite()));
        }
    }
}
