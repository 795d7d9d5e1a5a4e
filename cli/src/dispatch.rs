//! From the command line to the command.

use std::future::Future;

use crate::cli::{Cli, Command, ServeArgs};
use crate::command::{
    adapters, audit, backup, bench, chat, config, cycle, doctor, erase, eval, feedback, keys,
    models, replay, serve, status, train, why,
};
use crate::context::{CommandResult, Context, Failure};
use crate::demo;
use crate::output::Output;

/// Does what was asked for.
///
/// # Errors
/// [`Failure`]
pub fn run(cli: Cli) -> CommandResult {
    let is_child = matches!(&cli.command, Some(Command::Train(args)) if args.job.is_some());
    hone_daemon::fault::arm(is_child)?;
    let context = Context { output: Output::new(cli.global.json), global: cli.global };
    let Some(command) = cli.command else {
        return serve::run(&context, &cli.serve);
    };
    if cli.serve != ServeArgs::default() {
        let text = "--model, --weights, --threads, --listen and --device stand behind the command, not before it";
        return Err(Failure::Usage(text.to_owned()));
    }
    // Also where nothing of it is used: who names a file means it. The daemon reads it with its flags, and a
    // doctor tells of it.
    if context.global.config.is_some() && !matches!(command, Command::Serve(_) | Command::Doctor) {
        context.config(Vec::new())?;
    }
    match command {
        Command::Serve(args) => serve::run(&context, &args),
        Command::Demo(args) => wait(demo::run(&context, &args)),
        Command::Train(args) => train::run(&context, &args),
        Command::Eval(args) => eval::run(&context, &args),
        Command::Bench(command) => bench::run(&context, &command),
        Command::Chat(args) => wait(chat::run(&context, &args)),
        Command::Adapters(command) => wait(adapters::run(&context, command)),
        Command::Cycle(command) => wait(cycle::run(&context, command)),
        Command::Feedback(command) => wait(feedback::run(&context, command)),
        Command::Keys(command) => wait(keys::run(&context, command)),
        Command::Erase(args) => wait(erase::erase(&context, &args)),
        Command::Recall(args) => wait(erase::recall(&context, &args)),
        Command::Replay(args) => wait(replay::run(&context, &args)),
        Command::Audit(command) => wait(audit::run(&context, command)),
        Command::Status => wait(status::run(&context)),
        Command::Why(args) => wait(why::run(&context, &args)),
        Command::Backup(args) => backup::make(&context, &args),
        Command::Restore(args) => wait(backup::restore(&context, &args)),
        Command::Doctor => wait(doctor::run(&context)),
        Command::Models(command) => models::run(&context, &command),
        Command::Config(command) => config::run(&context, &command),
    }
}

/// Runs a command that waits for a network, on this thread.
fn wait(command: impl Future<Output = CommandResult>) -> CommandResult {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_configuration_that_is_named_must_hold_for_every_command() {
        let dir = tempfile::tempdir().unwrap();
        let (wrong, none) = (dir.path().join("wrong.toml"), dir.path().join("none.toml"));
        fs_err::write(&wrong, "[server]\nlisten_on = \"x\"\n").unwrap();
        for file in [wrong, none] {
            for words in [
                &["status"][..],
                &["adapters", "list"][..],
                &["chat"][..],
                &["demo"][..],
                &["eval", "--suite", "control_add"][..],
                &["train", "--job", "nothing"][..],
                &["config", "check"][..],
                &["serve"][..],
            ] {
                let file = file.to_str().unwrap();
                let all = [&["hone", "--config", file][..], words].concat();
                let outcome = run(Cli::try_parse_from(all).unwrap());
                assert!(matches!(outcome, Err(Failure::Usage(_))), "{words:?}: {outcome:?}");
            }
        }
    }
}
