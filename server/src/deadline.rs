//! `x-request-timeout-ms`: a client that has no use for an answer after some time says so, and whoever waits behind it gets its
//! place then.

use std::future::{Future, Ready, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest};
use tokio::time::Instant;

use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::phase::Phase;

/// The header.
const NAME: &str = "x-request-timeout-ms";
/// The longest time that makes sense: a day.
const MOST: u64 = 86_400_000;

/// Until when an answer is of use, if its client says so. It counts from the request's arrival, its body's included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    arrived: Instant,
    patience: Option<Duration>,
}

impl Deadline {
    fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let arrived = Instant::now();
        let Some(value) = request.headers().get(NAME) else {
            return Ok(Self { arrived, patience: None });
        };
        let number = value.to_str().ok().and_then(|text| text.parse().ok());
        match number.filter(|millis| (1..=MOST).contains(millis)) {
            Some(millis) => Ok(Self { arrived, patience: Some(Duration::from_millis(millis)) }),
            None => {
                let message = format!(
                    "the header `{NAME}` must be a whole number of milliseconds, 1 to {MOST}"
                );
                Err(ApiError::field(NAME, message))
            }
        }
    }

    /// Waits until it is there; without one, for ever.
    pub(crate) async fn passed(&self) {
        match self.patience {
            Some(patience) => tokio::time::sleep_until(self.arrived + patience).await,
            None => std::future::pending().await,
        }
    }

    /// Work that is dropped, half done, when it is there.
    ///
    /// # Errors
    /// The work's; 504.
    pub(crate) async fn within<T>(
        &self,
        metrics: &Metrics,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        tokio::select! {
            biased;
            () = self.passed() => Err(self.exceeded(metrics, Phase::Waiting)),
            done = work => done,
        }
    }

    /// What a client is told whose time is over. SDKs must not ask again by themselves: their user has waited long enough.
    pub(crate) fn exceeded(&self, metrics: &Metrics, phase: Phase) -> ApiError {
        metrics.deadlines.with_label_values(&[phase.label()]).inc();
        let millis = self.patience.unwrap_or_default().as_millis();
        let message = format!(
            "the answer was not there after {millis} ms, as long as `{NAME}` gives it; allow more time, or ask for less"
        );
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, message)
            .kind("timeout_error")
            .code("deadline_exceeded")
            .not_to_be_retried()
    }
}

impl FromRequest for Deadline {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn of(value: &str) -> Result<Deadline, ApiError> {
        Deadline::of(&TestRequest::default().insert_header((NAME, value)).to_http_request())
    }

    #[tokio::test]
    async fn work_is_given_up_when_its_time_is_over() {
        let metrics = Metrics::new().unwrap();
        let endless = std::future::pending::<Result<(), ApiError>>();
        let error = of("20").unwrap().within(&metrics, endless).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.word()), (504, Some("deadline_exceeded")));
        assert_eq!(metrics.deadlines.with_label_values(&["waiting"]).get(), 1);
        let done = of("60000").unwrap().within(&metrics, async { Ok(7) }).await;
        assert_eq!(done.unwrap(), 7);
    }

    #[test]
    fn a_time_that_is_none_is_refused_by_name() {
        for wrong in ["0", "-1", "1.5", "soon", "", "86400001"] {
            let error = of(wrong).unwrap_err();
            assert_eq!(error.body().error.param.as_deref(), Some(NAME), "{wrong}");
        }
        assert_eq!(of("86400000").unwrap().patience, Some(Duration::from_hours(24)));
    }
}
