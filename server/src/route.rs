//! Which adapter answers to a model name. Never a silent fall back: an unknown name is a 404.

use std::sync::Arc;

use actix_web::web;
use hone_api::{AdapterId, AdapterRef};
use hone_engine::Target;

use crate::error::ApiError;
use crate::state::AppState;

/// The name that always means the served model.
pub(crate) const HONE: &str = "hone";

/// What a model name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Whatever is live.
    Live,
    /// The base.
    Base,
    /// This adapter.
    Adapter(AdapterId),
}

/// Looks a model name up.
pub(crate) fn meaning(state: &AppState, model: &str) -> Result<Meaning, ApiError> {
    if model == state.served_name || model == HONE {
        return Ok(Meaning::Live);
    }
    let unknown = || ApiError::model_not_found(model);
    let after = |name: &str| model.strip_prefix(name)?.strip_prefix(':');
    let reference = match after(&state.served_name).or_else(|| after(HONE)) {
        Some(reference) => parse(reference),
        // Bare, only what names one adapter for ever: `live` alone could be anybody's model.
        None => match parse(model) {
            named @ (AdapterRef::Id(_) | AdapterRef::Name(_)) => named,
            _ => return Err(unknown()),
        },
    };
    match reference {
        AdapterRef::Base => return Ok(Meaning::Base),
        AdapterRef::Live => return Ok(Meaning::Live),
        AdapterRef::Previous if state.registry.live().epoch == 0 => return Err(unknown()),
        _ => {}
    }
    match state.registry.resolve(&reference) {
        Ok(Some(id)) => Ok(Meaning::Adapter(id)),
        Ok(None) => Ok(Meaning::Base),
        Err(_) => Err(unknown()),
    }
}

/// Looks a model name up and sees to it that its adapter is loaded.
pub(crate) async fn resolve(state: &web::Data<AppState>, model: &str) -> Result<Target, ApiError> {
    match meaning(state, model)? {
        Meaning::Live => Ok(Target::Live),
        Meaning::Base => Ok(Target::Base),
        Meaning::Adapter(id) => exact(state, id).await,
    }
}

/// Exactly this adapter, loaded if it is not, where that does not take another copy of the model.
pub(crate) async fn exact(state: &web::Data<AppState>, id: AdapterId) -> Result<Target, ApiError> {
    if !state.engine.is_loaded(id) {
        let abilities = state.engine.abilities();
        if !abilities.adapters_side_by_side {
            let message = format!(
                "adapter {id} is not loaded: the {} engine, which serves this model, merges one adapter into it; promote \
                 this one (`hone adapters promote {id}`), or ask the live model",
                abilities.engine
            );
            return Err(ApiError::conflict(message).param("model").code("adapter_not_loaded"));
        }
        load(state, id).await?;
    }
    Ok(Target::Exact(id))
}

async fn load(state: &web::Data<AppState>, id: AdapterId) -> Result<(), ApiError> {
    let _one_at_a_time = state.loading.lock().await;
    if state.engine.is_loaded(id) {
        return Ok(());
    }
    let (engine, registry) = (Arc::clone(&state.engine), Arc::clone(&state.registry));
    let load = move || {
        // The weights that were verified, and for this base: another one may have the same shapes.
        registry.with_verified(id, |dir| {
            engine.load(id, dir)?;
            Ok(())
        })
    };
    web::block(load).await.map_err(ApiError::internal)?
}

/// Reads an adapter reference from a path or a model name.
pub(crate) fn parse(reference: &str) -> AdapterRef {
    match reference.parse() {
        Ok(reference) => reference,
        Err(never) => match never {},
    }
}
