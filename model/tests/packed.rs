//! A packed base is believed only as far as it was checked.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::{
    fs::{File, FileTimes, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hone_model::{Error, Model, Pack, PackStage, Source, WeightFormat};
use proptest::{prelude::*, sample::Index};

/// The files of a packed folder.
const FILES: [&str; 5] =
    ["manifest.json", "weights.hone", "config.json", "tokenizer.json", "tokenizer_config.json"];

fn starter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("starter")
}

fn prepare(source: &Path, base: &Path) -> Result<Pack, Error> {
    Pack::prepare(&Source::Folder(source.to_owned()), WeightFormat::Q4, base)
}

/// A copy of the starter that can be spoiled, its files an hour old.
fn copy_of_the_starter() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        std::fs::copy(starter().join(name), copy.path().join(name)).unwrap();
    }
    copy
}

fn flip(file: &Path, byte: u64, bit: u32) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut value = [0];
    file.read_exact_at(&mut value, byte).unwrap();
    file.write_all_at(&[value[0] ^ (1 << bit)], byte).unwrap();
}

fn cut(file: &Path, length: u64) {
    OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

#[test]
fn any_flipped_bit_and_any_cut_is_found() {
    let base = tempfile::tempdir().unwrap();
    let packed = prepare(&starter(), base.path()).unwrap().folder().to_owned();
    let damaged = || matches!(Pack::open(&packed), Err(Error::Damaged { .. }));
    let mut files: Vec<PathBuf> = FILES.iter().map(|name| packed.join(name)).collect();
    files.push(packed.join("generation_config.json"));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) };
    proptest!(config, |(file: Index, place: Index, bit in 0_u32..8)| {
        let file = &files[file.index(files.len())];
        let length = std::fs::metadata(file).unwrap().len();
        let byte = place.index(length as usize) as u64;
        flip(file, byte, bit);
        prop_assert!(damaged(), "{} byte {byte} bit {bit}", file.display());
        flip(file, byte, bit);
        let whole = std::fs::read(file).unwrap();
        cut(file, byte);
        prop_assert!(damaged(), "{} cut to {byte}", file.display());
        std::fs::write(file, whole).unwrap();
    });
    Model::open(&packed, 1).unwrap();
}

#[test]
fn each_damage_is_told_and_repaired() {
    let base = tempfile::tempdir().unwrap();
    let packed = prepare(&starter(), base.path()).unwrap().folder().to_owned();
    let weights = packed.join("weights.hone");
    let whole = std::fs::read(&weights).unwrap();
    let repaired = |expected: &str| {
        let pack = prepare(&starter(), base.path()).unwrap();
        assert_eq!(pack.folder(), packed);
        let words = pack.repaired().unwrap();
        assert!(words.contains(expected) && words.contains("packed again from"), "{words}");
        assert_eq!(std::fs::read(&weights).unwrap(), whole);
        assert_eq!(prepare(&starter(), base.path()).unwrap().repaired(), None);
    };
    flip(&weights, (5 << 20) + 17, 3);
    let blocks = whole.len().div_ceil(1 << 20);
    repaired(&format!("block 6 of {blocks}, bytes 5242880 to 6291456"));
    cut(&weights, 100);
    repaired(&format!(
        "weights.hone was not what was packed: it has 100 bytes instead of {}",
        whole.len()
    ));
    for file in FILES {
        std::fs::remove_file(packed.join(file)).unwrap();
        repaired(&format!("{file} was not what was packed: it is missing"));
    }
    std::fs::write(packed.join("chat_template.jinja"), "{{ 1 }}").unwrap();
    repaired("chat_template.jinja was not what was packed: nothing of this name was packed");
    // As a version before checksums left it.
    let manifest = format!(r#"{{"digest":"{}","format":"q4","pack_version":1}}"#, "0".repeat(64));
    std::fs::write(packed.join("manifest.json"), manifest).unwrap();
    repaired("packed by another version");
    std::fs::remove_file(&weights).unwrap();
    std::fs::create_dir(&weights).unwrap();
    repaired("not a plain file");
}

#[test]
fn who_has_no_source_is_told_where_and_what_to_do() {
    let base = tempfile::tempdir().unwrap();
    let packed = prepare(&starter(), base.path()).unwrap().folder().to_owned();
    flip(&packed.join("weights.hone"), 3 << 20, 0);
    let error = Model::open(&packed, 1).unwrap_err().to_string();
    assert!(error.contains("weights.hone is not what was packed: block 4 of"), "{error}");
    assert!(error.ends_with("packs it again from the model"), "{error}");
}

/// Sets the time of the content back, as `touch -r` or an archive does.
fn set_modified(file: &Path, time: SystemTime) {
    let times = FileTimes::new().set_modified(time);
    File::options().write(true).open(file).unwrap().set_times(times).unwrap();
}

/// Whether the one record of a source says that it may be known by its looks.
fn is_trusted(base: &Path) -> bool {
    let mut records = std::fs::read_dir(base.join("sources")).unwrap();
    let record = std::fs::read(records.next().unwrap().unwrap().path()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&record).unwrap()["settled"] == true
}

#[test]
fn a_source_in_place_is_not_read_again_and_a_changed_one_is() {
    let base = tempfile::tempdir().unwrap();
    let records = base.path().join("sources");
    // The checkout is old enough; its record is made at once.
    let first = prepare(&starter(), base.path()).unwrap().folder().to_owned();
    if !is_trusted(base.path()) {
        return; // A checkout of the last seconds is read again, as it should be.
    }
    assert_eq!(std::fs::read_dir(&records).unwrap().count(), 1);
    let record = std::fs::read_dir(&records).unwrap().next().unwrap().unwrap().path();
    let made = std::fs::metadata(&record).unwrap().modified().unwrap();
    assert_eq!(prepare(&starter(), base.path()).unwrap().folder(), first);
    assert_eq!(std::fs::metadata(&record).unwrap().modified().unwrap(), made, "it was not read");
    // A record that is damaged is none.
    flip(&record, 40, 0);
    assert_eq!(prepare(&starter(), base.path()).unwrap().folder(), first);
    assert_ne!(std::fs::metadata(&record).unwrap().modified().unwrap(), made, "made anew");
    // The disk's content is another one, and nobody changed it: that is no new model.
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("checksum");
    json["digest"] = "0".repeat(64).into();
    std::fs::write(&record, hone_api::sealed::seal(&json).unwrap()).unwrap();
    let error = prepare(&starter(), base.path()).unwrap_err().to_string();
    assert!(error.contains("copy the model again"), "{error}");
}

#[test]
fn what_was_changed_just_now_is_not_remembered() {
    let (base, copy) = (tempfile::tempdir().unwrap(), copy_of_the_starter());
    let weights = copy.path().join("model.safetensors");
    let hour = SystemTime::now() - Duration::from_secs(3600);
    // Its content looks old; that of the inode is not.
    set_modified(&weights, hour);
    let first = prepare(copy.path(), base.path()).unwrap().folder().to_owned();
    assert!(!is_trusted(base.path()));
    let last = std::fs::metadata(&weights).unwrap().len() - 1;
    flip(&weights, last - 1, 2);
    set_modified(&weights, hour);
    let second = prepare(copy.path(), base.path()).unwrap();
    assert_ne!(second.folder(), first);
    assert_eq!(second.repaired(), None, "it is another model");
}

#[test]
fn threads_change_no_byte() {
    let packed = |threads: usize, format| {
        let base = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let source = Source::Folder(starter());
        let pack = pool.install(|| Pack::prepare(&source, format, base.path())).unwrap();
        let digest = pack.folder().file_name().unwrap().to_owned();
        let read = |name| std::fs::read(pack.folder().join(name)).unwrap();
        (digest, read("weights.hone"), read("manifest.json"))
    };
    for format in [WeightFormat::Q4, WeightFormat::Bf16] {
        let one = packed(1, format);
        for threads in [2, 5] {
            assert!(packed(threads, format) == one, "{threads} threads in {format}");
        }
    }
    // The starter in 4 bits: adapters are bound to these bytes, whatever packs them.
    let weights = blake3::hash(&packed(2, WeightFormat::Q4).1).to_hex().to_string();
    assert_eq!(weights, "cfa9540fbe60f271cd984d3a31fdc46f6b890cc4208be4427ab1cf25dde3400b");
}

#[test]
fn what_is_packed_is_listed_and_stays_as_it_is() {
    let (base, copy) = (tempfile::tempdir().unwrap(), copy_of_the_starter());
    let source = Source::Folder(copy.path().to_owned());
    let plenty = 64 << 30;
    assert_eq!(hone_model::packed(base.path()), []);
    assert_eq!(Pack::would_choose(&source, base.path(), plenty).unwrap(), WeightFormat::Q8);
    assert_eq!(Pack::would_choose(&source, base.path(), 1 << 20).unwrap(), WeightFormat::Q4);
    // Packed in 4 bits by a version that chose so, whose records are gone: that is what stays.
    let pack = prepare(copy.path(), base.path()).unwrap();
    std::fs::remove_dir_all(base.path().join("sources")).unwrap();
    assert_eq!(Pack::choose(&source, base.path(), plenty).unwrap(), WeightFormat::Q4);
    // What was chosen once holds whatever becomes of the memory and of what is packed.
    std::fs::remove_dir_all(pack.folder()).unwrap();
    assert_eq!(Pack::choose(&source, base.path(), plenty).unwrap(), WeightFormat::Q4);
    assert_eq!(Pack::choose(&Source::Starter, base.path(), plenty).unwrap(), WeightFormat::Q4);
    let pack = prepare(copy.path(), base.path()).unwrap();
    let listed = hone_model::packed(base.path());
    assert_eq!((listed.len(), &*listed[0].folder), (1, pack.folder()));
    assert_eq!(listed[0].sources, [copy.path().canonicalize().unwrap()]);
    let bytes = hone_model::packed_bytes(&source.inspect().unwrap(), WeightFormat::Q4);
    assert!(listed[0].bytes >= bytes && listed[0].bytes < bytes + (64 << 10), "but for a header");
}

#[test]
fn packing_tells_how_far_it_is() {
    let base = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    let mut progress = |stage: PackStage, done: u64, total: u64| told.push((stage, done, total));
    let source = Source::Folder(starter());
    Pack::prepare_with(&source, WeightFormat::Q4, base.path(), &mut progress).unwrap();
    for stage in [PackStage::Reading, PackStage::Packing] {
        let of: Vec<_> =
            told.iter().filter(|(s, ..)| *s == stage).map(|(_, d, t)| (*d, *t)).collect();
        assert!(of.is_sorted() && of.len() > 1 || stage == PackStage::Reading, "{of:?}");
        let (done, total) = of.last().unwrap();
        assert!(done >= total, "{done} of {total}");
    }
}
