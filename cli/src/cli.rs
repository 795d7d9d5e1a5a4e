//! The command line as a tree of types: what can be asked for, and nothing of how it is done.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod local;
mod remote;

pub use local::{
    BackupArgs, BenchCommand, ConfigCommand, DemoArgs, EvalArgs, GateLoad, ModelArgs,
    ModelsCommand, RecomputeArg, RestoreArgs, SchedulerArg, ServeArgs, ServeLoad, TrainArgs,
    TrainLoad, TrainingArgs,
};
pub use remote::{
    AdaptersCommand, AuditCommand, ChatArgs, CycleCommand, FeedbackAdd, FeedbackCommand,
    KeysCommand, KeysCreate, ReplayArgs, SubjectArgs, WhyArgs,
};

/// Fine-tune-then-serve daemon with an OpenAI-compatible API.
///
/// Without a command, `hone` runs the daemon in the foreground.
#[derive(Debug, Parser)]
#[command(name = "hone", version, args_override_self = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The flags of `hone serve`, for `hone` alone.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// The command; none is `serve`.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Configuration file [default: ./hone.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where Hone keeps everything [default: ./hone-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print one JSON object, or JSON lines, on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Address of the running daemon [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL", env = "HONE_URL", hide_env_values = true)]
    #[arg(help_heading = "Talking to a running daemon")]
    pub url: Option<String>,
    /// Its API key
    #[arg(long, global = true, value_name = "KEY", env = "HONE_API_KEY", hide_env_values = true)]
    #[arg(help_heading = "Talking to a running daemon")]
    pub api_key: Option<String>,
    /// Trust the authorities in this file (PEM), and them alone, instead of this machine's
    #[arg(long, global = true, value_name = "FILE", env = "HONE_CA", hide_env_values = true)]
    #[arg(help_heading = "Talking to a running daemon")]
    pub ca: Option<PathBuf>,
}

/// One verb each.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    Serve(ServeArgs),
    /// Watch the whole loop, live, on the starter model or another
    Demo(DemoArgs),
    /// Talk to the model; say what was wrong
    Chat(ChatArgs),
    /// Fine-tune without a daemon
    Train(Box<TrainArgs>),
    /// Score an adapter, and compare it with another
    Eval(EvalArgs),
    /// Operate adapters
    #[command(subcommand)]
    Adapters(AdaptersCommand),
    /// Start and inspect cycles
    #[command(subcommand)]
    Cycle(CycleCommand),
    /// Record or move feedback
    #[command(subcommand)]
    Feedback(FeedbackCommand),
    /// Who may call
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Remove a person's traces, or one answer's, wherever they are; prints a receipt
    Erase(SubjectArgs),
    /// Which data sets and adapters saw a person's traces, or one answer's
    Recall(SubjectArgs),
    /// Compute a logged answer again: the same token ids, or the reason why not; exit 1 unless they are the same
    Replay(ReplayArgs),
    /// Who changed what, and whether the record is whole
    #[command(subcommand)]
    Audit(AuditCommand),
    /// What serves now, what is running, what comes next
    Status,
    /// The whole decision behind an adapter
    Why(WhyArgs),
    /// Copy the data directory, whether or not a daemon runs
    Backup(BackupArgs),
    /// Put a backup into an empty data directory
    Restore(RestoreArgs),
    /// Check everything and say what to do; exit 1 if something is wrong
    Doctor,
    /// Download and pack models ahead
    #[command(subcommand)]
    Models(ModelsCommand),
    /// The settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Measure speed on the configured model
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// The form of the base weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WeightsArg {
    /// 8-bit blocks if the model fits comfortably, else 4-bit ones
    Auto,
    /// 4-bit blocks
    Q4,
    /// 8-bit blocks
    Q8,
    /// bfloat16
    Bf16,
    /// 32-bit floats
    F32,
}

impl WeightsArg {
    /// The word that the configuration and the model crate use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Q4 => "q4",
            Self::Q8 => "q8",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_serve_with_its_flags() {
        let cli = Cli::try_parse_from(["hone", "--listen", "127.0.0.1:9"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.listen.as_deref(), Some("127.0.0.1:9"));
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for words in [
            &["hone", "--url", "http://h:1", "--json", "adapters", "list"][..],
            &["hone", "adapters", "--json", "list", "--url", "http://h:1"][..],
            &["hone", "config", "check", "--url", "http://h:1", "--data-dir", "d", "--json"][..],
        ] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert!(cli.global.json);
            assert_eq!(cli.global.url.as_deref(), Some("http://h:1"));
        }
    }

    #[test]
    fn of_two_global_flags_the_last_one_holds() {
        for words in [
            &["hone", "--url", "http://a:1", "--url", "http://b:1", "status"][..],
            &["hone", "--url", "http://a:1", "status", "--url", "http://b:1"][..],
            &["hone", "adapters", "--url", "http://a:1", "list", "--url", "http://b:1"][..],
        ] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert_eq!(cli.global.url.as_deref(), Some("http://b:1"), "{words:?}");
        }
    }

    #[test]
    fn help_is_a_command_too() {
        for words in [&["hone", "help"][..], &["hone", "help", "adapters", "import"][..]] {
            let said = Cli::try_parse_from(words).unwrap_err();
            assert_eq!(said.kind(), clap::error::ErrorKind::DisplayHelp, "{words:?}");
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for words in [
            &["hone", "train", "--data", "rows.jsonl"][..],
            &["hone", "train", "--job", "d", "--out", "o"][..],
            &["hone", "train"][..],
            &["hone", "eval"][..],
            &["hone", "feedback", "add", "chatcmpl-1"][..],
            &["hone", "feedback", "add", "chatcmpl-1", "--good", "--bad"][..],
            &["hone", "feedback", "add", "chatcmpl-1", "--score", "nan"][..],
            &["hone", "feedback", "add", "chatcmpl-1", "--score", "1.5"][..],
            &["hone", "keys", "create", "--name", "app"][..],
            &["hone", "keys", "create", "--name", "app", "--scope", "root"][..],
            &["hone", "keys", "create", "--name", "app", "--scope", "chat", "--expires", "soon"][..],
            &[
                "hone",
                "keys",
                "create",
                "--name",
                "app",
                "--scope",
                "chat",
                "--expires",
                "1999-01-01",
            ][..],
            &["hone", "erase"][..],
            &["hone", "recall", "--user", "ann", "--interaction", "chatcmpl-1"][..],
            &["hone", "serve", "--device", "tpu"][..],
            &["hone", "adapters", "promote"][..],
            &["hone", "models", "pull"][..],
            &["hone", "models", "pack", "x", "--weights", "q3"][..],
            &["hone", "bench", "train", "--steps", "0"][..],
        ] {
            assert!(Cli::try_parse_from(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn the_help_is_what_was_reviewed() {
        let mut text = String::new();
        let mut stack = vec![Cli::command()];
        stack[0].build();
        while let Some(mut command) = stack.pop() {
            text.push_str(&format!("## {}\n", command.get_display_name().unwrap_or("hone")));
            text.push_str(&command.render_help().to_string());
            text.push('\n');
            // `help` has the whole tree once more below it.
            let others = command.get_subcommands().filter(|one| one.get_name() != "help");
            stack.extend(others.rev_vec());
        }
        insta::assert_snapshot!(text);
    }

    trait RevVec {
        fn rev_vec(self) -> Vec<clap::Command>;
    }

    impl<'a, I: Iterator<Item = &'a clap::Command>> RevVec for I {
        fn rev_vec(self) -> Vec<clap::Command> {
            let mut all: Vec<_> = self.cloned().collect();
            all.reverse();
            all
        }
    }
}
