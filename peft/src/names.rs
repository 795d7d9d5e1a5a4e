//! PEFT's names of tensors: `base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight`.

const PREFIX: &str = "base_model.model.model.layers.";
const END: &str = ".weight";

/// One of the two matrices of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Half {
    /// `[rank, inputs]`.
    A,
    /// `[outputs, rank]`.
    B,
}

impl Half {
    fn name(self) -> &'static str {
        match self {
            Self::A => "lora_A",
            Self::B => "lora_B",
        }
    }
}

/// What a tensor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The decoder layer.
    pub layer: usize,
    /// The path inside of the layer: `self_attn.q_proj`.
    pub path: &'a str,
    /// Which matrix.
    pub half: Half,
}

impl<'a> Place<'a> {
    /// The place that a name stands for; `None` for a name of another kind, or a second spelling of one.
    #[must_use]
    pub fn parse(name: &'a str) -> Option<Self> {
        let rest = name.strip_prefix(PREFIX)?.strip_suffix(END)?;
        let (layer, rest) = rest.split_once('.')?;
        let (path, half) = rest.rsplit_once('.')?;
        let half = [Half::A, Half::B].into_iter().find(|known| known.name() == half)?;
        let number: usize = layer.parse().ok()?;
        // `+1` and `01` would be second names of the same layer.
        (number.to_string() == layer).then_some(Self { layer: number, path, half })
    }
}

/// The name of a matrix.
#[must_use]
pub fn tensor_name(layer: usize, path: &str, half: Half) -> String {
    format!("{PREFIX}{layer}.{path}.{}{END}", half.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(
            layer in 0..4096_usize, path in "[a-z_]{1,9}(\\.[a-z_]{1,9}){0,2}", is_a: bool,
        ) {
            let half = if is_a { Half::A } else { Half::B };
            let name = tensor_name(layer, &path, half);
            prop_assert_eq!(Place::parse(&name), Some(Place { layer, path: &path, half }));
        }

        #[test]
        fn no_name_makes_it_panic(name in ".{0,90}") {
            let _ = Place::parse(&name);
        }
    }

    #[test]
    fn other_names_have_no_place() {
        for name in [
            "base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight",
            "base_model.model.model.layers.+0.self_attn.q_proj.lora_A.weight",
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight",
            "base_model.model.model.layers.0.self_attn.q_proj.lora_C.weight",
            "base_model.model.lm_head.lora_A.weight",
            "model.layers.0.self_attn.q_proj.lora_A.weight",
        ] {
            assert_eq!(Place::parse(name), None, "{name}");
        }
    }
}
