//! What the tests of all operations share: devices, numbers, and how results are compared.

use hone_device::{Buffer, Cpu, Device, InstructionSet, Reference};
use proptest::prelude::ProptestConfig;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many random cases of an operation are tried.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(count) }
}

/// A device under test.
pub(crate) struct Tested {
    pub(crate) device: Box<dyn Device>,
    /// The processor's instruction set: all of them give the same bits. `None` is another device, which may round otherwise.
    set: Option<InstructionSet>,
}

impl Tested {
    /// It multiplies bf16 itself: its sums of such products have roundings of their own, and its backward uses them too.
    pub(crate) fn multiplies_bf16(&self) -> bool {
        matches!(self.set, Some(InstructionSet::Amx | InstructionSet::Avx512Bf16))
    }

    /// Compares what it found with what the first one found, if it must have the same bits.
    #[track_caller]
    pub(crate) fn same_bits(&self, what: &str, found: &[f32], first: &mut Option<Vec<f32>>) {
        if self.set.is_none() {
            return;
        }
        let first = first.get_or_insert_with(|| found.to_vec());
        let same = found.iter().zip(first.iter()).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same && found.len() == first.len(), "{what}: other bits on {:?}", self.device);
    }
}

/// Every instruction set that this processor has, the portable one first; on one thread and on several.
pub(crate) fn devices() -> Vec<Tested> {
    let mut sets = InstructionSet::available();
    sets.reverse();
    assert_eq!(sets[0], InstructionSet::Portable);
    let on = |set: InstructionSet| {
        [1, 3].map(|threads| Tested {
            device: Box::new(Cpu::with(set, threads).unwrap()),
            set: Some(set),
        })
    };
    sets.into_iter().flat_map(on).collect()
}

/// Numbers within -1 and 1.
pub(crate) fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0_f32..1.0)).collect()
}

/// A buffer of these numbers.
pub(crate) fn upload(device: &dyn Device, values: &[f32]) -> Buffer {
    device.upload(values.to_vec())
}

/// The same numbers in 64 bits.
pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// What all devices make of something: each number within `limit` of the reference's (times its magnitude, where that is above
/// one), and the processor's sets to the same bits.
#[track_caller]
pub(crate) fn agree(what: &str, limit: f64, run: impl Fn(&dyn Device) -> Vec<Buffer>) {
    let exact = run(&Reference);
    let mut first = vec![None; exact.len()];
    for tested in devices() {
        let device = &*tested.device;
        let found: Vec<Vec<f32>> =
            run(device).into_iter().map(|buffer| device.download(buffer)).collect();
        assert_eq!(found.len(), exact.len());
        for (nth, (found, exact)) in found.iter().zip(&exact).enumerate() {
            let exact = Reference.exact(exact);
            assert_eq!(found.len(), exact.len(), "{what}, result {nth}");
            for (index, (a, b)) in found.iter().zip(exact).enumerate() {
                let close = (f64::from(*a) - b).abs() <= limit * b.abs().max(1.0);
                assert!(close, "{what} on {device:?}, result {nth}, element {index}: {a} for {b}");
            }
        }
        for (found, first) in found.iter().zip(&mut first) {
            tested.same_bits(what, found, first);
        }
    }
}

/// The gradient that the reference found at `x`, against central differences of a function of it.
#[track_caller]
pub(crate) fn slopes(what: &str, x: &[f64], found: &[f64], value: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), found.len(), "{what}");
    let step = 1e-5;
    let mut moved = x.to_vec();
    for (index, found) in found.iter().enumerate() {
        moved[index] = x[index] + step;
        let above = value(&moved);
        moved[index] = x[index] - step;
        let below = value(&moved);
        moved[index] = x[index];
        let slope = (above - below) / (2.0 * step);
        let close = (slope - found).abs() <= 1e-6 * slope.abs().max(1.0);
        assert!(close, "{what}, element {index}: {found} where the values say {slope}");
    }
}

/// `values · weights`: a number whose gradient by `values` is `weights`.
pub(crate) fn weighted(values: &[f64], weights: &[f32]) -> f64 {
    assert_eq!(values.len(), weights.len());
    values.iter().zip(weights).map(|(v, w)| v * f64::from(*w)).sum()
}
