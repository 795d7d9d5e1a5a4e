//! Figures for Prometheus: `hone_*`. Times of tokens are taken at engine events, not at SSE frames.

use std::time::Duration;

use hone_api::cycle::{Step, Verdict};
use hone_api::feedback::Signal;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::phase::Phase;

const TTFT: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const BETWEEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
const LATENCY: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
const REQUEST: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const STEP: &[f64] = &[0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 7200.0];

/// A word per promotion, or per cycle that ended without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromotionOutcome {
    /// A cycle came to this verdict.
    Verdict(Verdict),
    /// A cycle broke.
    Failed,
    /// A person made an adapter live.
    Manual,
    /// A person went back.
    RolledBack,
}

impl PromotionOutcome {
    const ALL: [Self; 7] = [
        Self::Verdict(Verdict::Promoted),
        Self::Verdict(Verdict::Rejected),
        Self::Verdict(Verdict::Held),
        Self::Verdict(Verdict::Skipped),
        Self::Failed,
        Self::Manual,
        Self::RolledBack,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Verdict(Verdict::Promoted) => "promoted",
            Self::Verdict(Verdict::Rejected) => "rejected",
            Self::Verdict(Verdict::Held) => "held",
            Self::Verdict(Verdict::Skipped) => "skipped",
            Self::Failed => "failed",
            Self::Manual => "manual",
            Self::RolledBack => "rolled_back",
        }
    }
}

const STEPS: [Step; 6] =
    [Step::Select, Step::Train, Step::Register, Step::Evaluate, Step::Decide, Step::Promote];

const fn step_label(step: Step) -> &'static str {
    match step {
        Step::Select => "select",
        Step::Train => "train",
        Step::Register => "register",
        Step::Evaluate => "evaluate",
        Step::Decide => "decide",
        Step::Promote => "promote",
    }
}

/// All figures of a daemon.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    pub(crate) ttft: Histogram,
    pub(crate) between: Histogram,
    pub(crate) latency: Histogram,
    pub(crate) queue_time: Histogram,
    pub(crate) tokens: IntCounterVec,
    pub(crate) answers: IntCounterVec,
    pub(crate) rejected: IntCounterVec,
    pub(crate) deadlines: IntCounterVec,
    feedback: IntCounterVec,
    pub(crate) queue_depth: IntGauge,
    pub(crate) running: IntGauge,
    pub(crate) kv_bytes: IntGauge,
    pub(crate) prefix_bytes: IntGauge,
    pub(crate) prefix_queries: IntCounter,
    pub(crate) prefix_hits: IntCounter,
    pub(crate) draft_tokens: IntCounter,
    pub(crate) accepted_tokens: IntCounter,
    pub(crate) preempted: IntCounter,
    pub(crate) warmed_tokens: IntCounter,
    pub(crate) steps: IntGauge,
    pub(crate) adapters: IntGaugeVec,
    pub(crate) live_epoch: IntGauge,
    cycle_steps: HistogramVec,
    training_loss: Gauge,
    promotions: IntCounterVec,
}

impl Metrics {
    /// New figures, all zero.
    ///
    /// # Errors
    /// A name was registered twice.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let r = &registry;
        let metrics = Self {
            requests: counters(r, "requests_total", "HTTP requests", &["route", "status"])?,
            request_duration: register(
                r,
                HistogramVec::new(
                    options("request_duration_seconds", "Time to the head of the answer", REQUEST),
                    &["route"],
                )?,
            )?,
            ttft: histogram(r, "time_to_first_token_seconds", "Arrival to first token", TTFT)?,
            between: histogram(r, "inter_token_latency_seconds", "Between two tokens", BETWEEN)?,
            latency: histogram(r, "e2e_request_latency_seconds", "Arrival to last token", LATENCY)?,
            queue_time: histogram(r, "request_queue_time_seconds", "Arrival to first step", TTFT)?,
            tokens: counters(r, "tokens_total", "Tokens of answered requests", &["kind"])?,
            answers: counters(r, "answers_total", "Answers that ended", &["finished_reason"])?,
            rejected: counters(r, "requests_rejected_total", "Turned away", &["reason"])?,
            deadlines: counters(r, "deadlines_exceeded_total", "Given up in time", &["phase"])?,
            feedback: counters(r, "feedback_total", "Feedback on disk", &["kind", "verdict"])?,
            queue_depth: gauge(r, "queue_depth", "Requests that wait")?,
            running: gauge(r, "requests_running", "Sequences in the batch")?,
            kv_bytes: gauge(r, "kv_cache_bytes", "Cache set aside for running sequences")?,
            prefix_bytes: gauge(r, "prefix_cache_bytes", "Held for prompts that begin alike")?,
            prefix_queries: register(
                r,
                IntCounter::new(
                    "hone_prefix_cache_queries_total",
                    "Prompt tokens looked for in the prefix cache",
                )?,
            )?,
            prefix_hits: register(
                r,
                IntCounter::new(
                    "hone_prefix_cache_hits_total",
                    "Prompt tokens that the prefix cache had",
                )?,
            )?,
            draft_tokens: register(
                r,
                IntCounter::new(
                    "hone_speculative_draft_tokens_total",
                    "Tokens that were computed because the text went on so before",
                )?,
            )?,
            accepted_tokens: register(
                r,
                IntCounter::new(
                    "hone_speculative_accepted_tokens_total",
                    "Those of them that were drawn",
                )?,
            )?,
            preempted: register(
                r,
                IntCounter::new(
                    "hone_preemptions_total",
                    "Times that a stream was paused because cache memory ran out",
                )?,
            )?,
            warmed_tokens: register(
                r,
                IntCounter::new(
                    "hone_prefix_cache_warmed_tokens_total",
                    "Prompt tokens computed for an adapter before it served",
                )?,
            )?,
            steps: gauge(r, "engine_steps", "Steps since the start")?,
            adapters: register(
                r,
                IntGaugeVec::new(
                    Opts::new("hone_adapter_info", "Adapters by state"),
                    &["id", "state"],
                )?,
            )?,
            live_epoch: gauge(r, "live_epoch", "Counts promotions and rollbacks")?,
            cycle_steps: register(
                r,
                HistogramVec::new(
                    options("cycle_step_seconds", "Time of a finished cycle step", STEP),
                    &["step"],
                )?,
            )?,
            training_loss: register(r, Gauge::new("hone_training_loss", "Of the last step")?)?,
            promotions: counters(r, "promotions_total", "Verdicts of cycles", &["outcome"])?,
            registry,
        };
        metrics.show_known_labels();
        Ok(metrics)
    }

    /// A series that is missing until its first event hides that event from rates and alerts.
    fn show_known_labels(&self) {
        for kind in ["prompt", "completion"] {
            self.tokens.with_label_values(&[kind]).inc_by(0);
        }
        for reason in ["stop", "length", "error", "cancelled"] {
            self.answers.with_label_values(&[reason]).inc_by(0);
        }
        for reason in [
            "queue_full",
            "shutting_down",
            "invalid_host",
            "foreign_host",
            "foreign_origin",
            "invalid_api_key",
            "missing_scope",
            "rate_limit_exceeded",
            "request_too_large",
            "request_timeout",
            "bodies_full",
        ] {
            self.rejected.with_label_values(&[reason]).inc_by(0);
        }
        for phase in Phase::ALL {
            self.deadlines.with_label_values(&[phase.label()]).inc_by(0);
        }
        for step in STEPS {
            let _ = self.cycle_steps.with_label_values(&[step_label(step)]);
        }
        for outcome in PromotionOutcome::ALL {
            self.promotions.with_label_values(&[outcome.label()]).inc_by(0);
        }
    }

    pub(crate) fn request(&self, route: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[route, &status.to_string()]).inc();
        self.request_duration.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    pub(crate) fn feedback(&self, signal: &Signal) {
        let verdict = match (signal, signal.vote()) {
            (Signal::Demonstration(_), _) => "corrected",
            (_, Some(true)) => "good",
            (_, Some(false)) => "bad",
            (_, None) => "none",
        };
        self.feedback.with_label_values(&[signal.metric_name(), verdict]).inc();
    }

    /// A cycle's step has ended.
    pub fn cycle_step(&self, step: Step, took: Duration) {
        self.cycle_steps.with_label_values(&[step_label(step)]).observe(took.as_secs_f64());
    }

    /// The loss that training reports.
    pub fn training_loss(&self, loss: f64) {
        self.training_loss.set(loss);
    }

    /// A cycle came to an end, or the live pointer was moved by hand.
    pub fn promotion(&self, outcome: PromotionOutcome) {
        self.promotions.with_label_values(&[outcome.label()]).inc();
    }

    /// All of them in Prometheus' text format.
    pub(crate) fn encoded(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn options(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(format!("hone_{name}"), help).buckets(buckets.to_vec())
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    register(registry, IntCounterVec::new(Opts::new(format!("hone_{name}"), help), labels)?)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram, prometheus::Error> {
    register(registry, Histogram::with_opts(options(name, help, buckets))?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    register(registry, IntGauge::new(format!("hone_{name}"), help)?)
}
