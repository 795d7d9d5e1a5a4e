//! `hone doctor`: what is wrong, and what to do about it.

use crate::context::{CommandResult, Context, Failure};
use crate::doctor::{self, Finding, State};
use crate::output::Table;

/// Looks at everything and tells.
///
/// # Errors
/// Something is wrong; it has been told.
pub async fn run(context: &Context) -> CommandResult {
    let findings = doctor::look(context).await;
    for finding in findings.iter().filter(|_| context.output.is_json()) {
        context.output.value(finding)?;
    }
    context.output.table(&table(&findings))?;
    let ask = findings.iter().filter(|finding| finding.state != State::Ok);
    for finding in ask {
        if let Some(remedy) = &finding.remedy {
            context
                .output
                .line(format_args!("\n{}: {}\n  do: {remedy}", finding.check, finding.found))?;
        }
    }
    let wrong = findings.iter().filter(|finding| finding.state == State::Wrong).count();
    if wrong == 0 {
        context.output.say("nothing is wrong");
        return Ok(());
    }
    context.output.say(format_args!("{wrong} of {} checks found something wrong", findings.len()));
    Err(Failure::Told)
}

/// A word of each; the sentences follow below it.
fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new(&["check", "state", "found"]);
    for finding in findings {
        let (state, found) = match finding.state {
            State::Ok => ("ok", finding.found.as_str()),
            State::Note => ("note", "see below"),
            State::Wrong => ("WRONG", "see below"),
        };
        table.row(&[&finding.check, &state, &found]);
    }
    table
}
