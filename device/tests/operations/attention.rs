//! Attention over caches, and its backward.

use hone_device::{
    Buffer, CACHE_BLOCK, Device, Heads, LayerCache, Reference,
    ops::{AttentionRows, Scores, Span},
};
use proptest::prelude::*;

use super::cases::{agree, cases, devices, random, slopes, upload, weighted, wide};

/// Sequences of some lengths, one after the other.
#[derive(Clone, Debug)]
struct Case {
    heads: Heads,
    scores: Scores,
    lengths: Vec<usize>,
    seed: u64,
}

impl Case {
    fn rows(&self) -> usize {
        self.lengths.iter().sum()
    }

    fn spans(&self) -> Vec<Span> {
        let mut end = 0;
        let span = |length: &usize| {
            end += length;
            Span { rows: end - length..end, start: 0 }
        };
        self.lengths.iter().map(span).collect()
    }

    /// Queries, keys and values.
    fn inputs(&self) -> [Vec<f32>; 3] {
        let (q, kv) = (self.heads.query_width(), self.heads.key_width());
        let widths = [(q, 0), (kv, 1), (kv, 2)];
        widths.map(|(width, nth)| random(self.seed + nth, self.rows() * width))
    }

    fn d_out(&self) -> Vec<f32> {
        random(self.seed + 3, self.rows() * self.heads.query_width())
    }

    fn forward(&self, device: &dyn Device, [q, k, v]: [&Buffer; 3]) -> Buffer {
        let spans = self.spans();
        let rows = AttentionRows { heads: self.heads, scores: self.scores, spans: &spans };
        let mut caches: Vec<_> = spans.iter().map(|_| LayerCache::new(self.heads)).collect();
        for (span, cache) in spans.iter().zip(&mut caches) {
            device.reserve(cache, span.rows.len());
        }
        let mut caches: Vec<_> = caches.iter_mut().collect();
        device.store(rows, &mut caches, k, v);
        let mut out = device.zeros(q.len());
        device.attend(rows, &caches, q, &mut out);
        out
    }

    fn backward(&self, device: &dyn Device, inputs: [&Buffer; 3]) -> [Buffer; 3] {
        let spans = self.spans();
        let rows = AttentionRows { heads: self.heads, scores: self.scores, spans: &spans };
        device.attend_backward(rows, inputs, &upload(device, &self.d_out()))
    }

    /// The same rows of one sequence in steps, as a prompt is cut; all results together.
    fn in_steps(&self, device: &dyn Device, step: usize) -> Vec<f32> {
        let [q, k, v] = self.inputs();
        let (wide, narrow) = (self.heads.query_width(), self.heads.key_width());
        let mut cache = LayerCache::new(self.heads);
        let mut all = Vec::new();
        for start in (0..self.rows()).step_by(step) {
            let count = step.min(self.rows() - start);
            let spans = [Span { rows: 0..count, start }];
            let rows = AttentionRows { heads: self.heads, scores: self.scores, spans: &spans };
            device.reserve(&mut cache, start + count);
            let part = |values: &[f32], width: usize| {
                upload(device, &values[start * width..(start + count) * width])
            };
            device.store(rows, &mut [&mut cache], &part(&k, narrow), &part(&v, narrow));
            let mut out = device.zeros(count * wide);
            device.attend(rows, &[&mut cache], &part(&q, wide), &mut out);
            all.extend(device.download(out));
        }
        all
    }
}

/// Scores of each kind: plain, with a window, with both window and cap, with a cap.
fn scores(kind: u8, dim: usize, window: usize) -> Scores {
    Scores {
        scale: if kind.is_multiple_of(2) { 1.0 / (dim as f32).sqrt() } else { 0.3 },
        cap: (kind >= 2).then_some(1.5),
        window: if kind == 1 || kind == 2 { window } else { usize::MAX },
    }
}

prop_compose! {
    fn case(longest: usize)(
        count in 1..3_usize, group in 1..5_usize, wide in 1..6_usize, kind in 0..4_u8,
        window in 1..=longest, lengths in prop::collection::vec(1..=longest, 1..3), seed in 0..1000_u64,
    ) -> Case {
        let dim = 16 * wide;
        Case { heads: Heads { count, group, dim }, scores: scores(kind, dim, window), lengths, seed }
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn all_devices_agree_with_the_reference(case in case(150)) {
        agree("attention", 1e-5, |device| {
            let [q, k, v] = case.inputs().map(|values| upload(device, &values));
            let out = case.forward(device, [&q, &k, &v]);
            let [d_q, d_k, d_v] = case.backward(device, [&q, &k, &v]);
            vec![out, d_q, d_k, d_v]
        });
    }

    #[test]
    fn a_prompt_in_steps_has_the_bits_of_a_whole_one(case in case(150), step in 1..90_usize) {
        let case = Case { lengths: vec![case.rows()], ..case };
        for tested in devices() {
            let device = &*tested.device;
            prop_assert_eq!(case.in_steps(device, step), case.in_steps(device, case.rows()));
        }
    }
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn the_references_gradients_are_the_slopes_of_its_values(case in case(7)) {
        let heads = Heads { dim: 16, ..case.heads };
        let case = Case { heads, scores: Scores { scale: 0.4, ..case.scores }, ..case };
        let inputs = case.inputs().map(|values| wide(&values));
        let upload = |values: &[f64]| Reference.upload_exact(values.to_vec());
        let found = {
            let [q, k, v] = inputs.each_ref().map(|values| upload(values));
            case.backward(&Reference, [&q, &k, &v])
        };
        for (nth, what) in ["queries", "keys", "values"].into_iter().enumerate() {
            slopes(what, &inputs[nth], Reference.exact(&found[nth]), |moved| {
                let mut all = inputs.each_ref().map(|values| upload(values));
                all[nth] = upload(moved);
                let [q, k, v] = &all;
                weighted(Reference.exact(&case.forward(&Reference, [q, k, v])), &case.d_out())
            });
        }
    }
}

#[test]
fn a_block_that_others_hold_is_copied_before_it_is_written() {
    let heads = Heads { count: 2, group: 1, dim: 16 };
    let width = heads.key_width();
    let all = devices().into_iter().map(|tested| tested.device);
    for device in all.chain([Box::new(Reference) as Box<dyn Device>]) {
        let at = |start, count| Span { rows: 0..count, start };
        let scores = scores(0, 16, 1);
        let store = |cache: &mut LayerCache, span: Span, seed| {
            let values = upload(&*device, &random(seed, span.rows.len() * width));
            device.reserve(cache, span.start + span.rows.len());
            let rows = AttentionRows { heads, scores, spans: &[span] };
            device.store(rows, &mut [cache], &values, &values);
        };
        let attend = |cache: &mut LayerCache| {
            let (query, mut out) = (upload(&*device, &random(5, width)), device.zeros(width));
            let rows = AttentionRows { heads, scores, spans: &[at(9, 1)] };
            device.attend(rows, &[cache], &query, &mut out);
            device.download(out)
        };
        let mut one = LayerCache::new(heads);
        store(&mut one, at(0, 10), 1);
        let before = attend(&mut one);
        let mut other = one.clone();
        assert!(one.blocks()[0].is_shared());
        store(&mut other, at(9, 1), 2);
        assert!(!one.blocks()[0].is_shared());
        assert_eq!(attend(&mut one), before);
        assert_ne!(attend(&mut other), before);
        store(&mut other, at(10, CACHE_BLOCK), 3);
        assert_eq!(other.blocks().len(), 2);
    }
}
