//! `hone audit`: who changed what, and whether all of it is still there.
//!
//! `verify` trusts nobody's word: it computes every hash itself, over the rows of the data directory, or over
//! those that the daemon which `--url` names tells.

use hone_api::audit::AuditView;
use hone_store::{Chain, FollowedTrail};

use super::words;
use crate::cli::AuditCommand;
use crate::client::{Client, List};
use crate::context::{CommandResult, Context, Failure};
use crate::output::{Output, Table};

/// Rows that are asked for at once.
const PAGE: usize = 1000;

/// Does what was asked for.
///
/// # Errors
/// The daemon says no; the trail is broken.
pub async fn run(context: &Context, command: AuditCommand) -> CommandResult {
    match command {
        AuditCommand::List { limit } => list(context.output, &context.client()?, limit).await,
        AuditCommand::Verify { head } => {
            let head = head.as_deref();
            let (trail, of) = if context.global.url.is_some() {
                let client = context.client()?;
                (follow(&client, head).await?, client.url().to_owned())
            } else {
                let database = context.config(Vec::new())?.config.server.data_dir.join("hone.db");
                (hone_store::follow_trail(&database, head)?, database.display().to_string())
            };
            verified(context.output, &trail, &of)
        }
    }
}

async fn list(output: Output, client: &Client, limit: u16) -> CommandResult {
    let page: List<AuditView> = client.get(&format!("/v1/audit?limit={limit}")).await?;
    for row in page.data.iter().filter(|_| output.is_json()) {
        output.value(row)?;
    }
    if page.data.is_empty() {
        output.say("nothing was changed yet");
        return Ok(());
    }
    output.table(&table(&page.data))?;
    if page.has_more {
        output.say(format_args!("and older ones; --limit shows more than {limit}"));
    }
    Ok(())
}

fn table(rows: &[AuditView]) -> Table {
    let mut table = Table::new(&[">row", "when", "who", "what", "to what", "why"]);
    for row in rows {
        table.row(&[
            &row.sequence,
            &words::time(row.at),
            &row.actor,
            &row.action,
            &row.subject,
            &row.reason.replace('\n', " "),
        ]);
    }
    table
}

/// Follows the trail that a daemon tells.
async fn follow(client: &Client, head: Option<&str>) -> Result<FollowedTrail, Failure> {
    let mut chain = Chain::new(head);
    let mut after = 0;
    loop {
        let path = format!("/v1/audit?order=asc&limit={PAGE}&after={after}");
        let page: List<AuditView> = client.get(&path).await?;
        for row in &page.data {
            chain.follow(row)?;
            after = row.sequence;
        }
        if !page.has_more {
            let (rows, head) = chain.end()?;
            return Ok(FollowedTrail { rows, head });
        }
    }
}

fn verified(output: Output, trail: &FollowedTrail, of: &str) -> CommandResult {
    if output.is_json() {
        output.value(trail)?;
    }
    output.line(format_args!("{} rows, each bound to the one before it", trail.rows))?;
    output.line(format_args!("head {}", trail.head))?;
    output.say(format_args!(
        "read from {of}. Note the head on another machine: `hone audit verify --head HASH` later tells \
         whether rows up to it are still there"
    ));
    Ok(())
}
