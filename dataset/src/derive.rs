//! How answers to a prompt are tested when it is held out: the check that the feedback brings, or
//! one derived from an answer known to be right.

use hone_api::check::Check;

use crate::redact;

/// Reads the feedback tag `check`. An error says why it cannot be used.
pub(crate) fn from_tag(json: &str) -> Result<Check, String> {
    let check: Check = serde_json::from_str(json).map_err(|error| error.to_string())?;
    match &check {
        Check::FinalNumber(number) if !number.is_finite() => Err("not a number".to_owned()),
        Check::Contains(text) if text.is_empty() => Err("every text contains it".to_owned()),
        Check::Choice(options) if options.is_empty() => Err("a choice of nothing".to_owned()),
        Check::Regex(pattern) => match regex::Regex::new(pattern) {
            Ok(_) => Ok(check),
            Err(error) => Err(error.to_string()),
        },
        Check::Judge(_) => Err("there is no judge yet".to_owned()),
        _ => Ok(check),
    }
}

/// A check that the given right answer passes: its number after `####`, its last line if that is a
/// decision, or else the whole of it.
#[must_use]
pub fn check_for(answer: &str) -> Check {
    if let Some(number) = final_number(answer) {
        return Check::FinalNumber(number);
    }
    let last_line = answer.trim_end().lines().next_back().unwrap_or("").trim();
    if last_line.strip_prefix("Decision:").is_some_and(|decision| !decision.trim().is_empty()) {
        let line = last_line.strip_suffix('.').unwrap_or(last_line);
        return Check::Regex(format!("{}\\.?$", regex::escape(line)));
    }
    Check::Exact(answer.trim().to_owned())
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
        let check = |answer: &str| check_for(answer);
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
        assert_eq!(check(" Oslo. "), Check::Exact("Oslo.".to_owned()));
        assert_eq!(check("#### nothing"), Check::Exact("#### nothing".to_owned()));
        assert_eq!(check("#### inf"), Check::Exact("#### inf".to_owned()));
        assert_eq!(check("Decision:"), Check::Exact("Decision:".to_owned()));
        assert_eq!(
            check("Decision: x\nbut wait"),
            Check::Exact("Decision: x\nbut wait".to_owned())
        );
    }

    #[test]
    fn a_check_that_cannot_run_is_refused() {
        let good = r#"{"type":"contains","value":"Oslo"}"#;
        assert_eq!(from_tag(good), Ok(Check::Contains("Oslo".to_owned())));
        for bad in [
            "",
            "Oslo",
            r#"{"type":"magic","value":"x"}"#,
            r#"{"type":"regex","value":"("}"#,
            r#"{"type":"contains","value":""}"#,
            r#"{"type":"choice","value":[]}"#,
            r#"{"type":"judge","value":"be nice"}"#,
            r#"{"type":"final_number","value":"22"}"#,
        ] {
            assert!(from_tag(bad).is_err(), "{bad}");
        }
    }
}
