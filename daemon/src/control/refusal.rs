//! Why the daemon says no, in the API's words.

use std::time::Duration;

use hone_server::control_error::ControlError;

use crate::promote::Error;

impl From<Error> for ControlError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Registry(error) => error.into(),
            Error::Engine(error) => of_engine(&error, text),
            Error::Store(error) => error.into(),
            Error::TooMany(_) => Self::TooMany(text),
            Error::Stopping(_) => Self::Busy { message: text, retry_after: Duration::from_secs(5) },
        }
    }
}

/// What the disk refused half way is on record, and is done at the next start.
pub(super) fn unfinished(error: &anyhow::Error) -> ControlError {
    match error.downcast_ref::<hone_store::Error>() {
        Some(error) => Error::from(error.clone()).into(),
        None => ControlError::Internal(crate::error_chain::describe(error)),
    }
}

fn of_engine(error: &hone_engine::Error, text: String) -> ControlError {
    use hone_engine::Error as E;
    match error {
        E::NoEffect(_)
        | E::Broken(_)
        | E::Model(_)
        | E::AdapterMemory { .. }
        | E::Refused(_)
        | E::Unsupported(_) => ControlError::Refused(text),
        E::UnknownAdapter(_) => ControlError::NotFound(text),
        E::StaleEpoch { .. } => ControlError::Conflict(text),
        E::ShuttingDown | E::QueueFull { .. } => {
            ControlError::Busy { message: text, retry_after: Duration::from_secs(5) }
        }
        _ => ControlError::Internal(text),
    }
}
