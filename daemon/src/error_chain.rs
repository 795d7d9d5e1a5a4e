//! An error and its causes as one sentence.

/// The message and its causes, joined by colons. A cause that the message tells already is left out:
/// many errors name theirs, and it would be read twice.
pub fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[derive(Debug, thiserror::Error)]
    #[error("the disk refused ({0}); check its space")]
    struct Telling(#[source] std::io::Error);

    #[test]
    fn a_cause_is_told_once() {
        let full = || std::io::Error::other("no space left");
        let error = anyhow::Error::from(Telling(full()));
        assert_eq!(describe(&error), "the disk refused (no space left); check its space");
        let error = Err::<(), _>(Telling(full())).context("the run").unwrap_err();
        assert_eq!(describe(&error), "the run: the disk refused (no space left); check its space");
        assert_eq!(
            describe(&Err::<(), _>(full()).context("x.db").unwrap_err()),
            "x.db: no space left"
        );
    }
}
