//! How many prompt tokens a step takes, so that streams do not stall while prompts are computed.
//!
//! A step that decodes beside a chunk of a prompt takes as long as both, and all streams wait for it. As with chunked prefill
//! in Sarathi-Serve (Agrawal and others, *Taming Throughput-Latency Tradeoff in LLM Inference*, 2024) the chunk is what a target
//! for the time between tokens leaves, but here by what steps were seen to cost on this machine, with this model and
//! these prompts: a stream that runs alone, long contexts and another process beside Hone all change it.

use std::time::Duration;

/// Prompt tokens that a step takes in any case, so that a prompt comes forward however slow the machine is.
const FEWEST: usize = 16;
/// The time of a prompt's chunk at least, in those that decoding takes, as long as the step is no longer than [`READABLE`].
const PROMPTS: f64 = 2.0;
/// The same in any case, in those that decoding takes.
const PROMPTS_ALWAYS: f64 = 1.0;
/// Seconds between tokens at which a stream is as fast as people read.
const READABLE: f64 = 0.12;
/// What a new figure counts beside those before it.
const WEIGHT: f64 = 0.25;
/// A figure that is so many times what was expected, or a part of it, counts as no more or less: a step that waited for the
/// machine says little.
const OUTLIER: f64 = 2.0;

/// What a row costs among twice as many, as long as nothing else is known: on two cores 0.65 with 500 million weights, 0.85 with 15.
const COMPANY: f64 = 0.75;

/// Powers of two of rows that are told apart.
const POWERS: usize = 16;

/// What steps were seen to cost. Seconds.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// One prompt token.
    prompt_token: Option<f64>,
    /// One decoding row, by the power of two of the rows: in company it costs less, for the weights are read once for all.
    decode_row: [Option<f64>; POWERS],
}

/// What a step computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Rows that decode.
    pub(crate) decoding: usize,
    /// Prompt tokens.
    pub(crate) prompt_tokens: usize,
}

impl Pace {
    /// Learns from a step.
    pub(crate) fn observe(&mut self, load: Load, took: Duration) {
        let took = took.as_secs_f64();
        let Load { decoding, prompt_tokens } = load;
        let knows_decoding = self.decode_row.iter().any(Option::is_some);
        if let (false, true, Some(cost)) = (knows_decoding, decoding > 0, self.prompt_token) {
            // Prompts have come without a pause since the first stream began: what they do not explain is its share.
            let rest = (took - cost * prompt_tokens as f64).max(took / 8.0);
            smooth(&mut self.decode_row[power(decoding)], rest / decoding as f64);
        } else if prompt_tokens > 0 {
            // If the rows are thought to cost more than the step did, the figure for them is old; half of it leaves room
            // to find that out.
            let rest = took - self.decoding(decoding).min(took / 2.0);
            smooth(&mut self.prompt_token, rest / prompt_tokens as f64);
        } else if decoding > 0 {
            smooth(&mut self.decode_row[power(decoding)], took / decoding as f64);
        }
    }

    /// Prompt tokens for a step beside so many decoding rows, so that it takes no longer than `target`. Where decoding alone takes
    /// most of the target, whoever waits for a first token would wait for very long, and small chunks cost more: so prompts
    /// have two thirds of a step's time at least, and half of it where the step would take longer than people read.
    pub(crate) fn chunk(&self, decoding: usize, target: Duration) -> usize {
        if target.is_zero() {
            return usize::MAX;
        }
        let decoding = self.decoding(decoding);
        let readable = (READABLE - decoding).max(decoding * PROMPTS_ALWAYS);
        let left = (target.as_secs_f64() - decoding).max(readable.min(decoding * PROMPTS));
        match self.prompt_token {
            Some(cost) if cost > 0.0 => ((left / cost) as usize).max(FEWEST),
            // Nothing is known yet: the first step will tell.
            _ => FEWEST,
        }
    }

    /// What a step of so many decoding rows takes by itself, as far as is known.
    fn decoding(&self, rows: usize) -> f64 {
        if rows == 0 {
            return 0.0;
        }
        let power = power(rows);
        let known = self.decode_row.iter().enumerate().filter_map(|(n, cost)| Some((n, (*cost)?)));
        let nearest = known.min_by_key(|(n, _)| n.abs_diff(power));
        nearest.map_or(0.0, |(n, cost)| {
            let in_company = COMPANY.powi(power as i32 - n as i32);
            cost * in_company * rows as f64
        })
    }
}

/// Of at least one row.
fn power(rows: usize) -> usize {
    (rows.max(1).ilog2() as usize).min(POWERS - 1)
}

fn smooth(figure: &mut Option<f64>, new: f64) {
    *figure = Some(match *figure {
        Some(old) => old + WEIGHT * (new.clamp(old / OUTLIER, old * OUTLIER) - old),
        None => new,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TARGET: Duration = Duration::from_millis(15);

    /// A machine: seconds for a step, for each decoding row and for each prompt token.
    #[derive(Debug, Clone, Copy)]
    struct Machine {
        step: f64,
        row: f64,
        token: f64,
    }

    impl Machine {
        fn time(self, load: Load) -> Duration {
            let rows = self.row * load.decoding as f64;
            Duration::from_secs_f64(self.step + rows + self.token * load.prompt_tokens as f64)
        }

        /// Serves prompts beside so many streams for a while; what the last step took and computed.
        fn serve(self, pace: &mut Pace, decoding: usize, steps: usize) -> (Duration, Load) {
            let mut last = (Duration::ZERO, Load::default());
            for _ in 0..steps {
                let load = Load { decoding, prompt_tokens: pace.chunk(decoding, TARGET).min(512) };
                last = (self.time(load), load);
                pace.observe(load, last.0);
            }
            last
        }
    }

    #[test]
    fn without_a_target_chunks_are_whole() {
        let mut pace = Pace::default();
        pace.observe(Load { decoding: 0, prompt_tokens: 512 }, Duration::from_secs(1));
        assert_eq!(pace.chunk(0, Duration::from_millis(100)), 51);
        assert_eq!(pace.chunk(4, Duration::ZERO), usize::MAX);
        assert_eq!(pace.chunk(4, TARGET), FEWEST);
    }

    #[test]
    fn one_step_that_waited_changes_little() {
        let machine = Machine { step: 0.001, row: 0.0005, token: 0.00005 };
        let mut pace = Pace::default();
        machine.serve(&mut pace, 8, 50);
        let before = pace.chunk(8, TARGET);
        pace.observe(Load { decoding: 8, prompt_tokens: before }, Duration::from_secs(3));
        assert!(pace.chunk(8, TARGET) * 4 >= before * 3);
    }

    #[test]
    fn prompts_that_come_without_a_pause_tell_what_decoding_costs() {
        let machine = Machine { step: 0.010, row: 0.003, token: 0.0014 };
        let mut pace = Pace::default();
        let first = Load { decoding: 0, prompt_tokens: 256 };
        pace.observe(first, machine.time(first));
        let (took, load) = machine.serve(&mut pace, 4, 30);
        let alone = machine.time(Load { decoding: 4, prompt_tokens: 0 });
        assert!(load.prompt_tokens > FEWEST && took > alone * 2, "{took:?} for {load:?}");
    }

    proptest! {
        /// Whatever the machine costs, and whatever was known of it: steps come to take what the target leaves, or three times
        /// what decoding takes, or what people read in, or twice what decoding takes, or the fewest tokens, or whole chunks.
        #[test]
        fn steps_come_to_the_target(
            step in 0.0001..0.01, row in 0.00005..0.004, token in 0.00001..0.01,
            rows in 1..40_usize, others in 1..40_usize,
        ) {
            let machine = Machine { step, row, token };
            let mut pace = Pace::default();
            machine.serve(&mut pace, others, 3);
            for decoding in [others, rows].iter().flat_map(|rows| [*rows; 40]) {
                let load = Load { decoding, prompt_tokens: 0 };
                pace.observe(load, machine.time(load));
            }
            let (took, load) = machine.serve(&mut pace, rows, 200);
            let alone = machine.time(Load { decoding: rows, prompt_tokens: 0 });
            let readable = Duration::from_secs_f64(READABLE).max(alone * 2).min(alone * 3);
            let most = TARGET.max(readable).mul_f64(1.05) + Duration::from_secs_f64(token);
            let fewest = load.prompt_tokens == FEWEST;
            prop_assert!(fewest || took <= most, "{took:?} for {load:?}, decoding takes {alone:?}");
            let whole = load.prompt_tokens == 512;
            prop_assert!(whole || took.mul_f64(1.05) + Duration::from_secs_f64(token) >= TARGET.min(alone * 3), "{took:?} for {load:?}");
        }
    }
}
