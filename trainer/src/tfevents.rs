//! TensorBoard's event files: the figures of a run, for those who watch runs there.
//!
//! A file is a row of records (`u64` length, its checksum, the data, its checksum), each an `Event`
//! in protobuf. Five fields are used, so they are encoded here, by hand. Each process writes a file
//! of its own, as TensorBoard expects of a run that was resumed; it joins them by step.

use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Phase, TrainingProgress};

/// Where a run's figures go.
#[derive(Debug)]
pub(crate) struct EventFile(fs_err::File);

impl EventFile {
    /// A new file in `dir`, named as TensorBoard looks for it.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn create(dir: &Path) -> std::io::Result<Self> {
        let seconds = now() as u64;
        let path = dir.join(format!("events.out.tfevents.{seconds}.{}", host()));
        // Two processes of one second share a file.
        let file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
        let mut events = Self(file);
        let mut event = Vec::new();
        double(&mut event, 1, now());
        bytes(&mut event, 3, b"brain.Event:2");
        events.record(&event)?;
        Ok(events)
    }

    /// Writes what a line of progress measured, if it measured something.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn report(&mut self, line: &TrainingProgress) -> std::io::Result<()> {
        let figures = match line.phase {
            Phase::Train => vec![
                ("loss", line.loss),
                ("learning_rate", Some(line.learning_rate)),
                ("gradient_norm", line.gradient_norm),
                ("tokens_per_second", Some(line.tokens_per_second)),
            ],
            Phase::Validate => vec![("validation_loss", line.validation_loss)],
            _ => return Ok(()),
        };
        let mut summary = Vec::new();
        for (tag, value) in figures {
            let Some(value) = value else { continue };
            let mut scalar = Vec::new();
            bytes(&mut scalar, 1, tag.as_bytes());
            float(&mut scalar, 2, value as f32);
            bytes(&mut summary, 1, &scalar);
        }
        if summary.is_empty() {
            return Ok(());
        }
        let mut event = Vec::new();
        double(&mut event, 1, now());
        key(&mut event, 2, 0);
        varint(&mut event, line.step as u64);
        bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    fn record(&mut self, data: &[u8]) -> std::io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend_from_slice(&length);
        record.extend_from_slice(&masked(&length).to_le_bytes());
        record.extend_from_slice(data);
        record.extend_from_slice(&masked(data).to_le_bytes());
        self.0.write_all(&record)
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = name.trim().chars().filter(|c| plain(*c)).take(64).collect();
    if name.is_empty() { "hone".to_owned() } else { name }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field's number with how its value is encoded: 0 varint, 1 eight bytes, 2 length, 5 four bytes.
fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    key(out, field, 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn float(out: &mut Vec<u8>, field: u64, value: f32) {
    key(out, field, 5);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(out, field, 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// CRC-32C (Castagnoli), a byte at a time.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| TABLE[(crc as u8 ^ byte) as usize] ^ crc >> 8)
}

/// As records keep it: a checksum of data that holds its own checksum says little.
fn masked(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Field numbers with their values; numbers as their bytes.
    fn fields(mut data: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn read(data: &mut &[u8]) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = data[0];
                *data = &data[1..];
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        }
        let mut found = Vec::new();
        while !data.is_empty() {
            let key = read(&mut data);
            let (value, rest) = match key & 7 {
                0 => (read(&mut data).to_le_bytes().to_vec(), data),
                1 => (data[..8].to_vec(), &data[8..]),
                5 => (data[..4].to_vec(), &data[4..]),
                _ => {
                    let length = read(&mut data) as usize;
                    (data[..length].to_vec(), &data[length..])
                }
            };
            data = rest;
            found.push((key >> 3, value));
        }
        found
    }

    /// The figures by tag: step and value, in the order written. All event files of a folder.
    pub(crate) fn figures(dir: &Path) -> BTreeMap<String, Vec<(u64, f32)>> {
        let mut names: Vec<_> = fs_err::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("events.out.tfevents."))
            .collect();
        names.sort();
        let mut figures = BTreeMap::<_, Vec<_>>::new();
        for name in names {
            let file = fs_err::read(name).unwrap();
            let mut rest = file.as_slice();
            while !rest.is_empty() {
                let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
                assert_eq!(rest[8..12], masked(&rest[..8]).to_le_bytes());
                let data = &rest[12..12 + length];
                assert_eq!(rest[12 + length..16 + length], masked(data).to_le_bytes());
                rest = &rest[16 + length..];
                let event = fields(data);
                assert_eq!(event[0].0, 1, "the time");
                if event[1].0 == 3 {
                    assert_eq!(event[1].1, b"brain.Event:2");
                    continue;
                }
                let step = u64::from_le_bytes(event[1].1.clone().try_into().unwrap());
                for (_, scalar) in fields(&event[2].1) {
                    let scalar = fields(&scalar);
                    let tag = String::from_utf8(scalar[0].1.clone()).unwrap();
                    let value = f32::from_le_bytes(scalar[1].1.clone().try_into().unwrap());
                    figures.entry(tag).or_default().push((step, value));
                }
            }
        }
        figures
    }

    #[test]
    fn checksums_are_castagnolis() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn the_first_record_is_the_one_that_tensorboard_knows() {
        let dir = tempfile::tempdir().unwrap();
        EventFile::create(dir.path()).unwrap();
        let entry = fs_err::read_dir(dir.path()).unwrap().next().unwrap().unwrap();
        let file = fs_err::read(entry.path()).unwrap();
        assert_eq!(file.len(), 8 + 4 + 24 + 4);
        // What every file of TensorBoard begins with: the length 24 and its checksum.
        assert_eq!(file[..12], [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
    }
}
