//! Whether the configured model is one that Hone can serve here, as far as its header and small files say.

use hone_config::{Config, EngineKind, LoadedConfig, Weights};
use hone_machine::{available, limit};
use hone_model::{Pack, Source, WeightFormat};

use super::DoctorReport;
use hone_daemon::base_model;
use hone_daemon::error_chain;
use hone_daemon::memory::{AskedMemory, Budget};
use hone_daemon::mistral;

pub(super) fn model(report: &mut DoctorReport, loaded: &LoadedConfig, daemon_runs: bool) {
    let config = &loaded.config;
    let name = &config.model.source;
    let Some(source) = base_model::at_hand(config, &config.server.data_dir.join("base")) else {
        let found = format!("{name} is not here yet");
        let remedy = format!("the next start downloads it, or `hone models pull {name}`");
        return report.note("model", found, remedy);
    };
    let wrong = "name another with `model.source` or --model, or another `model.chat_template` if that is what is wrong";
    let (model, format) =
        match source.inspect().and_then(|model| Ok((model, format(config, &source)?))) {
            Ok(found) => found,
            Err(hone_model::Error::Family { class, .. }) if may_be_another_engine(config) => {
                return report.ok("model", format!("{name}: {class}, for the mistralrs engine"));
            }
            Err(error) => {
                return report.wrong(
                    "model",
                    format!("{name}: {}", error_chain::describe(&error.into())),
                    wrong,
                );
            }
        };
    let (layers, hidden, tokens) = (model.num_layers, model.hidden_size, model.vocab_size);
    let found = format!("{name}: {layers} layers, {hidden} wide, {tokens} tokens, in {format}");
    // A running daemon has its memory already.
    let fits = Budget::of(&config.engine, AskedMemory::of(loaded), (&model, format), &available());
    match fits {
        Ok(budget) => report.ok("model", format!("{found}; {}", budget.need())),
        Err(_) if daemon_runs => report.ok("model", found),
        Err(error) => {
            report.wrong("model", format!("{found}: {}", error_chain::describe(&error)), wrong)
        }
    }
}

/// Whether a family that Hone's decoder does not know may be served all the same.
fn may_be_another_engine(config: &Config) -> bool {
    mistral::IS_BUILT_IN && config.engine.kind != EngineKind::Hone
}

fn format(config: &Config, source: &Source) -> Result<WeightFormat, hone_model::Error> {
    match config.model.weights {
        Weights::Auto => {
            Pack::would_choose(source, &config.server.data_dir.join("base"), limit().bytes)
        }
        format => Ok(format.to_string().parse()?),
    }
}
