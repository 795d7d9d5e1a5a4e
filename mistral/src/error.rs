//! The one error type of this crate.

use std::path::Path;

/// Why a model or an adapter cannot be served by mistralrs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// mistralrs refuses the model.
    #[error("mistralrs cannot load {class}: {reason}")]
    Load {
        /// The class in `config.json`.
        class: String,
        /// Its own words.
        reason: String,
    },
    /// There is no room for one more copy of the weights.
    #[error(
        "with the mistralrs engine each adapter is a second copy of the model: {0}; free some memory, or let \
         `model.weights` be fewer bits"
    )]
    Room(#[from] hone_machine::TooMuch),
    /// A form that mistralrs does not compute in on a CPU.
    #[error(
        "`model.weights = \"{0}\"` is not a form of the mistralrs engine on a CPU; choose auto, f32, q8 or q4"
    )]
    Form(String),
    /// An adapter's tensor changes nothing that the model has.
    #[error("the adapter's `{0}` changes a layer that this model's files do not have")]
    Place(String),
    /// An adapter's matrices are of another size than the layer.
    #[error("the adapter's matrices for `{name}` make {made:?}, and the layer is {layer:?}")]
    Shape {
        /// The layer's tensor.
        name: String,
        /// Rows and columns of the product.
        made: Vec<usize>,
        /// Those of the layer.
        layer: Vec<usize>,
    },
    /// An adapter's configuration.
    #[error(transparent)]
    Peft(#[from] hone_peft::Error),
    /// The model's files.
    #[error(transparent)]
    Model(#[from] hone_model::Error),
    /// A tensor could not be read or computed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// mistralrs loads the model and cannot compute it.
    #[error("mistralrs cannot compute this model: {0}")]
    Compute(String),
    /// mistralrs panicked or ended while it loaded.
    #[error("mistralrs ended while it loaded the model; its log says more")]
    Ended,
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use hone_machine::{Need, Room};

    use super::*;

    #[test]
    fn a_copy_without_room_is_refused_with_the_figures_and_the_way_out() {
        let room = Room { bytes: 2 << 30, by: "the test".to_owned() };
        let need = Need::of("another copy of the weights", 3 << 30);
        let error = Error::from(need.admit(&room).unwrap_err()).to_string();
        assert!(error.contains("3072 for another copy of the weights"), "{error}");
        assert!(
            error.contains("2048 MiB (the test)") && error.contains("model.weights"),
            "{error}"
        );
    }
}
