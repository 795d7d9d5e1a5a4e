//! Whether the configured model is one that Hone can serve, as far as its header and small files say.

use hone_config::Config;

use super::Report;
use crate::{assemble, sentence};

pub(super) fn model(report: &mut Report, config: &Config) {
    let source = &config.model.source;
    match assemble::source(config).inspect() {
        Ok(model) => {
            let (layers, hidden) = (model.num_layers, model.hidden_size);
            let found =
                format!("{source}: {layers} layers, {hidden} wide, {} tokens", model.vocab_size);
            report.ok("model", found);
        }
        Err(error) => {
            let found = format!("{source}: {}", sentence::of(&error.into()));
            report.wrong("model", found, "name another with `model.source` or --model");
        }
    }
}
