//! Damaged, hostile and foolish adapters.

use super::*;
use crate::testing::{
    Tensors, peft_config, random_tensors, tiny_base, write_random_adapter, write_tensors,
};
use proptest::prelude::*;
use serde_json::json;

const RANK: usize = 4;
const FIRST_A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
const FIRST_B: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_random_adapter(dir.path(), &tiny_base(), RANK, 7);
    dir
}

fn verdict(dir: &tempfile::TempDir) -> Result<Verified, Refusal> {
    verify_within(dir.path(), &tiny_base(), &VerifyLimits::default())
}

fn with_tensors(change: impl FnOnce(&mut Tensors)) -> Result<Verified, Refusal> {
    let dir = folder();
    let mut tensors = random_tensors(&tiny_base(), RANK, 7);
    change(&mut tensors);
    write_tensors(dir.path(), &tensors);
    verdict(&dir)
}

fn with_config(option: &str, value: serde_json::Value) -> Result<Verified, Refusal> {
    let dir = folder();
    let mut config = peft_config(&tiny_base(), RANK);
    config[option] = value;
    fs::write(dir.path().join(CONFIG), config.to_string()).unwrap();
    verdict(&dir)
}

#[test]
fn a_good_adapter_is_described() {
    let dir = folder();
    let verified = verdict(&dir).unwrap();
    let weights = fs::read(dir.path().join(WEIGHTS)).unwrap();
    assert_eq!(verified.rank, 4);
    assert_eq!(verified.alpha, 8.0);
    assert_eq!(verified.target_modules.len(), 7);
    assert_eq!(verified.bytes, weights.len() as u64);
    assert_eq!(verified.blake3, blake3::hash(&weights).to_hex().to_string());
    assert_eq!(verified.sha256, hex(&Sha256::digest(&weights)));
}

#[test]
fn hexadecimal_is_lower_case() {
    assert_eq!(hex(&[0, 0xAB, 0xff]), "00abff");
}

#[test]
fn an_adapter_of_some_layers_is_good() {
    let verified = with_tensors(|tensors| tensors.retain(|name, _| !name.contains("layers.1.")));
    assert_eq!(verified.unwrap().target_modules.len(), 7);
}

#[test]
fn half_precision_is_read() {
    use safetensors::tensor::{Dtype as Safe, TensorView};
    for (dtype, element) in [
        (Safe::F16, f16::from_f32(0.25).to_le_bytes()),
        (Safe::BF16, bf16::from_f32(0.25).to_le_bytes()),
    ] {
        let dir = folder();
        let bytes = element.repeat(RANK * 8);
        let tensors = [
            (FIRST_A, TensorView::new(dtype, vec![RANK, 8], &bytes).unwrap()),
            (FIRST_B, TensorView::new(dtype, vec![8, RANK], &bytes).unwrap()),
        ];
        fs::write(dir.path().join(WEIGHTS), safetensors::serialize(tensors, None).unwrap())
            .unwrap();
        let mut config = peft_config(&tiny_base(), RANK);
        config["target_modules"] = "q_proj".into();
        fs::write(dir.path().join(CONFIG), config.to_string()).unwrap();
        assert_eq!(verdict(&dir).unwrap().target_modules, ["q_proj"]);
    }
}

#[test]
fn truncated_padded_and_empty_files_are_refused() {
    let dir = folder();
    let path = dir.path().join(WEIGHTS);
    let weights = fs::read(&path).unwrap();
    for length in [0, 7, 8, 100, weights.len() - 1] {
        fs::write(&path, &weights[..length]).unwrap();
        let refusal = verdict(&dir).unwrap_err();
        assert!(
            matches!(refusal, Refusal::Header(_) | Refusal::Truncated { .. }),
            "{length}: {refusal}"
        );
    }
    fs::write(&path, [weights.as_slice(), b"x"].concat()).unwrap();
    assert!(matches!(verdict(&dir), Err(Refusal::Truncated { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(verdict(&dir), Err(Refusal::File { .. })));
}

#[test]
fn huge_claims_cost_nothing() {
    let dir = folder();
    let path = dir.path().join(WEIGHTS);
    fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
    assert!(matches!(verdict(&dir), Err(Refusal::Header(_))));
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(verdict(&dir), Err(Refusal::TooLarge { .. })));
    fs::File::create(dir.path().join(CONFIG)).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(verdict(&dir), Err(Refusal::TooLarge { .. })));
}

#[test]
fn not_a_number_is_refused_by_name() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let refusal = with_tensors(|t| t.get_mut(FIRST_B).unwrap().1[3] = bad).unwrap_err();
        assert_eq!(refusal, Refusal::NotFinite(FIRST_B.to_owned()));
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let refusal = with_tensors(|t| {
        t.insert(FIRST_A.to_owned(), (vec![8, RANK], vec![0.1; 8 * RANK]));
    })
    .unwrap_err();
    assert!(matches!(refusal, Refusal::Shape { .. }), "{refusal}");
    let refusal = with_config("r", json!(2)).unwrap_err();
    assert!(matches!(refusal, Refusal::Shape { .. } | Refusal::TooLarge { .. }), "{refusal}");
}

#[test]
fn tensors_without_a_place_are_refused() {
    for name in [
        "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.+0.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.mlp.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_C.weight",
        "base_model.model.model.layers.0.self_attn.x_proj.lora_A.weight",
        "../../etc/passwd",
    ] {
        let refusal = with_tensors(|t| {
            t.insert(name.to_owned(), (vec![RANK, 8], vec![0.1; RANK * 8]));
        })
        .unwrap_err();
        assert_eq!(refusal, Refusal::Tensor(name.to_owned()));
    }
}

#[test]
fn half_a_pair_is_refused() {
    let refusal = with_tensors(|t| drop(t.remove(FIRST_A))).unwrap_err();
    assert_eq!(refusal, Refusal::Unpaired(FIRST_A.to_owned()));
    assert_eq!(with_tensors(Tensors::clear).unwrap_err(), Refusal::Empty);
}

#[test]
fn an_adapter_without_effect_is_refused() {
    let zero = |half: &'static str| {
        move |t: &mut Tensors| {
            t.iter_mut().filter(|(name, _)| name.contains(half)).for_each(|(_, t)| t.1.fill(0.0));
        }
    };
    assert_eq!(with_tensors(zero("lora_B")).unwrap_err(), Refusal::NoEffect);
    assert_eq!(with_tensors(zero("lora_A")).unwrap_err(), Refusal::NoEffect);
    assert!(with_tensors(zero("layers.1.self_attn.q_proj.lora_B")).is_ok());
}

#[test]
fn exaggerations_are_refused() {
    for alpha in [json!(1e6), json!(0), json!(-8)] {
        assert!(matches!(with_config("lora_alpha", alpha), Err(Refusal::Alpha { .. })));
    }
    let refusal = with_tensors(|t| t.get_mut(FIRST_B).unwrap().1.fill(1e3)).unwrap_err();
    assert!(matches!(refusal, Refusal::TooStrong { layer: 0, .. }), "{refusal}");
    // A product with A alone overflows, though what it changes is little.
    let refusal = with_tensors(|t| {
        t.get_mut(FIRST_A).unwrap().1.iter_mut().for_each(|weight| *weight *= 1e37);
        t.get_mut(FIRST_B).unwrap().1.iter_mut().for_each(|weight| *weight *= 1e-37);
    });
    assert!(matches!(refusal, Err(Refusal::HugeHalf { .. })), "{refusal:?}");
}

#[test]
fn targets_are_checked_by_name() {
    let refusal = with_config("target_modules", json!(["q_proj", "c_attn"])).unwrap_err();
    assert!(refusal.to_string().contains("`c_attn` is unknown"), "{refusal}");
    let dir = folder();
    let mut tensors = random_tensors(&tiny_base(), RANK, 7);
    tensors.retain(|name, _| !name.contains("up_proj"));
    write_tensors(dir.path(), &tensors);
    let refusal = verdict(&dir).unwrap_err();
    assert!(refusal.to_string().contains("`up_proj` has no tensors"), "{refusal}");
    assert!(with_config("target_modules", json!("all-linear")).is_ok());
}

#[test]
fn pickles_are_refused_unopened() {
    for name in ["adapter_model.bin", "adapter_model.PT", "x.ckpt", "y.pkl", "optimizer_state.pth"]
    {
        let dir = folder();
        // a link into nowhere: opening it would give another reason
        std::os::unix::fs::symlink("/nonexistent", dir.path().join(name)).unwrap();
        assert_eq!(verdict(&dir).unwrap_err(), Refusal::Pickle(name.to_owned()));
    }
}

#[test]
fn what_a_trainer_leaves_in_its_checkpoints_is_passed_over() {
    let dir = folder();
    for name in
        ["optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_0.pth", "training_args.bin"]
    {
        std::os::unix::fs::symlink("/nonexistent", dir.path().join(name)).unwrap();
    }
    verdict(&dir).unwrap();
}

#[test]
fn copies_of_the_base_are_named_also_where_they_make_the_file_too_large() {
    const EMBEDDINGS: &str = "base_model.model.model.embed_tokens.weight";
    for rows in [2, 1 << 20] {
        let refusal = with_tensors(|tensors| {
            tensors.insert(EMBEDDINGS.to_owned(), (vec![rows, 2], vec![0.1; rows * 2]));
        })
        .unwrap_err();
        assert_eq!(refusal, Refusal::BaseTensors { tensors: format!("`{EMBEDDINGS}`") });
    }
}

#[test]
fn links_are_refused() {
    for file in [CONFIG, WEIGHTS] {
        let (dir, elsewhere) = (folder(), folder());
        fs::remove_file(dir.path().join(file)).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join(file), dir.path().join(file)).unwrap();
        assert!(matches!(verdict(&dir), Err(Refusal::File { .. })), "{file}");
    }
}

/// Length of the JSON part of a safetensors file.
fn header_length(bytes: &[u8]) -> usize {
    u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A flipped bit in the header is refused or changes nothing that counts (white space, the
    /// free-text metadata); one in the data gives other digests. Nothing panics.
    #[test]
    fn a_flipped_bit_is_refused_or_noticed(at: prop::sample::Index, bit in 0_u8..8) {
        let dir = folder();
        let good = verdict(&dir).unwrap();
        let path = dir.path().join(WEIGHTS);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        match verdict(&dir) {
            Err(_) => {}
            Ok(mutant) => {
                prop_assert_ne!(&mutant.blake3, &good.blake3);
                prop_assert_ne!(&mutant.sha256, &good.sha256);
                prop_assert_eq!(mutant.target_modules, good.target_modules);
                prop_assert!(at >= 8 + header_length(&bytes) || bytes[at].is_ascii());
            }
        }
    }

    #[test]
    fn a_shortened_file_is_refused(at: prop::sample::Index) {
        let dir = folder();
        let path = dir.path().join(WEIGHTS);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..at.index(bytes.len())]).unwrap();
        prop_assert!(verdict(&dir).is_err());
    }

    #[test]
    fn a_swapped_region_is_refused_or_noticed(from: prop::sample::Index, to: prop::sample::Index, length in 1_usize..64) {
        let dir = folder();
        let good = verdict(&dir).unwrap();
        let path = dir.path().join(WEIGHTS);
        let mut bytes = fs::read(&path).unwrap();
        let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
        let length = length.min(bytes.len() - from.max(to));
        let region = bytes[from..from + length].to_vec();
        let changed = bytes[to..to + length] != region[..];
        bytes[to..to + length].copy_from_slice(&region);
        fs::write(&path, &bytes).unwrap();
        if let Ok(mutant) = verdict(&dir) {
            prop_assert_eq!(mutant.blake3 != good.blake3, changed);
        }
    }

    #[test]
    fn any_configuration_is_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let dir = folder();
        fs::write(dir.path().join(CONFIG), bytes).unwrap();
        prop_assert!(verdict(&dir).is_err());
    }
}

/// The limit of open files says nothing of an adapter.
#[test]
fn a_shortage_of_the_system_is_no_fault_of_the_file() {
    for (errno, shortage) in [(24, true), (23, true), (12, true), (5, false), (13, false)] {
        let error = std::io::Error::from_raw_os_error(errno);
        let refusal = file_refusal(WEIGHTS, 1, &error);
        assert_eq!(matches!(refusal, Refusal::Shortage(_)), shortage, "{errno}");
    }
    let told = crate::Error::Io(std::io::Error::from_raw_os_error(24)).to_string();
    assert!(told.contains("Too many open files") && told.contains("ulimit -n"), "{told}");
}
