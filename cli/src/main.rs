//! `hone`: a fine-tune-then-serve daemon with an OpenAI-compatible API.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | what can be asked for |
//! | [`command`] | how it is done, one verb each |
//! | [`dispatch`] | from the one to the other |
//! | [`context`] | what a command may use, and how it ends |
//! | [`client`] | a running daemon, seen from a command |
//! | [`output`] | the only place that writes to the terminal |
//! | [`demo`] | the whole loop as a show |

#![forbid(unsafe_code)]
#![allow(unreachable_pub)] // a binary exports nothing; `pub` marks what other modules may use

mod cli;
mod client;
mod command;
mod context;
mod demo;
mod dispatch;
mod doctor;
mod output;

use std::process::ExitCode;

use clap::Parser;

use context::Failure;
use hone_daemon::{error_chain, program};

fn main() -> ExitCode {
    program::take_name();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => {
            output::clap_says(&said);
            return if said.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match dispatch::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(what)) => {
            output::complain(what);
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            output::complain(error_chain::describe(&error));
            ExitCode::FAILURE
        }
        // It has been told already, in the command's own way.
        Err(Failure::Told) => ExitCode::FAILURE,
    }
}
