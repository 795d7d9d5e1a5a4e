//! The questions of the control suites with their checks: results that are known without feedback.

use std::collections::HashMap;

use hone_api::chat::Message;
use hone_config::Config;
use hone_dataset::{Known, is_result, prompt_key};
use hone_eval::{Scorer, Suite};

/// Checks of results by the key of their question.
#[derive(Debug, Default)]
pub struct Controls(HashMap<String, Scorer>);

impl Controls {
    /// Those of the configured suites. A suite that cannot be read knows nothing here: the evaluation
    /// says what is wrong with it.
    pub fn of(config: &Config) -> Self {
        let evaluation = &config.evaluation;
        let starter = config.model.is_starter();
        let suites = Suite::controls(&evaluation.suites, evaluation.rows_per_suite, starter);
        let rows = suites.unwrap_or_default().into_iter().flat_map(|suite| suite.rows);
        let known = rows
            .filter(|row| is_result(&row.check))
            .filter_map(|row| Some((prompt_key(&row.messages), Scorer::new(&row.check).ok()?)));
        Self(known.collect())
    }
}

impl Known for Controls {
    fn is_right(&self, prompt: &[Message], answer: &str) -> Option<bool> {
        Some(self.0.get(&prompt_key(prompt))?.passes(answer))
    }
}

#[cfg(test)]
mod tests {
    use hone_api::chat::Role;

    use super::*;

    #[test]
    fn a_control_knows_its_result_however_it_is_written() {
        let config = Config::defaults(std::path::Path::new("d")).unwrap();
        let controls = Controls::of(&config);
        let suite = &Suite::controls(&config.evaluation.suites, 100, true).unwrap()[0];
        let row = suite.rows.iter().find(|row| is_result(&row.check)).unwrap();
        let mut prompt = row.messages.clone();
        let last = prompt.last_mut().unwrap();
        last.content = last.content.to_uppercase();
        assert_eq!(controls.is_right(&prompt, &row.reference), Some(true));
        assert_eq!(controls.is_right(&prompt, "I do not know."), Some(false));
        assert_eq!(controls.is_right(&[Message::new(Role::User, "Who are you?")], "Ann"), None);
    }
}
