//! Who calls. The first argument of each handler says what its caller must be allowed to do; who may not
//! is refused there, before a body is read. From there the caller goes on to the daemon and to the log.

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use hone_api::UnixMillis;
use hone_api::key::Scope;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::AppState;

/// The headers that name the end user where the body does not: Hone's own, and Open WebUI's.
const USER: [&str; 2] = ["x-hone-user", "x-openwebui-user-id"];
/// Those that name the conversation.
const CONVERSATION: [&str; 2] = ["x-hone-conversation", "x-openwebui-chat-id"];
/// What a handler needs of its caller.
pub(crate) trait Needs {
    /// `None`: any key will do.
    const SCOPE: Option<Scope>;
}

/// A caller that may do what `S` needs.
pub(crate) struct May<S> {
    caller: Caller,
    needs: PhantomData<fn() -> S>,
}

impl<S> Deref for May<S> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl<S: Needs> FromRequest for May<S> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(state) = request.app_data::<web::Data<AppState>>() else {
            return ready(Err(ApiError::internal("no state")));
        };
        let caller = caller_of(request, state).and_then(|caller| {
            caller.check(S::SCOPE)?;
            caller.count()?;
            Ok(Self { caller, needs: PhantomData })
        });
        ready(caller.inspect_err(|error| {
            if let Some(reason) = error.word() {
                state.metrics.rejected.with_label_values(&[reason]).inc();
            }
        }))
    }
}

/// Who sent a request.
fn caller_of(request: &HttpRequest, state: &AppState) -> Result<Caller, ApiError> {
    let presented = request.headers().get(header::AUTHORIZATION);
    let address = state.entry.proxies.address_of(request);
    let key = state.keys.key_of(presented, UnixMillis::now()).or_else(|refused| {
        state.visitors.wrong_key(address)?;
        Err(refused)
    })?;
    let meter = match &key {
        Some(key) => Some(Arc::clone(&key.meter)),
        None => state.visitors.meter(address),
    };
    let header = |names: [&str; 2]| {
        let values = names.iter().filter_map(|name| request.headers().get(*name));
        let mut said =
            values.map(|value| value.as_bytes()).filter(|it| !it.trim_ascii().is_empty());
        said.next().map(<[u8]>::to_vec)
    };
    let (named, conversation) = (header(USER), header(CONVERSATION));
    Ok(Caller { key, meter, named, conversation, address })
}

/// What there is to be allowed to: `May<to::Chat>`.
pub(crate) mod to {
    use super::{Needs, Scope};

    macro_rules! needs {
        ($($name:ident: $scope:expr,)*) => {$(
            pub(crate) enum $name {}
            impl Needs for $name {
                const SCOPE: Option<Scope> = $scope;
            }
        )*};
    }

    needs! {
        Chat: Some(Scope::Chat),
        Feedback: Some(Scope::Feedback),
        Export: Some(Scope::Export),
        Adapters: Some(Scope::Adapters),
        Cycles: Some(Scope::Cycles),
        Admin: Some(Scope::Admin),
        // What every key may see: names of models, figures, this API's description.
        Look: None,
    }
}
