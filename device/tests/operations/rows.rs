//! Operations that treat each row alone.

use hone_device::{
    Buffer, Device, Reference,
    ops::{Activation, Angles, Cap, Dropout, Norm, RowOps as _},
};
use proptest::prelude::*;

use super::cases::{agree, cases, devices, random, slopes, upload, weighted, wide};

fn exact(values: &[f64]) -> Buffer {
    Reference.upload_exact(values.to_vec())
}

/// Norm of rows and its backward, added to ones.
fn norm(device: &dyn Device, x: &Buffer, weight: &[f32], dy: &[f32]) -> Vec<Buffer> {
    let weight = upload(device, weight);
    let norm = Norm { weight: &weight, eps: 1e-3 };
    let (mut out, mut inverse) = (device.zeros(x.len()), Buffer::default());
    device.norm(norm, x, &mut out, Some(&mut inverse));
    let mut dx = upload(device, &vec![1.0; x.len()]);
    device.norm_backward(norm, (x, &inverse), &upload(device, dy), &mut dx);
    vec![out, inverse, dx]
}

/// Gate and its backward.
fn gate(
    device: &dyn Device,
    kind: Activation,
    (gate, up): (&Buffer, &Buffer),
    dy: &[f32],
    width: usize,
) -> Vec<Buffer> {
    let (mut out, mut d_gate) = (device.zeros(gate.len()), upload(device, dy));
    device.gate(kind, (gate, up), &mut out, width);
    let d_up = device.gate_backward(kind, (gate, up), &mut d_gate, width);
    vec![out, d_gate, d_up]
}

/// Cap and its backward.
fn cap(device: &dyn Device, cap: Cap, x: &Buffer, dy: &[f32], width: usize) -> Vec<Buffer> {
    let mut capped = device.copy(x, 0..x.len());
    device.cap(cap, &mut capped, width);
    let mut gradient = upload(device, dy);
    device.cap_backward(cap, &capped, &mut gradient, width);
    vec![capped, gradient]
}

/// Rotation of heads of 16 elements, `half` pairs of each, and its backward.
fn rotate(device: &dyn Device, half: usize, x: &Buffer, dy: &[f32], width: usize) -> Vec<Buffer> {
    let angle = |i: usize| 0.37 * i as f32;
    let count = x.len() / width * half;
    let angles = Angles {
        cos: upload(device, &(0..count).map(|i| 1.1 * angle(i).cos()).collect::<Vec<_>>()),
        sin: upload(device, &(0..count).map(|i| 1.1 * angle(i).sin()).collect::<Vec<_>>()),
    };
    let (mut out, mut dx) = (device.copy(x, 0..x.len()), upload(device, dy));
    device.rotate(&angles, 16, &mut out, width);
    device.rotate_backward(&angles, 16, &mut dx, width);
    vec![out, dx]
}

const ACTIVATIONS: [Activation; 2] = [Activation::Silu, Activation::GeluTanh];

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn all_devices_agree_with_the_reference(
        rows in 1..6_usize, width in 1..300_usize, seed in 0..1000_u64, loud in 1..8_u32,
        scale in 0.1_f32..4.0, most in 0.5_f32..30.0,
    ) {
        let count = rows * width;
        let x: Vec<f32> = random(seed, count).iter().map(|v| v * loud as f32).collect();
        let (weight, dy) = (random(seed + 1, width), random(seed + 2, count));
        let up = random(seed + 3, count);
        agree("norm", 1e-4, |device| norm(device, &upload(device, &x), &weight, &dy));
        for kind in ACTIVATIONS {
            agree("gate", 1e-5, |device| {
                gate(device, kind, (&upload(device, &x), &upload(device, &up)), &dy, width)
            });
        }
        for limit in [Cap { scale, most }, Cap { scale, most: f32::INFINITY }] {
            agree("cap", 1e-4, |device| cap(device, limit, &upload(device, &x), &dy, width));
        }
        agree("sum", 1e-6, |device| {
            let mut sum = upload(device, &x);
            device.add_scaled(&mut sum, &upload(device, &up), scale, width);
            let mut scaled = upload(device, &x);
            device.scale(&mut scaled, scale);
            vec![sum, scaled]
        });
        agree("dropout", 1e-6, |device| {
            let dropout = Dropout { rate: 0.3, key: seed };
            vec![device.dropout(dropout, &upload(device, &x), width)]
        });
    }

    #[test]
    fn rotations(rows in 1..9_usize, heads in 1..5_usize, half in 1..9_usize, seed in 0..1000_u64) {
        let width = heads * 16;
        let (x, dy) = (random(seed, rows * width), random(seed + 1, rows * width));
        agree("rotation", 1e-6, |device| rotate(device, half, &upload(device, &x), &dy, width));
    }

    #[test]
    fn the_references_gradients_are_the_slopes_of_its_values(
        rows in 1..3_usize, width in 1..12_usize, seed in 0..1000_u64, most in 0.5_f32..9.0,
    ) {
        let count = rows * width;
        let (x, up, dy) = (random(seed, count), random(seed + 1, count), random(seed + 2, count));
        let (x, up, weight) = (wide(&x), wide(&up), random(seed + 3, width));
        let value = |results: Vec<Buffer>| weighted(Reference.exact(&results[0]), &dy);

        let found = norm(&Reference, &exact(&x), &weight, &dy);
        let dx: Vec<f64> = Reference.exact(&found[2]).iter().map(|d| d - 1.0).collect();
        slopes("norm", &x, &dx, |x| value(norm(&Reference, &exact(x), &weight, &dy)));
        for kind in ACTIVATIONS {
            let run = |g: &[f64], u: &[f64]| {
                gate(&Reference, kind, (&exact(g), &exact(u)), &dy, width)
            };
            let found = run(&x, &up);
            slopes("gate", &x, Reference.exact(&found[1]), |g| value(run(g, &up)));
            slopes("up", &up, Reference.exact(&found[2]), |u| value(run(&x, u)));
        }
        for limit in [Cap { scale: 1.7, most }, Cap { scale: 0.4, most: f32::INFINITY }] {
            let run = |x: &[f64]| cap(&Reference, limit, &exact(x), &dy, width);
            slopes("cap", &x, Reference.exact(&run(&x)[1]), |x| value(run(x)));
        }
        let dropout = Dropout { rate: 0.4, key: seed };
        let run = |x: &[f64]| vec![Reference.dropout(dropout, &exact(x), width)];
        let dx = Reference.dropout(dropout, &upload(&Reference, &dy), width);
        slopes("dropout", &x, Reference.exact(&dx), |x| value(run(x)));
    }

    #[test]
    fn the_references_rotation_has_the_slopes_of_its_values(
        rows in 1..3_usize, half in 1..9_usize, seed in 0..1000_u64,
    ) {
        let (x, dy) = (wide(&random(seed, rows * 32)), random(seed + 1, rows * 32));
        let run = |x: &[f64]| rotate(&Reference, half, &exact(x), &dy, 32);
        let found = run(&x);
        slopes("rotation", &x, Reference.exact(&found[1]), |x| {
            weighted(Reference.exact(&run(x)[0]), &dy)
        });
    }
}

#[test]
fn dropout_keeps_its_share_and_the_mean_and_repeats() {
    let x = vec![1.0; 64 * 1024];
    for tested in devices() {
        let device = &*tested.device;
        let run = |dropout| device.download(device.dropout(dropout, &upload(device, &x), 64));
        let dropout = Dropout { rate: 0.25, key: 7 };
        let once = run(dropout);
        assert_eq!(once, run(dropout));
        let zeros = once.iter().filter(|v| **v == 0.0).count() as f64 / once.len() as f64;
        assert!((zeros - 0.25).abs() < 0.01, "{zeros}");
        let mean = once.iter().map(|v| f64::from(*v)).sum::<f64>() / once.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert_ne!(once, run(Dropout { key: 8, ..dropout }));
    }
}
