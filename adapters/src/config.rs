//! The bounds of an adapter's configuration; what its options mean is `hone_peft`'s.

use hone_peft::{Error, PeftConfig};

use crate::Refusal;

/// No honest configuration is larger, in bytes.
pub(crate) const MAX_CONFIG: u64 = 1 << 20;

/// Reads the configuration.
pub(crate) fn parse(json: &[u8], max_rank: usize) -> Result<PeftConfig, Refusal> {
    let config = PeftConfig::parse(json).map_err(|error| match error {
        Error::Unsupported { option, value } => Refusal::Unsupported { option, value },
        other => Refusal::Config(other.to_string()),
    })?;
    let out_of_bounds = config.ranks().find(|rank| !(1..=max_rank).contains(rank));
    match out_of_bounds {
        Some(rank) => Err(Refusal::Rank { rank, max: max_rank }),
        None => Ok(config),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_bounded() {
        let with = |rank: i64, pattern: serde_json::Value| {
            let json = serde_json::json!({
                "peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj"],
                "rank_pattern": pattern,
            });
            parse(json.to_string().as_bytes(), 256)
        };
        let none = serde_json::json!({});
        assert!(with(256, none.clone()).is_ok());
        assert!(matches!(with(257, none.clone()), Err(Refusal::Rank { .. })));
        assert!(with(0, none).is_err());
        let pattern = serde_json::json!({ "q_proj": 300 });
        assert!(matches!(with(8, pattern), Err(Refusal::Rank { rank: 300, .. })));
    }
}
