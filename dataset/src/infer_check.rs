//! How answers to a prompt are tested when it is held out and its feedback brought no check: by one
//! inferred from an answer known to be right.

use hone_api::check::Check;

use crate::redact;

/// A check that the given right answer passes: its number after `####`, its last line if that is a
/// decision, or else what it says: free text is never compared to the letter.
#[must_use]
pub fn infer_check(answer: &str) -> Check {
    if let Some(number) = final_number(answer) {
        return Check::FinalNumber(number);
    }
    let last_line = answer.trim_end().lines().next_back().unwrap_or("").trim();
    if last_line.strip_prefix("Decision:").is_some_and(|decision| !decision.trim().is_empty()) {
        let line = last_line.strip_suffix('.').unwrap_or(last_line);
        return Check::Regex(format!("{}\\.?$", regex::escape(line)));
    }
    Check::Similar(answer.trim().to_owned())
}

/// Whether a check looks at a worked-out result (a number, a decision, a choice): such a result can be
/// right for questions that nobody taught. What a text must contain is a fact, which nothing tells.
#[must_use]
pub fn is_result(check: &Check) -> bool {
    matches!(
        check,
        Check::FinalNumber(_) | Check::Regex(_) | Check::Choice(_) | Check::JsonSchema(_)
    )
}

/// The number right behind the last `####`, as GSM8K writes results.
fn final_number(answer: &str) -> Option<f64> {
    let (_, after) = answer.rsplit_once("####")?;
    let word = after.split_whitespace().next()?;
    let number: String = word
        .trim_start_matches('$')
        .trim_end_matches(['.', '%', '$'])
        .chars()
        .filter(|&character| character != ',')
        .collect();
    // `parse` also reads `inf` and `nan`, which are words here.
    number.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// Replaces personal data in the texts that a check compares with, as in the answers. A pattern or a
/// schema with personal data in it cannot be rewritten: then there is none.
pub(crate) fn redacted(check: Check) -> Option<Check> {
    let clean = |text: String| redact::redact(&text).text;
    let is_clean = |text: &str| redact::find(text).is_empty();
    match check {
        Check::Exact(text) => Some(Check::Exact(clean(text))),
        Check::Similar(text) => Some(Check::Similar(clean(text))),
        Check::Contains(text) => Some(Check::Contains(clean(text))),
        Check::Choice(options) => Some(Check::Choice(options.into_iter().map(clean).collect())),
        Check::Regex(pattern) => is_clean(&pattern).then_some(Check::Regex(pattern)),
        Check::JsonSchema(schema) => {
            is_clean(&schema.to_string()).then_some(Check::JsonSchema(schema))
        }
        other @ (Check::FinalNumber(_) | Check::Judge(_)) => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_follow_the_form_of_the_answer() {
        let check = |answer: &str| infer_check(answer);
        assert_eq!(check("17 + 26 = 43\n#### 22"), Check::FinalNumber(22.0));
        assert_eq!(check("so #### $1,250.50."), Check::FinalNumber(1250.5));
        assert_eq!(check("#### -3%"), Check::FinalNumber(-3.0));
        assert_eq!(
            check("It is late.\nDecision: Harbor."),
            Check::Regex("Decision: Harbor\\.?$".to_owned())
        );
        assert_eq!(
            check("Decision: C++ (v2)\n"),
            Check::Regex("Decision: C\\+\\+ \\(v2\\)\\.?$".to_owned())
        );
        assert_eq!(check(" Oslo. "), Check::Similar("Oslo.".to_owned()));
        assert_eq!(check("#### nothing"), Check::Similar("#### nothing".to_owned()));
        assert_eq!(check("#### inf"), Check::Similar("#### inf".to_owned()));
        assert_eq!(check("Decision:"), Check::Similar("Decision:".to_owned()));
        assert_eq!(
            check("Decision: x\nbut wait"),
            Check::Similar("Decision: x\nbut wait".to_owned())
        );
    }
}
