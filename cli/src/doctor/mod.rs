//! Looks at everything that Hone stands on, beside a running daemon or without one, and changes nothing: what is
//! wrong, and what to do about it.

use std::path::Path;

use serde::Serialize;

mod data;
mod machine;
mod model;
mod places;

use crate::context::Context;
use hone_daemon::load;
use hone_daemon::lock;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing fails for it.
    Note,
    /// Something fails, or will.
    Wrong,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it came out.
    pub state: State,
    /// What is so.
    pub found: String,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct DoctorReport {
    findings: Vec<Finding>,
}

impl DoctorReport {
    fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.findings.push(Finding { check, state: State::Ok, found: found.into(), remedy: None });
    }

    fn note(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.tell(check, State::Note, found.into(), remedy.into());
    }

    fn wrong(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.tell(check, State::Wrong, found.into(), remedy.into());
    }

    fn tell(&mut self, check: &'static str, state: State, found: String, remedy: String) {
        self.findings.push(Finding { check, state, found, remedy: Some(remedy) });
    }
}

/// Looks at everything.
pub async fn look(context: &Context) -> Vec<Finding> {
    let mut report = DoctorReport::default();
    let loaded = load::load(&context.sources(Vec::new()));
    let data_dir = match &loaded {
        Ok(loaded) => loaded.config.server.data_dir.clone(),
        Err(_) => context.global.data_dir.clone().unwrap_or_else(|| "./hone-data".into()),
    };
    match &loaded {
        Ok(_) => report.ok("settings", "they hold"),
        Err(error) => {
            let remedy = "mend that line; `hone config check` reads them again";
            report.wrong("settings", error.to_string(), remedy);
        }
    }
    let holder = lock::holder(&data_dir);
    match &holder {
        Some(pid) => report.ok("daemon", format!("runs (pid {pid})")),
        None => report.ok("daemon", "none runs on this data directory"),
    }
    if data_dir.is_dir() {
        look_at_data(&mut report, &data_dir, holder.is_some());
    } else {
        let found = format!("{} is not there", data_dir.display());
        report.note(
            "data directory",
            found,
            "`hone serve` makes it, or name another with --data-dir",
        );
    }
    machine::open_files(&mut report);
    machine::memory(&mut report, loaded.as_ref().ok());
    if let Ok(loaded) = &loaded {
        model::model(&mut report, loaded, holder.is_some());
        machine::address(&mut report, context, &loaded.config, holder.is_some()).await;
    }
    report.findings
}

fn look_at_data(report: &mut DoctorReport, data_dir: &Path, daemon_runs: bool) {
    places::permissions(report, data_dir);
    data::database(report, data_dir);
    data::audit_trail(report, data_dir);
    data::adapters(report, data_dir);
    data::snapshots(report, data_dir);
    data::source_key(report, data_dir);
    places::base(report, data_dir);
    places::leftovers(report, data_dir, daemon_runs);
    machine::disk(report, data_dir);
}

#[cfg(test)]
mod tests;
