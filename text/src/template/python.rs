//! What Python writes where jinja2 runs: `json.dumps` behind the filter `tojson`, and values that are printed as they are.

use std::io::{self, Write};

use minijinja::{
    ErrorKind, Output, State, Value,
    value::{Kwargs, ValueKind, ViaDeserialize},
};

use super::priced::{Priced, refuse};

/// How `json.dumps` is asked to write.
struct Dumps {
    item_separator: String,
    key_separator: String,
    indent: Option<usize>,
    ensure_ascii: bool,
    depth: usize,
    has_value: bool,
}

impl Dumps {
    /// Python's defaults; with an indentation items stand on lines of their own.
    fn new(indent: Option<usize>) -> Self {
        let item_separator = if indent.is_some() { "," } else { ", " };
        Self {
            item_separator: item_separator.to_owned(),
            key_separator: ": ".to_owned(),
            indent,
            ensure_ascii: false,
            depth: 0,
            has_value: false,
        }
    }

    fn new_line<W: ?Sized + Write>(&self, w: &mut W) -> io::Result<()> {
        let Some(width) = self.indent else { return Ok(()) };
        w.write_all(b"\n")?;
        (0..self.depth * width).try_for_each(|_| w.write_all(b" "))
    }

    fn open<W: ?Sized + Write>(&mut self, w: &mut W, with: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        w.write_all(with)
    }

    fn close<W: ?Sized + Write>(&mut self, w: &mut W, with: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.has_value {
            self.new_line(w)?;
        }
        self.has_value = true;
        w.write_all(with)
    }

    fn item<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if !first {
            w.write_all(self.item_separator.as_bytes())?;
        }
        self.new_line(w)
    }
}

impl serde_json::ser::Formatter for Dumps {
    fn begin_array<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.open(w, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.close(w, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.item(w, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.open(w, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.close(w, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.item(w, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(self.key_separator.as_bytes())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        w: &mut W,
        text: &str,
    ) -> io::Result<()> {
        if !self.ensure_ascii {
            return w.write_all(text.as_bytes());
        }
        let mut units = [0; 2];
        text.chars().try_for_each(|c| match c {
            ' '..='~' => write!(w, "{c}"),
            _ => c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(w, "\\u{unit:04x}")),
        })
    }
}

/// The filter `tojson` as transformers defines it: `json.dumps` with `ensure_ascii=False`, and its options `indent`,
/// `separators`, `sort_keys` and `ensure_ascii`.
pub(super) fn tojson(
    value: ViaDeserialize<serde_json::Value>,
    options: Kwargs,
) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let mut dumps = Dumps::new(indent.map(|width| width.min(16)));
    if let Some((item, key)) = separators(options.get("separators")?)? {
        (dumps.item_separator, dumps.key_separator) = (item, key);
    }
    dumps.ensure_ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sorts = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut value = value.0;
    if sorts {
        value.sort_all_objects();
    }
    let mut out = Priced(Vec::new());
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, dumps);
    serde::Serialize::serialize(&value, &mut serializer)
        .map_err(|e| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    String::from_utf8(out.0).map_err(refuse)
}

/// What stands between items, and between a key and its value.
fn separators(value: Option<Value>) -> Result<Option<(String, String)>, minijinja::Error> {
    let Some(value) = value.filter(|value| !value.is_none()) else { return Ok(None) };
    let pair: Vec<String> = value.try_iter()?.map(|one| one.to_string()).collect();
    match <[String; 2]>::try_from(pair) {
        Ok([item, key]) => Ok(Some((item, key))),
        Err(_) => Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            "tojson: separators must be a pair of texts",
        )),
    }
}

/// A value as [`tojson`] writes it without options.
pub(super) fn dumps(value: &serde_json::Value) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Dumps::new(None));
    match serde::Serialize::serialize(value, &mut serializer) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => value.to_string(), // nothing here can fail
    }
}

/// Prints what `{{ … }}` gives as Python's `str` does: `None`, `True`, and lists and mappings with their texts in quotes.
pub(super) fn print(
    out: &mut Output<'_>,
    state: &State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    match value.kind() {
        ValueKind::None
        | ValueKind::Bool
        | ValueKind::Seq
        | ValueKind::Map
        | ValueKind::Iterable => {
            let mut text = String::new();
            repr(value, &mut text, 0)?;
            out.write_str(&text).map_err(minijinja::Error::from)
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// Nested lists and mappings that are printed.
const DEPTH: usize = 64;

fn repr(value: &Value, out: &mut String, depth: usize) -> Result<(), minijinja::Error> {
    if depth > DEPTH {
        return Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            "lists are nested too deep",
        ));
    }
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr(&item, out, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr(&key, out, depth + 1)?;
                out.push_str(": ");
                repr(&value.get_item(&key)?, out, depth + 1)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// A text in quotes, as Python's `repr` chooses and escapes them.
fn quote(text: &str, out: &mut String) {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(mark);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == mark => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(mark);
}
