//! Names that come from people: families they tagged, and groups, which are called by words of their questions.
//!
//! They stand in reports and sentences. The audit trail is for ever, so they never get there; where rows are
//! erased, they go from the reports as well.

use std::collections::BTreeSet;

use hone_api::cycle::{CycleView, Step};
use serde_json::Value;

/// Names that are Hone's own.
const OWN: [&str; 2] = [hone_dataset::UNTAGGED, "replay"];

/// The names in a cycle's reports that come from people.
pub(crate) fn of(cycle: &CycleView) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if let Some(selected) = cycle.outcomes.get(&Step::Select) {
        let families = selected["families"].as_object();
        names.extend(families.into_iter().flatten().map(|(name, _)| name.clone()));
    }
    if let Some(compared) = cycle.outcomes.get(&Step::Evaluate) {
        let lines = compared["families"].as_array().into_iter().flatten();
        let of_people = lines.filter(|line| line["part"] != "control");
        names.extend(of_people.filter_map(|line| line["family"].as_str()).map(str::to_owned));
        let groups = compared["evidence"]["groups"].as_array().into_iter().flatten();
        names.extend(groups.filter_map(|group| group["name"].as_str()).map(str::to_owned));
    }
    names.retain(|name| !OWN.contains(&name.as_str()));
    names
}

/// A value about a cycle as it may stand in the audit trail.
pub fn without_labels(cycle: &CycleView, value: Value) -> Value {
    Reword::of(of(cycle)).value(value)
}

/// Replaces names wherever they stand.
pub(crate) struct Reword {
    names: BTreeSet<String>,
}

/// What stands in a name's place.
const INSTEAD: &str = "(unnamed)";

impl Reword {
    pub(crate) const fn of(names: BTreeSet<String>) -> Self {
        Self { names }
    }

    /// A column: JSON, or a sentence.
    pub(crate) fn text(&self, text: &str) -> String {
        match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => self.value(value).to_string(),
            _ => self.plain(text),
        }
    }

    /// A name alone, or a sentence, where names stand between backticks.
    pub(crate) fn plain(&self, text: &str) -> String {
        if self.names.contains(text) {
            return INSTEAD.to_owned();
        }
        let mut text = text.to_owned();
        for name in &self.names {
            text = text.replace(&format!("`{name}`"), INSTEAD);
        }
        text
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.plain(&text)),
            Value::Array(all) => all.into_iter().map(|one| self.value(one)).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| (self.plain(&name), self.value(value)))
                .collect(),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use hone_api::UnixMillis;
    use hone_api::cycle::Trigger;
    use serde_json::json;

    use super::*;

    fn cycle() -> CycleView {
        let mut cycle = CycleView::queued(Trigger::Manual, UnixMillis(1));
        cycle.outcomes.insert(Step::Select, json!({"families": {"northwind": {}, "feedback": {}}}));
        let report = json!({
            "families": [
                {"family": "ticket, order", "part": "taught"},
                {"family": "capital", "part": "control"},
            ],
            "evidence": {"groups": [{"name": "ticket, order"}, {"name": null}]},
        });
        cycle.outcomes.insert(Step::Evaluate, report);
        cycle
    }

    #[test]
    fn names_of_people_are_told_from_hones_own() {
        let names = of(&cycle());
        assert_eq!(
            names.iter().map(String::as_str).collect::<Vec<_>>(),
            ["northwind", "ticket, order"]
        );
    }

    #[test]
    fn they_go_from_keys_values_and_sentences_and_nothing_else_does() {
        let cycle = cycle();
        let value = json!({
            "reason": "what was taught of `ticket, order` fell; `capital` stayed; northwind",
            "scores": {"northwind": 1.0, "capital": 0.5},
            "name": "ticket, order",
        });
        let told = without_labels(&cycle, value);
        assert_eq!(
            told,
            json!({
                "reason": "what was taught of (unnamed) fell; `capital` stayed; northwind",
                "scores": {"(unnamed)": 1.0, "capital": 0.5},
                "name": "(unnamed)",
            })
        );
        let reword = Reword::of(of(&cycle));
        assert_eq!(reword.text("{\"northwind\":1}"), "{\"(unnamed)\":1}");
        assert_eq!(
            reword.text("in the group `ticket, order` (n=20)"),
            "in the group (unnamed) (n=20)"
        );
    }
}
