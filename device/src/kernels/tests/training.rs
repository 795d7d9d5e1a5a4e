//! Activations, caps and attention, forward and backward, of every set against the oracle.

use super::{
    oracle::{self, Heads},
    *,
};
use crate::kernels::attention::{BLOCK, Scores};

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}

fn weighted(values: &[f64], weights: &[f32]) -> f64 {
    values.iter().zip(weights).map(|(v, w)| v * f64::from(*w)).sum()
}

#[track_caller]
fn near(ours: &[f32], exact: &[f64], limit: f64, what: &str) {
    assert_eq!(ours.len(), exact.len());
    for (index, (a, b)) in ours.iter().zip(exact).enumerate() {
        let close = (f64::from(*a) - b).abs() <= limit * (1.0 + b.abs());
        assert!(close, "{what}, element {index}: {a} for {b}");
    }
}

/// What all sets make of something, which must be the same bits.
#[track_caller]
fn by_all_sets(run: impl Fn(&Kernels) -> Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let plain = run(&on_portable::TABLE);
    for kernels in available() {
        let found = run(kernels);
        let same = found.iter().flatten().zip(plain.iter().flatten());
        assert!(same.clone().all(|(a, b)| a.to_bits() == b.to_bits()), "{}", kernels.name);
    }
    plain
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn gates(width in 1..70_usize, seed in 0..1000_u64, loud in 1..8_u32) {
        let gate: Vec<f32> = random(seed, width).iter().map(|v| v * loud as f32).collect();
        let (up, dy) = (random(seed + 1, width), random(seed + 2, width));
        for kind in [Activation::Silu, Activation::GeluTanh] {
            let found = by_all_sets(|kernels| {
                let (mut out, mut d_gate, mut d_up) = (vec![0.0; width], dy.clone(), vec![0.0; width]);
                kernels.gated(kind, &gate, &up, &mut out);
                kernels.gated_backward(kind, (&gate, &up), &mut d_gate, &mut d_up);
                vec![out, d_gate, d_up]
            });
            let value = |gate: &[f64], up: &[f64]| -> Vec<f64> {
                gate.iter().zip(up).map(|(g, u)| oracle::activation(kind, *g) * u).collect()
            };
            let (g, u) = (wide(&gate), wide(&up));
            near(&found[0], &value(&g, &u), 2e-6, "result");
            near(&found[1], &oracle::gradient(&g, |g| weighted(&value(g, &u), &dy)), 1e-5, "gate");
            near(&found[2], &oracle::gradient(&u, |u| weighted(&value(&g, u), &dy)), 1e-5, "up");
        }
    }

    #[test]
    fn caps(width in 1..70_usize, seed in 0..1000_u64, scale in 0.1_f32..4.0, most in 0.5_f32..30.0) {
        let (x, dy) = (random(seed, width), random(seed + 1, width));
        for cap in [Cap { scale, most }, Cap { scale, most: f32::INFINITY }] {
            let found = by_all_sets(|kernels| {
                let (mut capped, mut gradient) = (x.clone(), dy.clone());
                kernels.soft_cap(&mut capped, cap);
                kernels.soft_cap_backward(&capped, &mut gradient, cap);
                vec![capped, gradient]
            });
            let value = |x: &[f64]| x.iter().map(|x| oracle::soft_cap(cap, *x)).collect::<Vec<_>>();
            near(&found[0], &value(&wide(&x)), 1e-5, "result");
            let exact = oracle::gradient(&wide(&x), |x| weighted(&value(x), &dy));
            near(&found[1], &exact, 1e-4, "gradient");
        }
    }

    #[test]
    fn norms(width in 1..70_usize, seed in 0..1000_u64) {
        let (x, weight, dy) = (random(seed, width), random(seed + 1, width), random(seed + 2, width));
        let eps = 1e-3;
        let found = by_all_sets(|kernels| {
            let (mut out, mut dx) = (vec![0.0; width], vec![1.0; width]);
            let inverse = kernels.rms_norm(&x, &weight, eps, &mut out);
            let row = NormRow { x: &x, weight: &weight, inverse, gradient: &dy };
            kernels.rms_norm_backward(row, &mut dx);
            vec![out, dx]
        });
        let value = |x: &[f64]| oracle::rms_norm(x, &wide(&weight), f64::from(eps));
        near(&found[0], &value(&wide(&x)), 1e-5, "result");
        let exact = oracle::gradient(&wide(&x), |x| weighted(&value(x), &dy));
        near(&found[1], &exact.iter().map(|d| d + 1.0).collect::<Vec<_>>(), 1e-4, "gradient");
    }

    #[test]
    fn sums(width in 1..70_usize, seed in 0..1000_u64, factor in -2.0_f32..2.0) {
        let (to, from) = (random(seed, width), random(seed + 1, width));
        let found = by_all_sets(|kernels| {
            let mut sum = to.clone();
            kernels.add_scaled(&mut sum, &from, factor);
            vec![sum]
        });
        let terms = wide(&to).into_iter().zip(wide(&from));
        let exact: Vec<f64> = terms.map(|(t, f)| t + f64::from(factor) * f).collect();
        near(&found[0], &exact, 1e-6, "sum");
    }

    #[test]
    fn attention(
        start in 0..200_usize, rows in 1..9_usize, group in 1..6_usize, wide_by in 1..7_usize,
        window in 1..220_usize, kind in 0..4_u8, seed in 0..1000_u64,
    ) {
        let head_dim = wide_by * LANES;
        let scores = Scores {
            scale: if kind % 2 == 0 { 1.0 / (head_dim as f32).sqrt() } else { 0.3 },
            cap: (kind >= 2).then_some(1.5),
            window: if kind == 1 || kind == 2 { window } else { usize::MAX },
        };
        let total = start + rows;
        let width = group * head_dim;
        let queries = random(seed, rows * width);
        let (keys, values) = (random(seed + 1, total * head_dim), random(seed + 2, total * head_dim));
        let mut blocks = vec![vec![0.0; 2 * BLOCK * head_dim]; total.div_ceil(BLOCK)];
        for (i, (key, value)) in keys.iter().zip(&values).enumerate() {
            let (position, d) = (i / head_dim, i % head_dim);
            let (block, at) = (&mut blocks[position / BLOCK], position % BLOCK);
            block[at / LANES * LANES * head_dim + d * LANES + at % LANES] = *key;
            block[BLOCK * head_dim + at * head_dim + d] = *value;
        }
        let blocks: Vec<*const f32> = blocks.iter().map(|block| block.as_ptr()).collect();
        let some_rows = |kernels: &Kernels, first: usize, count: usize| {
            let mut out = vec![0.0; count * width];
            let task = Attend {
                queries: queries[first * width..].as_ptr(),
                out: out.as_mut_ptr(),
                row_stride: width,
                rows: count,
                group,
                head_dim,
                blocks: blocks.as_ptr(),
                keys: 0,
                key_stride: LANES * head_dim,
                values: BLOCK * head_dim,
                value_stride: head_dim,
                length: start + first + 1,
                scores,
            };
            // SAFETY: the buffers above have these sizes.
            unsafe { kernels.attend(&task, &mut Vec::new()) };
            out
        };
        let found = by_all_sets(|kernels| vec![some_rows(kernels, 0, rows)]);
        for first in 0..rows {
            let alone = some_rows(detect(), first, 1);
            prop_assert_eq!(&alone[..], &found[0][first * width..][..width], "row {}", first);
        }
        let heads = Heads {
            queries: wide(&queries),
            keys: wide(&keys),
            values: wide(&values),
            group,
            head_dim,
            start,
        };
        near(&found[0], &heads.attend(scores), 1e-5, "attention");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn attention_backward(
        length in 1..24_usize, group in 1..3_usize, wide_by in 1..3_usize, window in 1..24_usize,
        kind in 0..4_u8, seed in 0..1000_u64,
    ) {
        let head_dim = wide_by * LANES;
        let scores = Scores {
            scale: if kind % 2 == 0 { 1.0 / (head_dim as f32).sqrt() } else { 0.3 },
            cap: (kind >= 2).then_some(1.5),
            window: if kind == 1 || kind == 2 { window } else { usize::MAX },
        };
        let (query, key) = (length * group * head_dim, length * head_dim);
        let (queries, d_out) = (random(seed, query), random(seed + 1, query));
        let (keys, values) = (random(seed + 2, key), random(seed + 3, key));
        let found = by_all_sets(|kernels| {
            let mut d_queries = vec![9.0; query];
            let (mut d_keys, mut d_values) = (vec![9.0; key], vec![9.0; key]);
            let job = AttendBackward {
                queries: queries.as_ptr(),
                d_out: d_out.as_ptr(),
                d_queries: d_queries.as_mut_ptr(),
                query_stride: group * head_dim,
                keys: keys.as_ptr(),
                values: values.as_ptr(),
                d_keys: d_keys.as_mut_ptr(),
                d_values: d_values.as_mut_ptr(),
                key_stride: head_dim,
                group,
                head_dim,
                length,
                scores,
            };
            // SAFETY: all vectors have the sizes that the job names.
            unsafe { kernels.attend_backward(&job, &mut Vec::new()) };
            vec![d_queries, d_keys, d_values]
        });
        let heads = Heads {
            queries: wide(&queries),
            keys: wide(&keys),
            values: wide(&values),
            group,
            head_dim,
            start: 0,
        };
        let loss = |heads: &Heads| weighted(&heads.attend(scores), &d_out);
        let by_queries = |x: &[f64]| loss(&Heads { queries: x.to_vec(), ..heads.clone() });
        near(&found[0], &oracle::gradient(&heads.queries, by_queries), 1e-4, "queries");
        let by_keys = |x: &[f64]| loss(&Heads { keys: x.to_vec(), ..heads.clone() });
        near(&found[1], &oracle::gradient(&heads.keys, by_keys), 1e-4, "keys");
        let by_values = |x: &[f64]| loss(&Heads { values: x.to_vec(), ..heads.clone() });
        near(&found[2], &oracle::gradient(&heads.values, by_values), 1e-4, "values");
    }
}
