//! `/metrics` on an address of its own: for a network where only the one who collects figures is, so without a key.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, ResponseError, web};

use crate::door::Door;
use crate::error::ApiError;
use crate::metrics_page;
use crate::state::AppState;
use crate::{CLOSE, Error};

/// Listens; the server runs once it is polled.
///
/// # Errors
/// [`Error::BindMetrics`]
pub(crate) fn bind(
    address: SocketAddr,
    door: Door,
    state: Arc<AppState>,
) -> Result<(SocketAddr, Server), Error> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::from(Arc::clone(&state)))
            .app_data(web::Data::new(door.clone()))
            .route("/metrics", web::get().to(metrics_page::text))
            .route("/metrics", web::head().to(metrics_page::text))
            .default_service(web::to(elsewhere))
            .wrap(from_fn(at_the_door))
    })
    .workers(1)
    .shutdown_timeout(CLOSE.as_secs())
    .disable_signals()
    .bind(address)
    .map_err(|source| Error::BindMetrics { address, source })?;
    let address = server.addrs().first().copied().unwrap_or(address);
    Ok((address, server.run()))
}

/// The same rules as at the main address: no page of another origin, and on loopback no foreign name.
async fn at_the_door<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let door = request.app_data::<web::Data<Door>>();
    match door.and_then(|door| door.refusal(request.request())) {
        Some(refusal) => Ok(request.into_response(refusal.error_response()).map_into_right_body()),
        None => Ok(next.call(request).await?.map_into_left_body()),
    }
}

async fn elsewhere(request: HttpRequest) -> HttpResponse {
    let message = format!("there is no `{}` here; this address has /metrics alone", request.path());
    ApiError::not_found(message).error_response()
}
