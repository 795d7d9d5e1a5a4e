//! `hone`: a fine-tune-then-serve daemon with an OpenAI-compatible API.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | what can be asked for |
//! | [`command`] | how it is done, one verb each |
//! | [`client`] | a running daemon, seen from a command |
//! | [`output`] | the only place that writes to the terminal |
//! | [`demo`] | the whole loop as a show |

#![forbid(unsafe_code)]
#![allow(unreachable_pub)] // a binary exports nothing; `pub` marks what other modules may use

mod assemble;
mod backup;
mod base_model;
mod child;
mod cli;
mod client;
mod command;
mod compare;
mod control;
mod controls;
mod core_dump;
mod cycle;
mod database;
mod demo;
mod dirs;
mod doctor;
mod drop_folder;
mod erase;
mod evals;
mod expiry;
mod exposure;
mod fault;
mod files;
mod hyper;
mod import;
mod journal;
mod judge;
mod key_expiry;
mod leftovers;
mod load;
mod lock;
mod memory;
mod next;
mod output;
mod parts;
mod program;
mod promote;
mod reload;
mod retention;
mod schedule;
mod sentence;
mod serve;
mod settings;
mod source_key;
mod systemd;
mod telemetry;
#[cfg(test)]
mod testing;
mod trigger;
mod waiting;

use std::process::ExitCode;

use clap::Parser;

use command::Failure;

fn main() -> ExitCode {
    program::take_name();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => {
            output::clap_says(&said);
            return if said.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match command::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(what)) => {
            output::complain(what);
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            output::complain(sentence::of(&error));
            ExitCode::FAILURE
        }
        // It has been told already, in the command's own way.
        Err(Failure::Told) => ExitCode::FAILURE,
    }
}
