//! Arguments of the commands that do their work in this process.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::WeightsArg;

/// Which model, in which form.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct ModelArgs {
    /// Folder in Hugging Face layout, GGUF file, hub id, or `starter` [default: the starter model]
    #[arg(long, value_name = "PATH|ID")]
    pub model: Option<String>,
    /// Jinja file with the chat template [default: the model's own]
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Form of the base weights [default: auto]
    #[arg(long, value_enum)]
    pub weights: Option<WeightsArg>,
    /// Cores for the model; 0 takes all [default: 0]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// `hone serve`
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct ServeArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Address and port [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where the model computes
    #[arg(long, value_name = "cpu|auto", value_parser = ["cpu", "auto"])]
    pub device: Option<String>,
}

/// `hone demo`
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Leave the daemon running at the end and print its address
    #[arg(long)]
    pub keep: bool,
    /// Teach only this family; may be repeated [default: all five]
    #[arg(long = "family", value_name = "NAME")]
    pub families: Vec<String>,
    /// Ask so many questions that it takes about this long
    #[arg(long, value_name = "N", default_value_t = 4.0, value_parser = minutes)]
    pub minutes: f64,
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if (0.5..=600.0).contains(&minutes) => Ok(minutes),
        _ => Err("a number of minutes from 0.5 to 600".to_owned()),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number >= 1 => Ok(number),
        _ => Err("a number from 1 up".to_owned()),
    }
}

/// `hone train`
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// Rows in OpenAI's chat format, one JSON object a line
    #[arg(long, value_name = "FILE.jsonl", requires = "out", required_unless_present = "job")]
    pub data: Option<PathBuf>,
    /// Where the adapter goes
    #[arg(long, value_name = "DIR", requires = "data")]
    pub out: Option<PathBuf>,
    /// Do the job of this directory: the form that the daemon uses
    #[arg(long, value_name = "DIR", conflicts_with_all = ["data", "out"])]
    pub job: Option<PathBuf>,
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// How.
    #[command(flatten)]
    pub training: TrainingArgs,
}

/// Hyper-parameters; what is not given comes from `[training]` of the settings.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Hyper-parameters; [training] of the settings changes the defaults")]
pub struct TrainingArgs {
    /// Rank of the update [default: 16]
    #[arg(long)]
    pub rank: Option<usize>,
    /// The update is scaled by alpha / rank [default: 64]
    #[arg(long)]
    pub alpha: Option<f64>,
    /// Share of the adapter's inputs that is dropped [default: 0]
    #[arg(long)]
    pub dropout: Option<f64>,
    /// What the divergence from the base counts on rows of the kind `replay` [default: 6]
    #[arg(long, value_name = "WEIGHT")]
    pub kl_weight: Option<f64>,
    /// Top of the learning rate [default: 0.0005]
    #[arg(long, value_name = "RATE")]
    pub learning_rate: Option<f64>,
    /// Share of the steps in which the learning rate rises [default: 0.05]
    #[arg(long, value_name = "SHARE")]
    pub warmup_ratio: Option<f64>,
    /// Shape of the learning rate afterwards [default: cosine]
    #[arg(long, value_enum)]
    pub scheduler: Option<SchedulerArg>,
    /// Passes over the rows [default: 3]
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Rows per forward pass [default: 8]
    #[arg(long, value_name = "ROWS")]
    pub batch_size: Option<usize>,
    /// Forward passes per step [default: 1]
    #[arg(long, value_name = "N")]
    pub accumulation: Option<usize>,
    /// Most tokens that go through the model at once [default: 4096]
    #[arg(long, value_name = "TOKENS")]
    pub batch_tokens: Option<usize>,
    /// Largest gradient norm [default: 1]
    #[arg(long, value_name = "NORM")]
    pub clip: Option<f64>,
    /// Decoupled weight decay [default: 0]
    #[arg(long, value_name = "RATE")]
    pub weight_decay: Option<f64>,
    /// AdamW's decay of the first moment [default: 0.9]
    #[arg(long)]
    pub beta1: Option<f64>,
    /// AdamW's decay of the second moment [default: 0.999]
    #[arg(long)]
    pub beta2: Option<f64>,
    /// AdamW's floor of the denominator [default: 1e-8]
    #[arg(long)]
    pub epsilon: Option<f64>,
    /// Longest row in tokens; 0 is the model's context [default: 1024]
    #[arg(long, value_name = "TOKENS")]
    pub max_length: Option<usize>,
    /// Linear layers that get an adapter [default: all seven]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub target_modules: Option<Vec<String>>,
    /// Epochs without a lower validation loss after which it ends; 0 is never [default: 1]
    #[arg(long, value_name = "EPOCHS")]
    pub early_stop_patience: Option<usize>,
    /// Share of the rows that is held for validation when the file marks none [default: 0.05]
    #[arg(long, value_name = "SHARE")]
    pub validation_share: Option<f64>,
    /// Largest share of refused rows that is not a failure [default: 0.5]
    #[arg(long, value_name = "SHARE")]
    pub max_refused_share: Option<f64>,
    /// Seed of first weights, order and dropout [default: 17]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Compute activations again instead of keeping them [default: auto]
    #[arg(long, value_enum)]
    pub recompute: Option<RecomputeArg>,
    /// Steps between checkpoints; 0 is one per epoch [default: 25]
    #[arg(long, value_name = "STEPS")]
    pub checkpoint_every: Option<usize>,
}

/// Shapes of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchedulerArg {
    /// Half a cosine down to zero
    Cosine,
    /// A straight line down to zero
    Linear,
    /// Stays at the top
    Constant,
}

/// When activations are computed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecomputeArg {
    /// When they would not fit
    Auto,
    /// Always: less memory
    Always,
    /// Never: less time
    Never,
}

/// `hone eval`
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// A .jsonl file, or the name of a suite that ships with Hone
    #[arg(long, value_name = "FILE_OR_NAME")]
    pub suite: String,
    /// The adapter to score: a reference, or the path of a PEFT folder
    #[arg(long, value_name = "REF", default_value = "live")]
    pub adapter: String,
    /// Compare with this one, question by question
    #[arg(long, value_name = "REF")]
    pub against: Option<String>,
    /// At most so many questions; 0 takes all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub limit: usize,
    /// Evaluate in this process although a daemon runs
    #[arg(long)]
    pub local: bool,
    /// Which model, without a daemon.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// `hone backup`
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// A new folder, or a new file whose name ends in .tar
    #[arg(value_name = "FILE_OR_DIR")]
    pub to: PathBuf,
}

/// `hone restore`
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// What `hone backup` made
    #[arg(value_name = "FILE_OR_DIR")]
    pub from: PathBuf,
}

/// `hone models …`
#[derive(Debug, Clone, Subcommand)]
pub enum ModelsCommand {
    /// Download a model from the hub, or what is missing of it
    Pull {
        /// org/name, org/name@revision, org/name/file.gguf or org/name:Q4_K_M
        id: String,
    },
    /// Pack a model now, so that it need not be done at the first start
    Pack {
        /// Folder in Hugging Face layout, GGUF file, hub id, or `starter` [default: the configured model]
        model: Option<String>,
        /// Form of the base weights [default: auto]
        #[arg(long, value_enum)]
        weights: Option<WeightsArg>,
    },
    /// What is packed in the data directory: format, size and source
    List,
}

/// `hone config …`
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Print each setting with the layer that set it
    Show,
    /// Read the settings and say whether they hold
    Check,
}

/// `hone bench …`
#[derive(Debug, Clone, Subcommand)]
pub enum BenchCommand {
    /// Tokens per second, time to first token and memory while answering
    Serve(ServeLoad),
    /// Tokens per second and memory while training
    Train(TrainLoad),
    /// How often the gate promotes what it should, and what it should not, in simulated nights
    Gate(GateLoad),
}

/// `hone bench gate`
#[derive(Debug, Clone, Args)]
pub struct GateLoad {
    /// The same seed gives the same figures
    #[arg(long, value_name = "N", default_value_t = 17)]
    pub seed: u64,
    /// Simulated years with nothing to learn; ten times as many nights of each other kind
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one)]
    pub years: usize,
}

/// `hone bench serve`
#[derive(Debug, Clone, Args)]
pub struct ServeLoad {
    /// Requests under way at once; several are measured one after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,16")]
    pub streams: Vec<usize>,
    /// Requests of each stream
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub requests: usize,
    /// Tokens of each prompt
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub prompt_tokens: usize,
    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_tokens: u32,
    /// PEFT folders; the streams take turns with them
    #[arg(long = "adapter", value_name = "DIR")]
    pub adapters: Vec<PathBuf>,
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// `hone bench train`
#[derive(Debug, Clone, Args)]
pub struct TrainLoad {
    /// Sequences per step
    #[arg(long, value_name = "ROWS", default_value_t = 4, value_parser = at_least_one)]
    pub batch_size: usize,
    /// Tokens of each sequence
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = at_least_one)]
    pub length: usize,
    /// Steps that are measured, after one that is not
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    pub steps: usize,
    /// Rank of the adapter
    #[arg(long, default_value_t = 16)]
    pub rank: usize,
    /// Compute activations again instead of keeping them
    #[arg(long, value_enum, default_value = "auto")]
    pub recompute: RecomputeArg,
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
}
