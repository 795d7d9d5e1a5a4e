//! An adapter that is a change or two away from a good one.

use std::path::Path;

use anyhow::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// The two files of an adapter.
pub(crate) const CONFIG: &str = "adapter_config.json";
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";

/// A folder that is not written yet.
#[derive(Clone)]
pub(crate) struct Mutant {
    config: Vec<u8>,
    weights: Vec<u8>,
    odd: Option<Odd>,
    /// What was done to it, for the failure's words.
    pub(crate) what: Vec<&'static str>,
}

/// What lies in the folder instead of a file, or beside the two.
#[derive(Clone)]
enum Odd {
    Link(&'static str),
    Dangling(&'static str),
    Pipe(&'static str),
    Folder(&'static str),
    Missing(&'static str),
    Sparse(&'static str),
    Beside(&'static str),
}

type Change = fn(&mut Mutant, &mut ChaCha8Rng);

const CHANGES: [(&str, Change); 25] = [
    ("a bit of the configuration", |m, rng| flip(&mut m.config, 0.., rng)),
    ("a bit of the header", |m, rng| {
        let end = m.data_at();
        flip(&mut m.weights, 8..end, rng);
    }),
    ("a bit of the header's length", |m, rng| flip(&mut m.weights, 0..8, rng)),
    ("bits of the data", |m, rng| {
        let begin = m.data_at();
        for _ in 0..rng.random_range(1..64) {
            flip(&mut m.weights, begin.., rng);
        }
    }),
    ("a bit of an exponent", |m, rng| {
        let at = m.number(rng) + 3;
        m.weights[at] ^= 1 << rng.random_range(0..8);
    }),
    ("the configuration is cut", |m, rng| cut(&mut m.config, rng)),
    ("the weights are cut", |m, rng| cut(&mut m.weights, rng)),
    ("a stretch of the configuration is zero", |m, rng| zero(&mut m.config, 0, rng)),
    ("a stretch of the header is zero", |m, rng| zero(&mut m.weights, 0, rng)),
    ("a stretch of the data is zero", |m, rng| {
        let begin = m.data_at();
        zero(&mut m.weights, begin, rng);
    }),
    ("all data is zero", |m, _| {
        let begin = m.data_at();
        m.weights[begin..].fill(0);
    }),
    ("bytes behind the weights", |m, rng| {
        let more = rng.random_range(1..5000);
        m.weights.extend((0..more).map(|_| rng.random::<u8>()));
    }),
    ("bytes amid the weights", |m, rng| insert(&mut m.weights, rng)),
    ("bytes amid the configuration", |m, rng| insert(&mut m.config, rng)),
    ("a stretch of the data comes twice", |m, rng| {
        let begin = m.data_at();
        let length = rng.random_range(1..256);
        let from = rng.random_range(begin..m.weights.len() - length);
        let to = rng.random_range(begin..m.weights.len() - length);
        m.weights.copy_within(from..from + length, to);
    }),
    ("a number that is none, or odd", |m, rng| {
        const ODD: [f32; 8] =
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e30, 1e-45, -0.0, 1e6];
        let at = m.number(rng);
        m.weights[at..at + 4].copy_from_slice(&one_of(&ODD, rng).to_le_bytes());
    }),
    ("one half huge, the other tiny", |m, rng| {
        let factor = one_of(&[1e10_f32, 1e20, 1e30, 1e37], rng);
        m.scale("lora_A", factor);
        m.scale("lora_B", 1.0 / factor);
    }),
    ("all of it stronger", |m, rng| {
        m.scale("lora_B", one_of(&[2.0, 100.0, 1e4, 1e20, 1e38], rng));
    }),
    ("an option of another value", |m, rng| {
        let mut config: Map<String, Value> = serde_json::from_slice(&m.config).unwrap_or_default();
        let names: Vec<_> = config.keys().cloned().collect();
        if let Some(value) = names.get(rng.random_range(0..names.len().max(1))) {
            config.insert(value.clone(), odd_value(rng));
            m.config = Value::from(config).to_string().into_bytes();
        }
    }),
    ("an option is missing", |m, rng| {
        let mut config: Map<String, Value> = serde_json::from_slice(&m.config).unwrap_or_default();
        let names: Vec<_> = config.keys().cloned().collect();
        if let Some(name) = names.get(rng.random_range(0..names.len().max(1))) {
            config.remove(name);
            m.config = Value::from(config).to_string().into_bytes();
        }
    }),
    ("an option that is new, or there twice", |m, rng| {
        const NAMES: [&str; 12] = [
            "r",
            "lora_alpha",
            "use_dora",
            "use_rslora",
            "rank_pattern",
            "alpha_pattern",
            "modules_to_save",
            "lora_bias",
            "peft_type",
            "target_modules",
            "frobnicate",
            "use_frobnication",
        ];
        let option = format!("{{\"{}\":{},", one_of(&NAMES, rng), odd_value(rng));
        let rest = String::from_utf8_lossy(&m.config).trim_start().to_owned();
        m.config = rest.replacen('{', &option, 1).into_bytes();
    }),
    ("rank, alpha or scaling", |m, rng| {
        let (option, value) = one_of(
            &[
                ("r", json!(0)),
                ("r", json!(-4)),
                ("r", json!(3)),
                ("r", json!(5)),
                ("r", json!(8)),
                ("r", json!(4.5)),
                ("r", json!(1u64 << 40)),
                ("lora_alpha", json!(0)),
                ("lora_alpha", json!(-8)),
                ("lora_alpha", json!(1e300)),
                ("lora_alpha", json!(12.5)),
                ("lora_alpha", json!(1e-300)),
                ("lora_alpha", json!(255)),
                ("use_rslora", json!(true)),
                ("base_model_name_or_path", json!("another/base")),
                ("task_type", json!("SEQ_CLS")),
            ],
            rng,
        );
        m.set(option, value);
    }),
    ("the table of tensors", |m, rng| {
        let choice = rng.random_range(0..12);
        m.edit_header(|header, data| disturb(header, data, choice, rng));
    }),
    ("a file of another kind", |m, rng| {
        let file = one_of(&[CONFIG, WEIGHTS], rng);
        let make = one_of(
            &[
                Odd::Link as fn(_) -> _,
                Odd::Dangling,
                Odd::Pipe,
                Odd::Folder,
                Odd::Missing,
                Odd::Sparse,
            ],
            rng,
        );
        m.odd = Some(make(file));
    }),
    ("a file beside them", |m, rng| {
        const NAMES: [&str; 5] =
            ["adapter_model.bin", "README.md", "x.PKL", "added_tokens.json", "optimizer.pt"];
        m.odd = Some(Odd::Beside(one_of(&NAMES, rng)));
    }),
];

impl Mutant {
    /// The adapter in a folder, unchanged.
    pub(crate) fn of(good: &Path) -> Result<Self> {
        let (config, weights) =
            (fs_err::read(good.join(CONFIG))?, fs_err::read(good.join(WEIGHTS))?);
        Ok(Self { config, weights, odd: None, what: Vec::new() })
    }

    /// The same with a change, or now and then with two. All kinds of change take their turns.
    pub(crate) fn changed(&self, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut mutant = self.clone();
        let mut turn = usize::try_from(seed).unwrap_or_default();
        for _ in 0..if rng.random_ratio(1, 8) { 2 } else { 1 } {
            let (what, change) = CHANGES[turn % CHANGES.len()];
            // A first change may have left nothing for a second one to change.
            if mutant.weights.len() > 4096 && mutant.data_at() + 512 < mutant.weights.len() {
                change(&mut mutant, &mut rng);
                mutant.what.push(what);
            }
            turn = rng.random_range(0..CHANGES.len());
        }
        mutant
    }

    /// Writes it as a folder. `good` is what links lead to.
    pub(crate) fn write(&self, folder: &Path, good: &Path) -> Result<()> {
        fs_err::create_dir_all(folder)?;
        for (file, bytes) in [(CONFIG, &self.config), (WEIGHTS, &self.weights)] {
            let path = folder.join(file);
            match &self.odd {
                Some(Odd::Link(odd)) if *odd == file => {
                    fs_err::os::unix::fs::symlink(good.join(file), path)?;
                }
                Some(Odd::Dangling(odd)) if *odd == file => {
                    fs_err::os::unix::fs::symlink("/nowhere", path)?;
                }
                Some(Odd::Pipe(odd)) if *odd == file => {
                    use rustix::fs::{CWD, FileType, Mode, mknodat};
                    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
                }
                Some(Odd::Folder(odd)) if *odd == file => fs_err::create_dir(path)?,
                Some(Odd::Missing(odd)) if *odd == file => {}
                Some(Odd::Sparse(odd)) if *odd == file => {
                    fs_err::write(&path, bytes)?;
                    fs_err::OpenOptions::new().write(true).open(path)?.set_len(1 << 40)?;
                }
                _ => fs_err::write(path, bytes)?,
            }
        }
        if let Some(Odd::Beside(name)) = self.odd {
            fs_err::write(folder.join(name), b"\x80\x02}q\x00.")?;
        }
        Ok(())
    }

    /// Where the data begins, by the header's length.
    fn data_at(&self) -> usize {
        let length = self.weights.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        usize::try_from(length).map_or(usize::MAX / 2, |length| length.min(1 << 40) + 8)
    }

    /// The place of one of the numbers.
    fn number(&self, rng: &mut ChaCha8Rng) -> usize {
        let begin = self.data_at();
        begin + 4 * rng.random_range(0..(self.weights.len() - begin) / 4)
    }

    fn set(&mut self, option: &str, value: Value) {
        if let Ok(mut config) = serde_json::from_slice::<Map<String, Value>>(&self.config) {
            config.insert(option.to_owned(), value);
            self.config = Value::from(config).to_string().into_bytes();
        }
    }

    fn edit_header(&mut self, edit: impl FnOnce(&mut Map<String, Value>, &mut Vec<u8>)) {
        let begin = self.data_at();
        let Ok(mut header) = serde_json::from_slice(&self.weights[8..begin]) else { return };
        let mut data = self.weights.split_off(begin);
        edit(&mut header, &mut data);
        let header = Value::from(header).to_string().into_bytes();
        self.weights = [&(header.len() as u64).to_le_bytes(), header.as_slice(), &data].concat();
    }

    /// Multiplies the data of all tensors of one half.
    fn scale(&mut self, half: &str, factor: f32) {
        self.edit_header(|header, data| {
            for (_, entry) in header.iter().filter(|(name, _)| name.contains(half)) {
                let [from, to] = [0, 1].map(|end| entry["data_offsets"][end].as_u64().unwrap_or(0));
                let Some(tensor) = data.get_mut(from as usize..to as usize) else { return };
                for bytes in tensor.as_chunks_mut::<4>().0 {
                    *bytes = (f32::from_le_bytes(*bytes) * factor).to_le_bytes();
                }
            }
        });
    }
}

fn disturb(header: &mut Map<String, Value>, data: &mut Vec<u8>, choice: u32, rng: &mut ChaCha8Rng) {
    let names: Vec<String> = header.keys().filter(|name| !name.starts_with('_')).cloned().collect();
    let [one, other] = [0, 1].map(|_| names[rng.random_range(0..names.len())].clone());
    match choice {
        0 => header[&one]["dtype"] = one_of(&["F16", "BF16", "F64", "I8", "f32", ""], rng).into(),
        1 => {
            let shape = header[&one]["shape"].clone();
            header[&one]["shape"] = json!([shape[1], shape[0]]);
        }
        2 => {
            let odd =
                [json!([]), json!([1u64 << 40, 1 << 30]), json!([0, 0]), json!(8), json!([-1, 4])];
            header[&one]["shape"] = one_of(&odd, rng);
        }
        3 => {
            let offsets = header[&one]["data_offsets"].clone();
            header[&one]["data_offsets"] = json!([offsets[1], offsets[0]]);
        }
        4 => header[&one]["data_offsets"] = header[&other]["data_offsets"].clone(),
        5 => {
            // Whose weights are whose: a change of meaning that fits in shape, like any other weights.
            let taken = header[&one].clone();
            header[&one] = std::mem::replace(&mut header[&other], taken);
        }
        6 => {
            let entry = header.remove(&one).unwrap_or_default();
            let far = "x".repeat(10_000);
            let to = [
                one.replace("layers.1", "layers.7"),
                one.replace("lora_A", "lora_C"),
                one.replace("layers.0", "layers.00"),
                format!("../../{one}"),
                far,
                String::new(),
                one.replace("model.model", "model"),
                format!("{one}\u{0}"),
                "__metadata__".to_owned(),
            ];
            header.insert(one_of(&to, rng), entry);
        }
        7 => drop(header.remove(&one)),
        8 => {
            let begin = data.len();
            data.extend([0; 64]);
            let name = one_of(&["lm_head.weight", "base_model.model.model.norm.weight", "x"], rng);
            let entry = json!({"dtype": "F32", "shape": [16], "data_offsets": [begin, begin + 64]});
            header.insert(name.to_owned(), entry);
        }
        9 => {
            let odd = [
                json!({"format": 1}),
                json!([]),
                json!("pt"),
                json!({"a": {"b": "c"}}),
                json!({"x": "y"}),
            ];
            header.insert("__metadata__".to_owned(), one_of(&odd, rng));
        }
        10 => drop(header.insert("x".to_owned(), odd_value(rng))),
        _ => header.clear(),
    }
}

fn odd_value(rng: &mut ChaCha8Rng) -> Value {
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let odd = [
        Value::Null,
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(8),
        json!(1e308),
        json!(u64::MAX),
        json!(""),
        json!("LORA"),
        json!("q_proj"),
        json!("(a+)+$"),
        json!("x".repeat(2000)),
        json!([]),
        json!(["q_proj"]),
        json!([1]),
        json!({}),
        json!({"q_proj": 2}),
        json!({"a": {"b": []}}),
        deep,
    ];
    one_of(&odd, rng)
}

pub(crate) fn one_of<T: Clone>(all: &[T], rng: &mut ChaCha8Rng) -> T {
    all[rng.random_range(0..all.len())].clone()
}

fn flip(
    bytes: &mut [u8],
    range: impl std::slice::SliceIndex<[u8], Output = [u8]>,
    rng: &mut ChaCha8Rng,
) {
    let bytes = &mut bytes[range];
    let at = rng.random_range(0..bytes.len());
    bytes[at] ^= 1 << rng.random_range(0..8);
}

fn cut(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    bytes.truncate(rng.random_range(0..bytes.len()));
}

fn zero(bytes: &mut [u8], begin: usize, rng: &mut ChaCha8Rng) {
    let at = rng.random_range(begin..bytes.len());
    let end = (at + rng.random_range(1..2000)).min(bytes.len());
    bytes[at..end].fill(0);
}

fn insert(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let at = rng.random_range(0..bytes.len());
    let more: Vec<u8> = (0..rng.random_range(1..100)).map(|_| rng.random()).collect();
    bytes.splice(at..at, more);
}
