//! Reads the settings and checks what only this crate can: whether the suites are there, and whether
//! the filter of the log is one.
//!
//! A suite that is missing must not be found when a candidate has been trained already.

use hone_config::{ConfigSources, Error, LoadedConfig};
use hone_eval::Suite;

use crate::telemetry;

/// Settings that hold.
///
/// # Errors
/// Those of [`ConfigSources::load`], a control suite that is neither built in nor a file of rows, and a
/// filter that is none.
pub fn load(sources: &ConfigSources) -> Result<LoadedConfig, Error> {
    let loaded = sources.load()?;
    let wrong = |key: &str, message: String| Error::Value {
        layer: loaded.layer_of(key).unwrap_or("default").to_owned(),
        key: key.to_owned(),
        message,
    };
    telemetry::check(&loaded.config.telemetry.log)
        .map_err(|message| wrong("telemetry.log", message))?;
    // `starter` is always right: without the starter model it stands for nothing.
    for name in loaded.config.evaluation.suites.iter().filter(|name| *name != "starter") {
        Suite::find(name, loaded.config.evaluation.rows_per_suite)
            .map_err(|error| wrong("evaluation.suites", error.to_string()))?;
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_must_be_there_and_hold_rows() {
        let dir = tempfile::tempdir().unwrap();
        let (file, broken) = (dir.path().join("mine.jsonl"), dir.path().join("broken.jsonl"));
        let row = r#"{"messages":[{"role":"user","content":"1+1"}],"reference":"2","check":{"type":"final_number","value":2}}"#;
        fs_err::write(&file, row).unwrap();
        fs_err::write(&broken, "{}").unwrap();
        let with = |suite: &str| {
            let value = format!("['starter', '{suite}']");
            let environment = vec![("HONE__EVALUATION__SUITES".to_owned(), value)];
            load(&ConfigSources { environment, ..ConfigSources::default() })
        };
        assert!(with(file.to_str().unwrap()).is_ok());
        for wrong in ["nonexist", broken.to_str().unwrap()] {
            let error = with(wrong).unwrap_err().to_string();
            assert!(error.starts_with("HONE__EVALUATION__SUITES: `evaluation.suites`"), "{error}");
        }
    }

    #[test]
    fn the_log_has_a_filter() {
        let with = |filter: &str| {
            let environment = vec![("HONE__TELEMETRY__LOG".to_owned(), filter.to_owned())];
            load(&ConfigSources { environment, ..ConfigSources::default() })
        };
        assert!(with("info,hone_engine=debug").is_ok());
        let error = with("hone=loud").unwrap_err().to_string();
        assert!(error.starts_with("HONE__TELEMETRY__LOG: `telemetry.log`: `hone=loud`"), "{error}");
    }
}
