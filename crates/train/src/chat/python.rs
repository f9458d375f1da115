//! Values as Python writes them: `json.dumps` for `tojson`, `str` for what a template prints.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// The format of [`json`], as the arguments of Python's `json.dumps`.
#[derive(Clone, Debug)]
pub(super) struct JsonStyle {
    indent: Option<usize>,
    item: String,
    key: String,
    sort_keys: bool,
    ascii: bool,
}

impl JsonStyle {
    /// The style of the arguments `indent`, `separators`, `sort_keys` and `ensure_ascii`.
    ///
    /// # Errors
    /// For other arguments.
    pub(super) fn of(indent: Option<usize>, arguments: &Kwargs) -> Result<Self, Error> {
        let indent = arguments.get::<Option<usize>>("indent")?.or(indent);
        let item = if indent.is_some() { "," } else { ", " };
        let mut style =
            Self { indent, item: item.to_owned(), key: ": ".to_owned(), sort_keys: false, ascii: false };
        if let Some(given) = arguments.get::<Option<Value>>("separators")? {
            let of = |at| given.get_item_by_index(at).ok()?.as_str().map(str::to_owned);
            let (Some(item), Some(key)) = (of(0), of(1)) else {
                return Err(Error::new(ErrorKind::InvalidOperation, "`separators` must be two strings"));
            };
            (style.item, style.key) = (item, key);
        }
        style.sort_keys = arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
        style.ascii = arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
        arguments.assert_all_used()?;
        Ok(style)
    }
}

/// The text that `json.dumps` makes of `value`.
///
/// # Errors
/// For a value that is not defined or has no JSON, such as a function.
pub(super) fn json(value: &Value, style: &JsonStyle) -> Result<String, Error> {
    let mut out = String::new();
    write_json(&mut out, value, style, 1)?;
    Ok(out)
}

fn write_json(out: &mut String, value: &Value, style: &JsonStyle, depth: usize) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => write_json_string(out, value.as_str().unwrap_or_default(), style.ascii),
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort_keys {
                keys.sort();
            }
            let items = keys.into_iter().map(|key| value.get_item(&key).map(|item| (Some(key), item)));
            write_items(out, ('{', '}'), items, style, depth)?;
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| Ok((None, item)));
            write_items(out, ('[', ']'), items, style, depth)?;
        }
        kind => {
            let problem = format!("`tojson` of a value that is {kind}");
            return Err(Error::new(ErrorKind::InvalidOperation, problem));
        }
    }
    Ok(())
}

fn write_items(
    out: &mut String,
    (open, close): (char, char),
    items: impl Iterator<Item = Result<(Option<Value>, Value), Error>>,
    style: &JsonStyle,
    depth: usize,
) -> Result<(), Error> {
    let new_line = |out: &mut String, depth: usize| {
        if let Some(indent) = style.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    out.push(open);
    let mut is_empty = true;
    for item in items {
        let (key, item) = item?;
        if !is_empty {
            out.push_str(&style.item);
        }
        is_empty = false;
        new_line(out, depth);
        if let Some(key) = key {
            let name = key.as_str().map_or_else(|| number(&key), str::to_owned);
            write_json_string(out, &name, style.ascii);
            out.push_str(&style.key);
        }
        write_json(out, &item, style, depth + 1)?;
    }
    if !is_empty {
        new_line(out, depth - 1);
    }
    out.push(close);
    Ok(())
}

fn write_json_string(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ascii && !c.is_ascii()) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number as Python's `repr` writes it: the shortest digits that read back as the same float.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(float) = f64::try_from(value.clone()) else { return value.to_string() };
    if !float.is_finite() {
        return match float {
            f64::INFINITY => "Infinity".to_owned(),
            f64::NEG_INFINITY => "-Infinity".to_owned(),
            _ => "NaN".to_owned(),
        };
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        // Python's limits of plain decimals.
        -4..16 => format!("{float:?}"),
        exponent => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}

/// What a template prints for `value`: Python's `str`.
pub(super) fn text(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        _ => representation(value),
    }
}

/// Python's `repr`.
fn representation(value: &Value) -> String {
    let listed = |(open, close): (&str, &str)| {
        let items = value.try_iter().map(|items| items.map(|item| representation(&item)).collect::<Vec<_>>());
        format!("{open}{}{close}", items.unwrap_or_default().join(", "))
    };
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::Number => match number(value).as_str() {
            "Infinity" => "inf".to_owned(),
            "-Infinity" => "-inf".to_owned(),
            "NaN" => "nan".to_owned(),
            plain => plain.to_owned(),
        },
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Map => {
            let item = |key: Value| {
                let item = value.get_item(&key).unwrap_or_default();
                format!("{}: {}", representation(&key), representation(&item))
            };
            let items = value.try_iter().map(|keys| keys.map(item).collect::<Vec<_>>());
            format!("{{{}}}", items.unwrap_or_default().join(", "))
        }
        ValueKind::Seq if value.is_tuple() => match value.len() {
            Some(1) => listed(("(", ",)")),
            _ => listed(("(", ")")),
        },
        ValueKind::Seq | ValueKind::Iterable => listed(("[", "]")),
        _ => value.to_string(),
    }
}

/// A string in the quotes that Python's `repr` chooses.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c < ' ' || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}
