//! `/v1/audit`: who changed what.

use actix_web::{HttpRequest, HttpResponse, web};
use hone_api::audit::AuditView;
use hone_api::error::Invalid;
use hone_store::Order;

use crate::error::ApiError;
use crate::may::{May, to};
use crate::query::{List, OrderWord, Query};
use crate::state::AppState;

/// Lists the audit trail, newest first unless `order=asc`. From the first row on, each row's `hash` is the
/// BLAKE3 of its `previous` and its `content`, and its `previous` is the `hash` of the row before.
#[utoipa::path(get, path = "/v1/audit", tag = "operation", security(("api_key" = ["admin"])),
    params(("after" = Option<u64>, Query, description = "Begin behind the row of this number"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1 to 1000; default 20"),
        ("order" = Option<OrderWord>, Query, description = "Default `desc`, the newest first")),
    responses((status = 200, description = "A page", body = List<AuditView>)))]
pub(crate) async fn list(
    _caller: May<to::Admin>,
    state: web::Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::of(&request)?;
    let after: Option<u64> = query.after("the number of a row")?;
    if after.is_some_and(|after| i64::try_from(after).is_err()) {
        let message = "`after` must be the number of a row, which is below 2^63";
        return Err(Invalid::field("after", message).into());
    }
    let limit = query.limit()?;
    let order = query.order(Order::Descending)?;
    query.finish()?;
    let page = state.store.audit_page(after, limit, order).await?;
    let list = List::new(page.items, page.has_more, |row| row.sequence.to_string());
    Ok(HttpResponse::Ok().json(list))
}
