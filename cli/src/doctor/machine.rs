//! Whether the machine has what Hone needs of it.

use std::net::TcpListener;
use std::path::Path;

use hone_config::{Config, LoadedConfig};
use serde_json::Value;

use super::DoctorReport;
use crate::client::{Client, ClientError};
use crate::context::Context;
use hone_daemon::{files, memory};

/// Below so much room on the disk feedback is about to be refused.
const LITTLE_DISK: u64 = 256 << 20;
/// Below so much, the next cycle's files may not fit.
const SOME_DISK: u64 = 1 << 30;
/// Below so much free memory the kernel is about to end somebody.
const LITTLE_MEMORY: u64 = 256 << 20;

pub(super) fn disk(report: &mut DoctorReport, data_dir: &Path) {
    let Ok(disk) = rustix::fs::statvfs(data_dir) else { return };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let found = format!("{} MiB are free where the data directory lies", free >> 20);
    let remedy = "make room: when it is full, feedback is refused and chats are not kept; `retention.*` and \
                  `promotion.keep` bound what cycles leave";
    if free < LITTLE_DISK {
        report.wrong("disk", found, remedy);
    } else if free < SOME_DISK {
        report.note("disk", found, remedy);
    } else {
        report.ok("disk", found);
    }
}

pub(super) fn open_files(report: &mut DoctorReport) {
    match files::take() {
        Ok(()) => report.ok("open files", "enough for serving, as far as this shell goes"),
        Err(error) => report.wrong("open files", error.to_string(), "raise the limit"),
    }
}

pub(super) fn memory(report: &mut DoctorReport, loaded: Option<&LoadedConfig>) {
    let limit = hone_machine::limit();
    if let Some(Err(error)) = loaded.map(memory::check) {
        return report.wrong("memory", error.to_string(), "ask for less, or raise the limit");
    }
    let free = hone_machine::available();
    let found = format!("{} MiB are free ({}) of {limit}", free.bytes >> 20, free.by);
    if free.bytes < LITTLE_MEMORY {
        let remedy = "lower engine.kv_memory or engine.adapter_memory, or end something else";
        report.note("memory", found, remedy);
    } else {
        report.ok("memory", found);
    }
}

/// Whether the daemon answers, or whether one could listen.
pub(super) async fn address(
    report: &mut DoctorReport,
    context: &Context,
    config: &Config,
    daemon_runs: bool,
) {
    let listen = config.server.listen;
    if !daemon_runs {
        return match TcpListener::bind(listen) {
            Ok(_) => report.ok("address", format!("{listen} is free")),
            Err(error) => report.wrong(
                "address",
                format!("nobody could listen on {listen}: {error}"),
                "end what has it, or choose another with --listen or server.listen",
            ),
        };
    }
    let certificate = &config.server.tls_certificate;
    let speaks_tls = !certificate.as_os_str().is_empty();
    let scheme = if speaks_tls { "https" } else { "http" };
    let url = context.global.url.clone().unwrap_or_else(|| format!("{scheme}://{listen}"));
    // Who reads the settings knows the certificate, whoever signed it.
    let authority = context.global.ca.as_deref().or(speaks_tls.then_some(certificate.as_path()));
    let asked = match Client::new(&url, context.global.api_key.as_deref(), authority) {
        Ok(client) => client.get::<Value>("/readyz").await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(_) => report.ok("address", format!("the daemon takes requests at {url}")),
        // It may have been told another address when it was started.
        Err(error @ ClientError::Unreachable { .. }) if context.global.url.is_none() => {
            report.note("address", error.to_string(), "name where it listens with --url");
        }
        Err(error) => report.wrong(
            "address",
            format!("the daemon runs, and {url}/readyz says: {error}"),
            "do what it says",
        ),
    }
}
