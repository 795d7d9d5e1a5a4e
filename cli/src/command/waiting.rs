//! `hone feedback waiting`: what teaches nothing until a person has looked at it.

use hone_api::chat::Role;
use hone_api::waiting::WaitingView;

use super::words;
use crate::client::{Client, List};
use crate::context::CommandResult;
use crate::output::{Output, Table};

/// Characters of a text in a cell of the table.
const CELL: usize = 40;

/// Shows the newest `limit`.
///
/// # Errors
/// The daemon says no.
pub async fn list(output: Output, client: &Client, limit: usize) -> CommandResult {
    let page: List<WaitingView> =
        client.get(&format!("/v1/feedback/waiting?limit={limit}")).await?;
    for view in page.data.iter().filter(|_| output.is_json()) {
        output.value(view)?;
    }
    if page.data.is_empty() {
        output.say("nothing waits for a person");
        return Ok(());
    }
    output.table(&table(&page.data))?;
    if page.has_more {
        output.say(format_args!("and more; --limit shows more than {limit}"));
    }
    output.say(
        "correct one with `hone feedback add ID --fix TEXT`, or leave it out with \
         `hone feedback discard ID`; --json has the whole conversations",
    );
    Ok(())
}

fn table(views: &[WaitingView]) -> Table {
    let mut table = Table::new(&["answer", "asked", "why", "question", "answered", "suggested"]);
    for view in views {
        let asked = view.messages.iter().rev().find(|turn| turn.role == Role::User);
        let suggested = view.suggestions.last().map(|text| short(text));
        table.row(&[
            &view.id,
            &words::time(view.created_at),
            &words::word(&view.reason).replace('_', " "),
            &words::or_dash(asked.map(|turn| short(&turn.content))),
            &words::or_dash(view.answer.as_deref().map(short)),
            &words::or_dash(suggested),
        ]);
    }
    table
}

/// The beginning of a text, on one line.
fn short(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= CELL {
        return words;
    }
    words.chars().take(CELL - 1).chain(['\u{2026}']).collect()
}

#[cfg(test)]
mod tests {
    use hone_api::chat::Message;
    use hone_api::waiting::{Votes, WaitingReason};
    use hone_api::{InteractionId, UnixMillis};

    use super::*;

    #[test]
    fn a_row_shows_what_a_person_must_know() {
        let reason = WaitingReason::NoCorrection;
        let view = WaitingView {
            object: "feedback.waiting".to_owned(),
            id: InteractionId::new(),
            reason,
            message: reason.message().to_owned(),
            messages: vec![
                Message::new(Role::User, "Where is it?"),
                Message::new(Role::Assistant, "Here."),
                Message::new(Role::User, "No,\nreally?"),
            ],
            answer: Some("word ".repeat(20)),
            suggestions: Vec::new(),
            votes: Votes { good: 0, bad: 1 },
            created_at: UnixMillis(0),
        };
        let text = table(&[view]).render(false);
        assert!(text.contains("no correction  No, really?"), "{text}");
        assert!(text.contains("word word word word word word word word\u{2026}  -"), "{text}");
    }
}
