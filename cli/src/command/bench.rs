//! `hone bench`: how fast this machine serves and trains the configured model, as JSON; and how often
//! the gate is right.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use hone_api::sampling_params::SamplingParams;
use hone_api::{AdapterId, InteractionId};
use hone_engine::{Engine, EngineConfig, Event, Generate, Party, Priority, Request, Target};
use hone_trainer::BenchShape;
use serde::Serialize;
use serde_json::json;

use super::base::Base;
use crate::cli::{BenchCommand, RecomputeArg, ServeLoad, TrainLoad};
use crate::context::{CommandResult, Context, Failure};

mod gate;

/// Measures, and prints one JSON object per measurement.
///
/// # Errors
/// The model or an adapter cannot be loaded, or a request fails.
pub fn run(context: &Context, command: &BenchCommand) -> CommandResult {
    match command {
        BenchCommand::Serve(load) => serve(context, load),
        BenchCommand::Train(load) => train(context, load),
        BenchCommand::Gate(load) => gate::run(context, load),
    }
}

fn train(context: &Context, load: &TrainLoad) -> CommandResult {
    let shape = BenchShape {
        sequences: load.batch_size,
        length: load.length,
        rank: load.rank,
        supervised: 1.0,
        recompute: load.recompute == RecomputeArg::Always,
    };
    let (base, _) = Base::prepare_if(context, &load.model, |_, found| {
        Ok(shape.admit(&found.config, found.format)?)
    })?;
    let model = base.open()?;
    let figures = hone_trainer::bench(&model, shape, load.steps)?;
    let mut value = serde_json::to_value(figures)?;
    value["model"] = base.config.model.name().into();
    value["memory"] = serde_json::to_value(Memory::now()?)?;
    context.output.value(&value)?;
    Ok(())
}

fn serve(context: &Context, load: &ServeLoad) -> CommandResult {
    let (base, budget) = Base::prepare_to_serve(context, &load.model)?;
    let model = base.open()?;
    let most = load.streams.iter().copied().max().unwrap_or(1).max(1);
    let config = EngineConfig {
        max_sequences: most.max(base.config.engine.max_sequences),
        max_queue: most.max(base.config.engine.max_queue),
        // Random prompts make answers that repeat themselves, as real ones do not.
        speculative_tokens: 0,
        // Whole prompts are measured.
        prefix_cache_bytes: 0,
        // All that are measured side by side.
        adapter_bytes: usize::MAX,
        ..budget.engine(&base.config.engine)
    };
    let engine = Engine::start(Arc::clone(&model), config)?;
    let targets = load_adapters(engine.as_ref(), &load.adapters)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for streams in &load.streams {
        let measured = runtime.block_on(measure(engine.as_ref(), load, *streams, &targets))?;
        let mut value = serde_json::to_value(measured)?;
        for (name, figure) in [
            ("model", json!(base.config.model.name())),
            ("format", json!(model.format().to_string())),
            ("adapters", json!(load.adapters.len())),
            ("threads", json!(base.config.model.cores())),
            ("memory", serde_json::to_value(Memory::now()?)?),
        ] {
            value[name] = figure;
        }
        context.output.value(&value)?;
    }
    Ok(())
}

fn load_adapters(engine: &Engine, folders: &[PathBuf]) -> Result<Vec<Target>, Failure> {
    let mut targets = Vec::new();
    for folder in folders {
        let id = AdapterId::new();
        engine.load(id, folder)?;
        targets.push(Target::Exact(id));
    }
    if targets.is_empty() {
        targets.push(Target::Base);
    }
    Ok(targets)
}

/// What one number of streams came to. Times in milliseconds.
#[derive(Debug, Serialize)]
struct Measured {
    streams: usize,
    requests: usize,
    prompt_tokens: usize,
    max_tokens: u32,
    seconds: f64,
    /// Tokens of answers per second, all streams together.
    output_tokens_per_second: f64,
    /// The same with the prompts' tokens.
    total_tokens_per_second: f64,
    ttft_ms: Quantiles,
    itl_ms: Quantiles,
}

async fn measure(
    engine: &Engine,
    load: &ServeLoad,
    streams: usize,
    targets: &[Target],
) -> Result<Measured, Failure> {
    if streams == 0 || load.requests == 0 {
        return Err(Failure::Usage("--streams and --requests are at least 1".to_owned()));
    }
    one(engine, load, 0, targets[0]).await?; // page faults and thread starts
    let start = Instant::now();
    let count = streams * load.requests;
    let requests =
        (0..count).map(|number| one(engine, load, number + 1, targets[number % targets.len()]));
    let done: Vec<_> = stream::iter(requests).buffer_unordered(streams).collect().await;
    let seconds = start.elapsed().as_secs_f64();
    let (mut first, mut between, mut tokens) = (Vec::new(), Vec::new(), 0);
    for one in done {
        let one = one?;
        tokens += one.len();
        first.extend(one.first());
        between.extend(one.iter().skip(1));
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let rate = |tokens: usize| tokens as f64 / seconds;
    Ok(Measured {
        streams,
        requests: count,
        prompt_tokens: load.prompt_tokens,
        max_tokens: load.max_tokens,
        seconds,
        output_tokens_per_second: rate(tokens),
        total_tokens_per_second: rate(tokens + count * load.prompt_tokens),
        ttft_ms: Quantiles::of(&first),
        itl_ms: Quantiles::of(&between),
    })
}

/// One request; the time before each token.
async fn one(
    engine: &Engine,
    load: &ServeLoad,
    number: usize,
    target: Target,
) -> Result<Vec<Duration>, Failure> {
    let sampling = SamplingParams {
        temperature: 0.0,
        max_tokens: load.max_tokens,
        min_tokens: load.max_tokens,
        ignore_eos: true,
        ..SamplingParams::default()
    };
    let vocabulary = engine.model().config().vocab_size;
    // No two prompts alike, so that nothing can be reused; the same in every run.
    let token = |at: usize| u32::try_from((number * 7919 + at * 104_729) % vocabulary);
    let prompt = (0..load.prompt_tokens).map(token).collect::<Result<Vec<u32>, _>>()?;
    let mut last = Instant::now();
    let mut generation = engine.submit(Request {
        id: InteractionId::new(),
        prompt,
        sampling,
        target,
        echo_from: None,
        grammar: None,
        shown: Vec::new(),
        priority: Priority::Interactive,
        // Each one a caller of its own: together they may use all there is.
        party: Party { caller: number as u64, user: 0 },
    })?;
    let mut times = Vec::new();
    while let Some(event) = generation.next().await {
        match event {
            Event::Token { .. } => {
                times.push(last.elapsed());
                last = Instant::now();
            }
            Event::Displaced { .. } => return Err(anyhow::anyhow!("the queue is full").into()),
            Event::Failed(reason) => return Err(anyhow::anyhow!(reason).into()),
            _ => {}
        }
    }
    Ok(times)
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Quantiles {
    p50: f64,
    p95: f64,
    max: f64,
}

impl Quantiles {
    /// Nearest rank.
    fn of(times: &[Duration]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
            sorted.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        Self { p50: at(50), p95: at(95), max: at(100) }
    }
}

/// Memory of this process in MiB. The mapped base counts as far as it is resident.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Memory {
    resident_mib: u64,
    peak_mib: u64,
}

impl Memory {
    fn now() -> std::io::Result<Self> {
        Ok(Self::read(&fs_err::read_to_string("/proc/self/status")?))
    }

    fn read(status: &str) -> Self {
        let figure = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
                >> 10
        };
        Self { resident_mib: figure("VmRSS:"), peak_mib: figure("VmHWM:") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let times: Vec<Duration> = (1..=20).rev().map(Duration::from_millis).collect();
        assert_eq!(Quantiles::of(&times), Quantiles { p50: 10.0, p95: 19.0, max: 20.0 });
        let one = [Duration::from_millis(3)];
        assert_eq!(Quantiles::of(&one), Quantiles { p50: 3.0, p95: 3.0, max: 3.0 });
        assert_eq!(Quantiles::of(&[]), Quantiles { p50: 0.0, p95: 0.0, max: 0.0 });
    }

    #[test]
    fn memory_is_read_from_the_kernel() {
        let status = "Name:\thone\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n";
        assert_eq!(Memory::read(status), Memory { resident_mib: 100, peak_mib: 200 });
        assert!(Memory::now().unwrap().peak_mib > 0);
    }
}
