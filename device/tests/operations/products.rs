//! Products of rows with packed matrices, and of matrices with one another.

use hone_device::{
    Buffer, Cpu, Device, Matrix, PackedMatrix, Reference, WeightFormat,
    ops::{MemoryOps as _, ProductOps as _, View, ViewMut},
};
use proptest::prelude::*;

use super::cases::{agree, cases, devices, random, slopes, upload, weighted, wide};

/// Inputs that share a scale in 8 and in 4 bits.
const BLOCK: usize = 64;

fn packed(format: WeightFormat, inputs: usize, outputs: usize, seed: u64) -> PackedMatrix {
    PackedMatrix::pack(format, inputs, outputs, &random(seed, inputs * outputs))
}

/// All weights as a device reads them, `[outputs, inputs]`.
fn weights(device: &dyn Device, matrix: &Matrix) -> Buffer {
    let rows: Vec<u32> = (0..matrix.outputs() as u32).collect();
    let mut all = device.zeros(matrix.outputs() * matrix.inputs());
    device.embed(matrix, &rows, 1.0, &mut all);
    all
}

/// What rounding may do to each element of `x · Wᵀ`: a share of the sum of magnitudes for f32 and bf16, and half a step of each
/// activation where those become bytes.
fn product_limits(format: WeightFormat, x: &[f32], weights: &[f64], inputs: usize) -> Vec<f64> {
    let step = |row: &[f32], k: usize| {
        let block = &row[k / BLOCK * BLOCK..(k / BLOCK * BLOCK + BLOCK).min(inputs)];
        f64::from(block.iter().fold(0.0_f32, |most, x| most.max(x.abs()))) / 254.0
    };
    let rounding = |row: &[f32], k: usize| match format {
        WeightFormat::F32 => 0.0,
        WeightFormat::Bf16 => f64::from(row[k].abs()) / 256.0,
        WeightFormat::Q8 | WeightFormat::Q4 => 1.001 * step(row, k),
    };
    let of_row = |row: &[f32]| -> Vec<f64> {
        (0..inputs).map(|k| rounding(row, k) + 1e-5 * f64::from(row[k].abs())).collect()
    };
    let sum = |errors: &[f64], weights: &[f64]| -> f64 {
        errors.iter().zip(weights).map(|(e, w)| e * w.abs()).sum::<f64>() + 1e-7
    };
    let rows = x.chunks_exact(inputs).map(of_row);
    rows.flat_map(|errors| {
        weights.chunks_exact(inputs).map(|weights| sum(&errors, weights)).collect::<Vec<_>>()
    })
    .collect()
}

/// Compares a result with the reference's, each element within its own limit.
#[track_caller]
fn within(what: &str, found: &[f32], exact: &[f64], limits: impl Fn(usize) -> f64) {
    assert_eq!(found.len(), exact.len(), "{what}");
    for (index, (a, b)) in found.iter().zip(exact).enumerate() {
        let (off, limit) = ((f64::from(*a) - b).abs(), limits(index));
        assert!(off <= limit, "{what}, element {index}: {a} for {b}, off {off} of {limit}");
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn products_forward(
        rows in 1..20_usize, inputs in 1..200_usize, outputs in 1..90_usize, seed in 0..1000_u64,
    ) {
        let x = random(seed + 1, rows * inputs);
        for format in WeightFormat::ALL {
            let packed = packed(format, inputs, outputs, seed);
            let run = |device: &dyn Device| {
                let (matrix, x) = (device.hold(packed.clone()), upload(device, &x));
                let mut y = device.zeros(rows * outputs);
                device.product(&matrix, &x, &mut y, None);
                let mut added = upload(device, &vec![1.0; rows * outputs]);
                device.product(&matrix, &x, &mut added, Some(-0.5));
                (y, added)
            };
            let (exact, added) = run(&Reference);
            let read = weights(&Reference, &Reference.hold(packed.clone()));
            let limits = product_limits(format, &x, Reference.exact(&read), inputs);
            let mut first = None;
            for tested in devices() {
                let device = &*tested.device;
                let (y, with_ones) = run(device);
                let (y, with_ones) = (device.download(y), device.download(with_ones));
                let what = format!("{format} on {device:?}");
                within(&what, &y, Reference.exact(&exact), |i| limits[i]);
                within(&what, &with_ones, Reference.exact(&added), |i| limits[i] + 1e-6);
                if !(tested.multiplies_bf16() && format == WeightFormat::Bf16) {
                    tested.same_bits(&what, &y, &mut first);
                }
            }
        }
    }

    #[test]
    fn products_backward(
        rows in 1..20_usize, inputs in 1..150_usize, outputs in 1..70_usize, seed in 0..1000_u64,
    ) {
        let dy = random(seed + 1, rows * outputs);
        for format in WeightFormat::ALL {
            let packed = packed(format, inputs, outputs, seed);
            let run = |device: &dyn Device| {
                let (matrix, dy) = (device.hold(packed.clone()), upload(device, &dy));
                let mut dx = device.zeros(rows * inputs);
                device.product_backward(&matrix, &dy, &mut dx, None);
                let mut added = upload(device, &vec![1.0; rows * inputs]);
                device.product_backward(&matrix, &dy, &mut added, Some(2.0));
                (dx, added)
            };
            let (exact, added) = run(&Reference);
            let read = weights(&Reference, &Reference.hold(packed.clone()));
            let read = Reference.exact(&read);
            // The sum of magnitudes of each element.
            let sums: Vec<f64> = (0..rows * inputs).map(|i| {
                let (row, k) = (i / inputs, i % inputs);
                (0..outputs).map(|n| (f64::from(dy[row * outputs + n]) * read[n * inputs + k]).abs()).sum()
            }).collect();
            let mut first = None;
            for tested in devices() {
                let device = &*tested.device;
                // Gradient and weight are both rounded to bf16 then.
                let rounds = tested.multiplies_bf16() && format != WeightFormat::F32;
                let share = if rounds { 1.01 / 128.0 } else { 1e-5 };
                let (dx, with_ones) = run(device);
                let (dx, with_ones) = (device.download(dx), device.download(with_ones));
                let what = format!("{format} on {device:?}");
                within(&what, &dx, Reference.exact(&exact), |i| sums[i] * share + 1e-6);
                within(&what, &with_ones, Reference.exact(&added), |i| 2.0 * sums[i] * share + 2e-6);
                if !rounds {
                    tested.same_bits(&what, &dx, &mut first);
                }
            }
        }
    }

    #[test]
    fn the_references_gradient_is_the_slope_of_its_product(
        rows in 1..3_usize, inputs in 1..80_usize, outputs in 1..20_usize, seed in 0..1000_u64,
    ) {
        let (x, dy) = (wide(&random(seed + 1, rows * inputs)), random(seed + 2, rows * outputs));
        for format in WeightFormat::ALL {
            let matrix = Reference.hold(packed(format, inputs, outputs, seed));
            let mut dx = Reference.zeros(rows * inputs);
            Reference.product_backward(&matrix, &upload(&Reference, &dy), &mut dx, None);
            slopes("product", &x, Reference.exact(&dx), |x| {
                let mut y = Reference.zeros(rows * outputs);
                Reference.product(&matrix, &Reference.upload_exact(x.to_vec()), &mut y, None);
                weighted(Reference.exact(&y), &dy)
            });
        }
    }

    #[test]
    fn rows_of_a_matrix(inputs in 1..200_usize, outputs in 1..40_usize, seed in 0..1000_u64) {
        let original = random(seed, inputs * outputs);
        for format in WeightFormat::ALL {
            let packed = packed(format, inputs, outputs, seed);
            // Two factors of a weight in 4 bits are rounded to f32, and their product.
            agree("embedding", 2e-7, |device| vec![weights(device, &device.hold(packed.clone()))]);
            let limit = match format {
                WeightFormat::F32 => 0.0,
                WeightFormat::Bf16 => 1.0 / 256.0,
                WeightFormat::Q8 => 0.51 / 127.0,
                // Half of the widest gap of the codebook, and the chosen scale may cut off the largest.
                WeightFormat::Q4 => 0.35,
            };
            let read = weights(&Reference, &Reference.hold(packed));
            for (a, b) in Reference.exact(&read).iter().zip(&original) {
                prop_assert!((a - f64::from(*b)).abs() <= limit, "{}: {} for {}", format, a, b);
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
        for tested in devices() {
            let device = &*tested.device;
            for format in WeightFormat::ALL {
                let matrix = device.hold(packed(format, inputs, outputs, 7));
                let run = |x: &[f32]| {
                    let mut y = device.zeros(x.len() / inputs * outputs);
                    device.product(&matrix, &upload(device, x), &mut y, None);
                    device.download(y)
                };
                let (whole, part) = (run(&x), run(&x[from * inputs..][..count * inputs]));
                prop_assert_eq!(&whole[from * outputs..][..count * outputs], &part[..]);
            }
        }
    }

    #[test]
    fn general_products_in_all_orientations(
        m in 1..40_usize, n in 1..70_usize, k in 0..80_usize, seed in 0..1000_u64,
    ) {
        let (a, b) = (random(seed, m * k), random(seed + 1, n * k));
        for (a_turned, b_turned) in [(false, false), (false, true), (true, false), (true, true)] {
            agree("general product", k as f64 * 1e-6 + 1e-9, |device| {
                let (a, b) = (upload(device, &a), upload(device, &b));
                let view = |buffer, rows, columns, turned: bool| match turned {
                    false => View::new(buffer, 0, rows, columns),
                    true => View::new(buffer, 0, columns, rows).t(),
                };
                let mut c = device.zeros(m * n);
                let (left, right) = (view(&a, m, k, a_turned), view(&b, k, n, b_turned));
                device.multiply(left, right, ViewMut::new(&mut c, 0, n), None);
                device.multiply(left, right, ViewMut::new(&mut c, 0, n), Some(-0.5));
                vec![c]
            });
        }
        // Some columns of the left one, into some columns of a wider result that begins later.
        agree("columns", k as f64 * 1e-6 + 1e-9, |device| {
            let (a, b) = (upload(device, &a), upload(device, &b));
            let mut c = device.zeros(3 + m * (n + 2));
            let left = View::new(&a, 0, m, k).columns(k / 2, k - k / 2);
            let right = View::new(&b, k / 2 * n, k - k / 2, n);
            device.multiply(left, right, ViewMut::new(&mut c, 3, n + 2), None);
            vec![c]
        });
    }
}

#[test]
fn rows_that_no_cache_holds_at_once() {
    // Of so many inputs only some of the rows meet all panels at a time.
    let (inputs, outputs, rows) = (24_000, 40, 49);
    let x = random(3, rows * inputs);
    for format in WeightFormat::ALL {
        let packed = packed(format, inputs, outputs, 7);
        for tested in devices() {
            let device = &*tested.device;
            let matrix = device.hold(packed.clone());
            let run = |x: &[f32]| {
                let mut y = device.zeros(x.len() / inputs * outputs);
                device.product(&matrix, &upload(device, x), &mut y, None);
                device.download(y)
            };
            let whole = run(&x);
            for (row, found) in [0, 23, 24, 47, 48].map(|row| (row, &whole[row * outputs..])) {
                let alone = run(&x[row * inputs..][..inputs]);
                assert_eq!(alone, found[..outputs], "{format} on {device:?}, row {row}");
            }
        }
    }
}

#[test]
fn a_nan_is_not_lost_in_bytes() {
    for tested in devices() {
        let device = &*tested.device;
        let matrix = device.hold(packed(WeightFormat::Q8, 128, 16, 1));
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = random(2, 128);
            x[70] = bad;
            let mut y = device.zeros(16);
            device.product(&matrix, &upload(device, &x), &mut y, None);
            assert!(device.download(y).iter().all(|y| !y.is_finite()));
        }
    }
}

#[test]
fn rows_of_another_width_are_refused() {
    let cpu = Cpu::new(1).unwrap();
    let matrix = cpu.hold(packed(WeightFormat::F32, 8, 4, 1));
    let (x, mut y) = (upload(&cpu, &random(1, 9)), cpu.zeros(4));
    let run = std::panic::AssertUnwindSafe(|| cpu.product(&matrix, &x, &mut y, None));
    assert!(std::panic::catch_unwind(run).is_err());
}
