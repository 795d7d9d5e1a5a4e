//! Once an hour: what was kept long enough leaves the log.

use std::sync::Arc;
use std::time::Duration;

use hone_api::UnixMillis;
use hone_config::{Config, Seconds};
use hone_store::{Expired, Expiry};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::journal::Decision;
use crate::services::Services;

/// How often the log is looked through.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Looks through the log at the start and then each hour, until `stop`.
pub async fn run(services: Arc<Services>, stop: CancellationToken) {
    let mut beat = tokio::time::interval(EVERY);
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        let expiry = of(&services.settings.now(), UnixMillis::now());
        match services.store.expire(expiry).await {
            Ok(gone) => tell(&services, gone).await,
            Err(error) => tracing::error!(%error, "what is too old stays in the log"),
        }
    }
}

async fn tell(services: &Services, gone: Expired) {
    if gone.too_large {
        tracing::warn!(
            "the log is larger than retention.log, and people spoke of all that is in it; raise it, or let \
             feedback expire (retention.feedback)"
        );
    }
    if gone.interactions + gone.feedback + gone.events == 0 {
        return;
    }
    let decision = Decision {
        actor: "daemon".to_owned(),
        action: "log.expired",
        subject: "log".to_owned(),
        reason: "older, or more, than retention keeps".to_owned(),
        data: json!({
            "interactions": gone.interactions, "feedback": gone.feedback, "events": gone.events,
        }),
    };
    services.journal.audit_or_owe(decision).await;
}

fn of(config: &Config, now: UnixMillis) -> Expiry {
    let retention = &config.retention;
    let before = |age: Seconds| {
        let age = i64::try_from(age.0.as_millis()).unwrap_or(i64::MAX);
        (age > 0).then(|| UnixMillis(now.0.saturating_sub(age)))
    };
    Expiry {
        interactions: before(retention.interactions),
        feedback: before(retention.feedback),
        events: before(retention.events),
        bytes: (retention.log.0 > 0).then_some(retention.log.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_too_old_where_all_is_kept_for_ever() {
        let mut config = Config::defaults(std::path::Path::new("d")).unwrap();
        let day = 24 * 60 * 60 * 1000;
        let now = UnixMillis(100 * day);
        let expiry = of(&config, now);
        assert_eq!(expiry.interactions, Some(UnixMillis(10 * day)));
        assert_eq!((expiry.feedback, expiry.bytes), (None, Some(20 << 30)));
        config.retention.interactions = "0s".parse().unwrap();
        config.retention.events = "0s".parse().unwrap();
        config.retention.log = "0".parse().unwrap();
        assert_eq!(of(&config, now), Expiry::default());
    }
}
