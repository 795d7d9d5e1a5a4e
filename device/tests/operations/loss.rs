//! The loss and its gradient.

use hone_device::{
    Buffer, Device, Reference,
    ops::{BaseLogits, LossOps as _},
};
use proptest::prelude::*;

use super::cases::{agree, cases, random, slopes, upload, wide};

/// Rows of the loss: which token each should predict, and its place among the base's rows.
struct Rows {
    targets: Vec<Option<u32>>,
    places: Vec<Option<usize>>,
    weights: Vec<f32>,
}

impl Rows {
    /// Four kinds in turn: a target, the base, both, neither.
    fn new(count: usize, vocab: usize) -> Self {
        let mut place = 0..;
        let places =
            (0..count).map(|row| (row % 4 == 1 || row % 4 == 2).then(|| place.next().unwrap()));
        Self {
            places: places.collect(),
            weights: (0..count).map(|row| 0.3 + 0.1 * row as f32).collect(),
            targets: (0..count)
                .map(|row| (row % 2 == 0).then_some((row * 7 % vocab) as u32))
                .collect(),
        }
    }

    fn compared(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// The losses, and the gradient and the base's distributions that are left.
    fn run(
        &self,
        device: &dyn Device,
        mut logits: Buffer,
        mut base: Buffer,
    ) -> (Vec<f64>, Buffer, Buffer) {
        let with = BaseLogits { logits: &mut base, places: &self.places, weights: &self.weights };
        let losses = device.loss(&mut logits, &self.targets, Some(with));
        (losses, logits, base)
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn all_devices_agree_with_the_reference(
        count in 1..9_usize, vocab in 2..300_usize, seed in 0..1000_u64, loud in 1..9_u32,
    ) {
        let rows = Rows::new(count, vocab);
        let loud = |values: Vec<f32>| values.iter().map(|v| v * loud as f32).collect::<Vec<_>>();
        let logits = loud(random(seed, count * vocab));
        let base = loud(random(seed + 1, rows.compared() * vocab));
        agree("loss", 2e-5, |device| {
            let run = rows.run(device, upload(device, &logits), upload(device, &base));
            let losses = run.0.iter().map(|loss| *loss as f32).collect();
            vec![device.upload(losses), run.1, run.2]
        });
        agree("cross-entropy alone", 2e-5, |device| {
            let mut logits = upload(device, &logits);
            let losses = device.loss(&mut logits, &rows.targets, None);
            vec![device.upload(losses.iter().map(|loss| *loss as f32).collect()), logits]
        });
    }

    #[test]
    fn the_references_gradient_is_the_slope_of_its_loss(
        count in 1..5_usize, vocab in 2..9_usize, seed in 0..1000_u64,
    ) {
        let rows = Rows::new(count, vocab);
        let logits = wide(&random(seed, count * vocab));
        let base = random(seed + 1, rows.compared() * vocab);
        let run = |logits: &[f64]| {
            let logits = Reference.upload_exact(logits.to_vec());
            rows.run(&Reference, logits, upload(&Reference, &base))
        };
        let (_, gradient, _) = run(&logits);
        slopes("loss", &logits, Reference.exact(&gradient), |logits| run(logits).0.iter().sum());
    }
}

#[test]
fn the_reference_computes_what_is_known() {
    let mut logits = upload(&Reference, &[1.0, 2.0, 3.0]);
    let loss = Reference.loss(&mut logits, &[Some(1)], None);
    assert!((loss[0] - 1.407_605_964).abs() < 1e-8, "{loss:?}");
    for (found, known) in
        Reference.exact(&logits).iter().zip([0.090_030_573, -0.755_271_529, 0.665_240_956])
    {
        assert!((found - known).abs() < 1e-8, "{found} {known}");
    }
    // The base is no distance from itself.
    let (mut same, mut base) = (upload(&Reference, &[0.5, -1.0]), upload(&Reference, &[0.5, -1.0]));
    let with = BaseLogits { logits: &mut base, places: &[Some(0)], weights: &[1.0] };
    assert!(Reference.loss(&mut same, &[None], Some(with))[0].abs() < 1e-12);
}
