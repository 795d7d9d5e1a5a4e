//! The engine's functions that make much of little, each with its price told before it runs.

use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, State, Value, filters};

use super::allowance::{spend, spend_kept, spend_value};
use super::python;

/// What an item of a list costs.
const ITEM: usize = 32;
/// Characters that a character may become when it is written with escapes.
const ESCAPED: usize = 8;

type Price = fn(&[Value]) -> usize;

/// Puts bounded filters, functions, methods and output into the place of the engine's.
pub(super) fn install(environment: &mut Environment<'static>, constants: Vec<Value>) {
    environment.add_filter("checked", |value: Value| spend_value(&value).map(|()| value));
    environment.add_filter("kept", |value: Value| spend_kept(&value).map(|()| value));
    environment.add_filter("constant", move |index: usize| constants.get(index).cloned());
    // It writes all variables at once.
    environment.remove_global("debug");
    let bounded: [(&'static str, Value, Price); 9] = [
        ("replace", Value::from_function(filters::replace), replace),
        ("join", Value::from_function(filters::join), join),
        ("indent", Value::from_function(filters::indent), indent),
        ("format", Value::from_function(filters::format), format),
        ("split", Value::from_function(filters::split), split),
        ("lines", Value::from_function(filters::lines), lines),
        ("list", Value::from_function(filters::list), list),
        ("batch", Value::from_function(filters::batch), count),
        ("slice", Value::from_function(filters::slice), count),
    ];
    for (name, filter, price) in bounded {
        environment.add_filter(name, move |state: &State, arguments: Rest<Value>| {
            spend(price(&arguments))?;
            filter.call(state, &arguments)
        });
    }
    let pprint = Value::from_function(filters::pprint);
    environment.add_filter("pprint", move |state: &State, value: Value| {
        (0..ESCAPED).try_for_each(|_| spend_value(&value))?;
        pprint.call(state, &[value])
    });
    environment.set_unknown_method_callback(method);
    environment.set_formatter(|out, state, value| {
        match value.as_str() {
            Some(text) => spend(text.len())?,
            // A character may be written with as many in a list.
            None => (0..ESCAPED).try_for_each(|_| spend_value(value))?,
        }
        python::print(out, state, value)
    });
}

/// Python's methods of strings, lists and dictionaries.
fn method(state: &State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let price: Option<Price> = match name {
        "replace" => Some(replace),
        "join" => Some(swapped_join),
        "format" => Some(format),
        "split" => Some(split),
        "splitlines" => Some(lines),
        _ => None,
    };
    if let Some(price) = price {
        let all: Vec<Value> = std::iter::once(value).chain(arguments).cloned().collect();
        spend(price(&all))?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments)
}

fn text(arguments: &[Value], index: usize) -> Option<&str> {
    arguments.get(index).and_then(Value::as_str)
}

/// The length of an argument's text. What is no text is a number or the like; lists have been counted when they were made.
fn length(arguments: &[Value], index: usize) -> usize {
    text(arguments, index).map_or(ITEM, str::len)
}

/// The numbers among the arguments, those by name included.
fn numbers(arguments: &[Value]) -> impl Iterator<Item = usize> + '_ {
    let named = arguments.iter().filter(|value| value.kind() == ValueKind::Map);
    let named = named.flat_map(|map| {
        let keys = map.try_iter().into_iter().flatten();
        keys.filter_map(|key| map.get_item(&key).ok())
    });
    arguments.iter().cloned().chain(named).filter_map(|value| value.as_usize())
}

fn largest(arguments: &[Value]) -> usize {
    numbers(arguments).max().unwrap_or(0)
}

fn replace(arguments: &[Value]) -> usize {
    let (Some(text), from) = (text(arguments, 0), text(arguments, 1).unwrap_or_default()) else {
        return length(arguments, 2).saturating_mul(ITEM);
    };
    text.len().saturating_add(text.matches(from).count().saturating_mul(length(arguments, 2)))
}

/// `list|join(separator)`.
fn join(arguments: &[Value]) -> usize {
    items(arguments.first()).saturating_mul(length(arguments, 1))
}

/// `separator.join(list)`.
fn swapped_join(arguments: &[Value]) -> usize {
    items(arguments.get(1)).saturating_mul(length(arguments, 0))
}

/// How many there are; a text has its characters.
fn items(value: Option<&Value>) -> usize {
    value
        .and_then(|value| match value.as_str() {
            Some(text) => Some(text.len()),
            None => value.len(),
        })
        .unwrap_or(ITEM)
}

fn indent(arguments: &[Value]) -> usize {
    let width = largest(arguments.get(1..).unwrap_or_default()).max(4);
    let text = text(arguments, 0).unwrap_or_default();
    width.saturating_mul(text.lines().count()).saturating_add(text.len())
}

/// Each number in the format may be a width, each place may take the longest argument.
fn format(arguments: &[Value]) -> usize {
    let format = text(arguments, 0).unwrap_or_default();
    let widths = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let widths = widths
        .map(|digits| digits.parse::<usize>().unwrap_or(usize::MAX))
        .fold(0usize, usize::saturating_add);
    let rest = arguments.get(1..).unwrap_or_default();
    let mut longest = (0..rest.len()).map(|index| length(rest, index)).max().unwrap_or(0);
    // A width may also be an argument of its own.
    if format.contains('*') || format.contains(":{") {
        longest = longest.saturating_add(largest(rest));
    }
    let places = format.matches(['%', '{']).count();
    widths.saturating_add(places.saturating_mul(longest)).saturating_add(format.len())
}

fn split(arguments: &[Value]) -> usize {
    let Some(whole) = text(arguments, 0) else { return ITEM };
    let parts = match text(arguments, 1) {
        Some(separator) => whole.matches(separator).count(),
        None => whole.split_whitespace().count(),
    };
    parts.saturating_mul(ITEM).saturating_add(whole.len())
}

fn lines(arguments: &[Value]) -> usize {
    let Some(whole) = text(arguments, 0) else { return ITEM };
    whole.matches(['\n', '\r']).count().saturating_mul(ITEM).saturating_add(whole.len())
}

fn list(arguments: &[Value]) -> usize {
    items(arguments.first()).saturating_mul(ITEM)
}

/// `items|batch(n)` fills up to `n`, `items|slice(n)` makes `n` lists.
fn count(arguments: &[Value]) -> usize {
    let named = largest(arguments.get(1..).unwrap_or_default());
    named.saturating_mul(ITEM).saturating_add(items(arguments.first()).saturating_mul(ITEM))
}
