//! What an adapter must fit: the linear layers of the base.

use std::collections::BTreeMap;

/// The linear layers of the base model that an adapter may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseShape {
    /// Digest of the packed base weights.
    pub digest: String,
    /// Number of decoder layers.
    pub num_layers: usize,
    /// Inputs and outputs of what adapters can be put on, by PEFT's short name (`q_proj` … `down_proj`; `qkv_proj` where a
    /// model's file has one matrix for several layers), or, of a family that Hone's decoder does not know, by the path
    /// within a layer (`self_attn.dense`).
    pub modules: BTreeMap<String, (usize, usize)>,
}

impl BaseShape {
    /// The block that a linear layer belongs to in tensor names.
    fn block_of(module: &str) -> &'static str {
        match module {
            "gate_proj" | "up_proj" | "gate_up_proj" | "down_proj" => "mlp",
            _ => "self_attn",
        }
    }

    /// The path of a linear layer inside of a decoder layer.
    #[must_use]
    pub fn path_of(module: &str) -> String {
        if module.contains('.') {
            return module.to_owned();
        }
        format!("{}.{module}", Self::block_of(module))
    }

    /// The linear layer at a path inside of a decoder layer, if adapters can be put on it.
    pub(crate) fn module_at(&self, path: &str) -> Option<(&str, (usize, usize))> {
        let short = path.rsplit('.').next().unwrap_or(path);
        let found = [path, short].into_iter().find_map(|name| self.modules.get_key_value(name));
        let (module, sizes) = found.filter(|(module, _)| Self::path_of(module) == path)?;
        Some((module, *sizes))
    }

    /// The linear layers that a target of an adapter's configuration names: PEFT compares the ends of paths.
    pub(crate) fn named(&self, target: &str) -> impl Iterator<Item = &str> {
        let short = target.rsplit('.').next().unwrap_or(target);
        let ends = |whole: &str, end: &str| {
            whole.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let is_named = move |module: &&str| match module.contains('.') {
            true => ends(module, target) || ends(target, module),
            false => *module == short,
        };
        self.modules.keys().map(String::as_str).filter(is_named)
    }

    /// How many bytes the weights of an adapter of this rank can take at most, in f32 and with every
    /// linear layer adapted, without the header.
    pub(crate) fn max_weight_bytes(&self, rank: usize) -> u64 {
        let per_layer: u64 =
            self.modules.values().map(|(inputs, outputs)| (inputs + outputs) as u64).sum();
        per_layer * (self.num_layers as u64) * (rank as u64) * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(modules: &[&str]) -> BaseShape {
        let modules = modules.iter().map(|module| ((*module).to_owned(), (4, 4))).collect();
        BaseShape { digest: String::new(), num_layers: 1, modules }
    }

    #[test]
    fn layers_of_other_families_are_found_by_their_paths() {
        let base = shape(&["self_attn.dense", "mlp.dense", "mlp.fc1"]);
        assert_eq!(base.module_at("mlp.fc1").map(|(module, _)| module), Some("mlp.fc1"));
        assert_eq!(base.module_at("self_attn.fc1"), None);
        assert_eq!(base.named("dense").collect::<Vec<_>>(), ["mlp.dense", "self_attn.dense"]);
        assert_eq!(base.named("self_attn.dense").collect::<Vec<_>>(), ["self_attn.dense"]);
        assert_eq!(base.named("model.layers.0.mlp.fc1").collect::<Vec<_>>(), ["mlp.fc1"]);
        assert_eq!(base.named("c1").next(), None);
    }

    #[test]
    fn known_layers_stand_in_one_place() {
        let base = shape(&["q_proj", "down_proj"]);
        assert_eq!(base.module_at("mlp.down_proj").map(|(module, _)| module), Some("down_proj"));
        assert_eq!(base.module_at("mlp.q_proj"), None);
        assert_eq!(base.named("self_attn.q_proj").collect::<Vec<_>>(), ["q_proj"]);
    }
}
