//! Arguments of the commands that talk to a running daemon.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hone_api::UnixMillis;
use hone_api::key::Scope;
use hone_config::Seconds;

/// `hone chat`
#[derive(Debug, Clone, Args)]
pub struct ChatArgs {
    /// Who answers: a reference to an adapter, or `base` [default: what serves]
    #[arg(long, value_name = "REF")]
    pub adapter: Option<String>,
    /// Instructions that hold for the whole conversation
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// 0 always takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f32,
    /// Longest answer in tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    pub max_tokens: u32,
}

/// `hone adapters …`; REF is an id (ad-…), `live`, `previous`, `candidate`, `base`, or a name
#[derive(Debug, Clone, Subcommand)]
pub enum AdaptersCommand {
    /// All adapters and which one serves
    List,
    /// One adapter
    Show {
        /// Which one
        #[arg(value_name = "REF")]
        adapter: String,
    },
    /// Copy a PEFT folder in and verify it
    Import {
        /// A folder with adapter_config.json and adapter_model.safetensors
        folder: PathBuf,
        /// A name to ask for it by
        #[arg(long)]
        name: Option<String>,
    },
    /// Copy an adapter out as a PEFT folder
    Export {
        /// Which one
        #[arg(value_name = "REF")]
        adapter: String,
        /// Where to; must not exist or be empty
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Make an adapter serve
    Promote {
        /// Which one
        #[arg(value_name = "REF")]
        adapter: String,
        /// Only if this one serves at the moment
        #[arg(long, value_name = "REF")]
        expected_live: Option<String>,
    },
    /// Let the previous adapter serve again
    Rollback {
        /// Not the previous one but this one
        #[arg(long, value_name = "REF")]
        to: Option<String>,
        /// Only if this one serves at the moment
        #[arg(long, value_name = "REF")]
        expected_live: Option<String>,
    },
    /// Delete an adapter that neither serves nor served before
    Delete {
        /// Which one
        #[arg(value_name = "REF")]
        adapter: String,
    },
}

/// `hone cycle …`
#[derive(Debug, Clone, Subcommand)]
pub enum CycleCommand {
    /// Start a cycle now
    Run {
        /// Follow it to its verdict; exit 1 unless it comes to one
        #[arg(long)]
        wait: bool,
    },
    /// The newest cycles
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// One cycle, step by step
    Show {
        /// Its id [default: the newest]
        id: Option<String>,
    },
    /// Stop a cycle
    Cancel {
        /// Its id [default: the newest]
        id: Option<String>,
    },
}

/// `hone feedback …`
#[derive(Debug, Clone, Subcommand)]
pub enum FeedbackCommand {
    /// Say something about one answer
    Add(FeedbackAdd),
    /// Send feedback from a file of JSON lines
    Import {
        /// Lines as `export` writes them, or as `POST /v1/feedback` takes them
        file: PathBuf,
    },
    /// Write all feedback as JSON lines
    Export {
        /// To this file [default: stdout]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Answers that wait for a person: bad ones without a correction, contradictions
    Waiting {
        /// How many, the newest first
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Let an answer teach nothing, and take it out of what waits
    Discard {
        /// The answer's id (chatcmpl-…)
        #[arg(value_name = "ID")]
        interaction: String,
    },
}

/// `hone feedback add`
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("signal").required(true).args(["good", "bad", "fix", "score", "comment"]))]
pub struct FeedbackAdd {
    /// The answer's id (chatcmpl-…)
    #[arg(value_name = "ID")]
    pub interaction: String,
    /// It is good
    #[arg(long)]
    pub good: bool,
    /// It is bad
    #[arg(long)]
    pub bad: bool,
    /// This is what it should have been
    #[arg(long, value_name = "TEXT")]
    pub fix: Option<String>,
    /// A grade from 0 to 1
    #[arg(long, value_name = "GRADE", value_parser = grade)]
    pub score: Option<f64>,
    /// A remark; it teaches nothing
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// A label; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = key_value)]
    pub tags: Vec<(String, String)>,
}

fn grade(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(grade) if (0.0..=1.0).contains(&grade) => Ok(grade),
        _ => Err("a grade is a number from 0 to 1".to_owned()),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label looks like family=billing".to_owned()),
    }
}

/// `hone audit …`
#[derive(Debug, Clone, Subcommand)]
pub enum AuditCommand {
    /// The newest changes: who, what, why
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Check that no row was changed or taken out: in the data directory, or with --url as the daemon tells
    Verify {
        /// The hash of a row, noted earlier, that must still be there
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

/// `hone keys …`
#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Make a key; it is shown once
    Create(KeysCreate),
    /// All keys that were ever made, without their secrets
    List,
    /// End a key at once
    Revoke {
        /// Its id, as `hone keys list` shows it
        id: String,
    },
}

/// `hone keys create`
#[derive(Debug, Clone, Args)]
pub struct KeysCreate {
    /// Whose it is
    #[arg(long)]
    pub name: String,
    /// What it may do: chat, feedback, export, adapters, cycles, admin; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
    pub scopes: Vec<Scope>,
    /// When it ends by itself: a time from now (90d, 12h) or a date (2030-01-31) [default: never]
    #[arg(long, value_name = "WHEN", value_parser = end)]
    pub expires: Option<UnixMillis>,
    /// Requests in any minute [default: no bound]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and answers in any minute [default: no bound]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub tokens_per_minute: Option<u32>,
    /// Requests for answers under way at once [default: no bound]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_streams: Option<u32>,
}

/// The instant of a time from now, or of the beginning of a day here.
fn end(text: &str) -> Result<UnixMillis, String> {
    let now = UnixMillis::now();
    if let Ok(span) = text.parse::<Seconds>() {
        let span = i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX);
        return Ok(UnixMillis(now.0.saturating_add(span)));
    }
    let day = text.parse::<jiff::civil::Date>().ok();
    let begins = day.and_then(|day| day.to_zoned_datetime(jiff::tz::TimeZone::system()).ok());
    match begins.map(|at| UnixMillis(at.timestamp().as_millisecond())) {
        Some(at) if at > now => Ok(at),
        Some(_) => Err("that day has begun; name a later one".to_owned()),
        None => Err("write a time from now (90d, 12h) or a date (2030-01-31)".to_owned()),
    }
}

/// `hone erase` and `hone recall`
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("subject").required(true).args(["interaction", "user"]))]
pub struct SubjectArgs {
    /// One answer's id (chatcmpl-…)
    #[arg(long, value_name = "ID")]
    pub interaction: Option<String>,
    /// An end user, by the name that the app gives (`user`, `x-hone-user`)
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

/// `hone replay`
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The answer's id (chatcmpl-…)
    #[arg(value_name = "ID")]
    pub interaction: String,
}

/// `hone why`
#[derive(Debug, Clone, Args)]
pub struct WhyArgs {
    /// Which adapter
    #[arg(value_name = "REF", default_value = "live")]
    pub adapter: String,
}
