//! Products on the two best instruction sets, in turn: `cargo bench -p hone-device`, or with words to choose rows of the report:
//! `cargo bench -p hone-device -- q8 forward t2 16`.
//!
//! The weights are those of a layer of half a billion parameters, in as many copies as no cache holds. Each figure is the best
//! of several short rounds, so that other work on the machine disturbs it less.
#![allow(clippy::print_stdout)] // a report

use std::time::{Duration, Instant};

use hone_device::{
    Buffer, Cpu, InstructionSet, Matrix, PackedMatrix, WeightFormat,
    ops::{MemoryOps as _, ProductOps as _},
};

const ROUND: Duration = Duration::from_millis(60);
const ROUNDS: usize = 4;
/// Bytes of weights that each pass goes through.
const WEIGHTS: usize = 192 << 20;
/// Inputs and outputs.
const SHAPES: [(usize, usize); 2] = [(896, 4864), (4864, 896)];
const FORWARD: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 512];
const BACKWARD: [usize; 3] = [16, 128, 1024];

/// One device and what it multiplies.
struct Side {
    device: Cpu,
    layers: Vec<Matrix>,
    next: usize,
    best: f64,
}

impl Side {
    fn new(set: InstructionSet, threads: usize, packed: &PackedMatrix) -> std::io::Result<Self> {
        let device = Cpu::with(set, threads)?;
        let copies = WEIGHTS / packed.bytes().len();
        let layers = (0..copies).map(|_| device.hold(packed.clone())).collect();
        Ok(Self { device, layers, next: 0, best: 0.0 })
    }

    /// One round of products of `rows`; keeps the best rate, in products per second.
    fn round(&mut self, rows: usize, backward: bool) {
        let (inputs, outputs) = (self.layers[0].inputs(), self.layers[0].outputs());
        let numbers = |count: usize| -> Vec<f32> {
            (0..count).map(|i| (i * 37 % 101) as f32 * 0.02 - 1.0).collect()
        };
        let widths = if backward { (outputs, inputs) } else { (inputs, outputs) };
        let x = self.device.upload(numbers(rows * widths.0));
        let mut y = self.device.zeros(rows * widths.1);
        self.step(&x, &mut y, backward);
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < ROUND {
            self.step(&x, &mut y, backward);
            count += 1;
        }
        self.best = self.best.max(f64::from(count) / start.elapsed().as_secs_f64());
    }

    fn step(&mut self, x: &Buffer, y: &mut Buffer, backward: bool) {
        self.next = (self.next + 1) % self.layers.len();
        let layer = &self.layers[self.next];
        if backward {
            self.device.product_backward(layer, x, y, None);
        } else {
            self.device.product(layer, x, y, None);
        }
    }
}

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|w| !w.starts_with('-')).collect();
    let chosen = |name: &str, kind: &[&str]| {
        let asked: Vec<_> = words.iter().filter(|w| kind.contains(&w.as_str())).collect();
        asked.is_empty() || asked.iter().any(|w| *w == name)
    };
    let formats = WeightFormat::ALL.map(WeightFormat::name);
    let sets: Vec<_> = InstructionSet::available().into_iter().take(2).collect();
    for format in WeightFormat::ALL.into_iter().filter(|f| chosen(f.name(), &formats)) {
        for (inputs, outputs) in SHAPES {
            let weights: Vec<f32> =
                (0..inputs * outputs).map(|i| (i * 7919 % 1013) as f32 * 1e-4 - 0.05).collect();
            let packed = PackedMatrix::pack(format, inputs, outputs, &weights);
            for threads in [1, 2] {
                if !chosen(&format!("t{threads}"), &["t1", "t2"]) {
                    continue;
                }
                let sides = sets.iter().map(|set| Side::new(*set, threads, &packed));
                let mut sides = sides.collect::<Result<Vec<_>, _>>()?;
                for (way, rows) in [("forward", &FORWARD[..]), ("backward", &BACKWARD)] {
                    if !chosen(way, &["forward", "backward"]) {
                        continue;
                    }
                    let counts: Vec<_> = rows.iter().map(ToString::to_string).collect();
                    let counts: Vec<_> = counts.iter().map(String::as_str).collect();
                    for rows in rows.iter().filter(|rows| chosen(&rows.to_string(), &counts)) {
                        sides.iter_mut().for_each(|side| side.best = 0.0);
                        for _ in 0..ROUNDS {
                            for side in &mut sides {
                                side.round(*rows, way == "backward");
                            }
                        }
                        let flops = 2.0 * (inputs * outputs * rows) as f64;
                        print!(
                            "{format:>4} {inputs:>4}->{outputs:<4} t{threads} {way:>8} {rows:>4} rows:"
                        );
                        for (side, set) in sides.iter().zip(&sets) {
                            print!("  {set} {:>7.1} GFLOP/s", side.best * flops / 1e9);
                        }
                        let [first, second] =
                            [0, 1].map(|nth| sides.get(nth).map_or(1.0, |s| s.best));
                        println!("  {:.2}x", first / second);
                    }
                }
            }
        }
    }
    Ok(())
}
