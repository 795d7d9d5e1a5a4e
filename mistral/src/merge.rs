//! An adapter's product added to the weights that it changes, as a file of tensors that stands behind the model's own.
//!
//! mistralrs has a way to do this itself: it knows neither rank-stabilised scaling nor ranks of single layers, and passes
//! over layers that it fuses. So it is done here, by the same rules as for Hone's own decoder, and a tensor of the adapter
//! that belongs to no layer of the model is refused.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use hone_model::Foreign;
use hone_peft::{CONFIG, Half, PeftConfig, Place, WEIGHTS};

use crate::Error;

/// The two matrices on one layer.
#[derive(Default)]
struct Pair {
    a: Option<Tensor>,
    b: Option<Tensor>,
}

/// Writes the weights that the adapter in `adapter` changes, changed, in f32. Holds one of them at a time.
///
/// # Errors
/// The adapter asks for what cannot be applied, or is for another model; the disk's.
pub fn merge(model: &Foreign, adapter: &Path, out: &Path) -> Result<(), Error> {
    let path = adapter.join(CONFIG);
    let config = PeftConfig::parse(&fs_err::read(&path).map_err(Error::io(&path))?)?;
    let pairs = pairs(adapter)?;
    let mut file = BufWriter::new(fs_err::File::create(out).map_err(Error::io(out))?);
    let names: Vec<String> = pairs.keys().map(|layer| format!("{layer}.weight")).collect();
    let header = header(model, &names)?;
    file.write_all(&header).map_err(Error::io(out))?;
    model.read_each(&names, |name, shape, weights| {
        let layer = name.trim_end_matches(".weight");
        let weights = match pairs.get(layer) {
            Some(pair) => changed(name, shape, weights, pair, config.scaling_of(layer))?,
            None => weights,
        };
        for number in weights {
            file.write_all(&number.to_le_bytes()).map_err(Error::io(out))?;
        }
        Ok::<_, Error>(())
    })?;
    file.flush().map_err(Error::io(out))
}

/// The adapter's matrices by the path of their layer.
fn pairs(adapter: &Path) -> Result<BTreeMap<String, Pair>, Error> {
    let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
    for (name, tensor) in candle_core::safetensors::load(adapter.join(WEIGHTS), &Device::Cpu)? {
        let place = Place::parse(&name).ok_or_else(|| Error::Place(name.clone()))?;
        let pair = pairs.entry(format!("model.layers.{}.{}", place.layer, place.path)).or_default();
        let tensor = Some(tensor.to_dtype(DType::F32)?);
        match place.half {
            Half::A => pair.a = tensor,
            Half::B => pair.b = tensor,
        }
    }
    Ok(pairs)
}

/// The beginning of a file of f32 tensors with these names, in their order.
fn header(model: &Foreign, names: &[String]) -> Result<Vec<u8>, Error> {
    let (mut entries, mut end) = (Vec::new(), 0);
    for name in names {
        let shape = model.tensors.get(name).ok_or_else(|| Error::Place(name.clone()))?;
        let begin = end;
        end += shape.iter().product::<usize>() * 4;
        entries.push(format!(
            r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#
        ));
    }
    let mut json = format!("{{{}}}", entries.join(","));
    // The numbers begin at a multiple of eight.
    json.push_str(&" ".repeat(json.len().next_multiple_of(8) - json.len()));
    Ok([&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat())
}

/// `W + scaling · B · A`.
fn changed(
    name: &str,
    shape: &[usize],
    weights: Vec<f32>,
    pair: &Pair,
    scaling: f64,
) -> Result<Vec<f32>, Error> {
    let (Some(a), Some(b)) = (&pair.a, &pair.b) else { return Err(Error::Place(name.to_owned())) };
    let product = b.matmul(a)?;
    if product.dims() != shape {
        let (made, layer) = (product.dims().to_vec(), shape.to_vec());
        return Err(Error::Shape { name: name.to_owned(), made, layer });
    }
    let weights = Tensor::from_vec(weights, shape, &Device::Cpu)?;
    Ok((weights + (product * scaling)?)?.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use hone_model::Source;

    use super::*;

    const STARCODER2: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/mistralrs/starcoder2");

    fn starcoder2() -> Foreign {
        let bases = tempfile::tempdir().unwrap();
        let source = Source::Folder(STARCODER2.into());
        Foreign::open(&source, bases.path(), &mut |_, _, _| {}).unwrap().0
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn load(path: &Path) -> HashMap<String, Tensor> {
        candle_core::safetensors::load(path, &Device::Cpu).unwrap()
    }

    #[test]
    fn what_an_adapter_changes_is_written_changed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("merged.safetensors");
        let adapter = Path::new(STARCODER2).join("adapter");
        merge(&starcoder2(), &adapter, &out).unwrap();
        let (base, halves) =
            (load(&Path::new(STARCODER2).join("model.safetensors")), load(&adapter.join(WEIGHTS)));
        let merged = load(&out);
        assert_eq!(merged.len() * 2, halves.len());
        for (name, tensor) in &merged {
            let before = &base[name];
            assert_eq!(tensor.dims(), before.dims(), "{name}");
            let layer = name.trim_end_matches(".weight");
            let half =
                |half: &str| numbers(&halves[&format!("base_model.model.{layer}.{half}.weight")]);
            let (a, b) = (half("lora_A"), half("lora_B"));
            let (inputs, rank) = (tensor.dims()[1], 4);
            // Rank-stabilised: 8 over the root of 4.
            for (at, (after, before)) in numbers(tensor).iter().zip(numbers(before)).enumerate() {
                let (row, column) = (at / inputs, at % inputs);
                let product: f32 =
                    (0..rank).map(|k| b[row * rank + k] * a[k * inputs + column]).sum();
                assert!((after - before - 4.0 * product).abs() < 1e-5, "{name} at {at}");
            }
        }
    }

    #[test]
    fn an_adapter_of_another_model_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let adapter = folder.path().join("adapter");
        fs_err::create_dir(&adapter).unwrap();
        fs_err::copy(Path::new(STARCODER2).join("adapter").join(CONFIG), adapter.join(CONFIG))
            .unwrap();
        let half = |rows: usize, columns: usize| {
            Tensor::ones((rows, columns), DType::F32, &Device::Cpu).unwrap()
        };
        let refusal = |layer: &str, outputs: usize| {
            let name = |half: &str| format!("base_model.model.model.layers.{layer}.{half}.weight");
            let tensors =
                HashMap::from([(name("lora_A"), half(4, 32)), (name("lora_B"), half(outputs, 4))]);
            candle_core::safetensors::save(&tensors, adapter.join(WEIGHTS)).unwrap();
            merge(&starcoder2(), &adapter, &folder.path().join("out")).unwrap_err().to_string()
        };
        assert!(refusal("0.self_attn.c_attn", 32).contains("self_attn.c_attn"));
        assert!(refusal("7.mlp.c_fc", 64).contains("layers.7.mlp.c_fc"));
        assert!(refusal("0.mlp.c_fc", 60).contains("[60, 32]"));
    }
}
