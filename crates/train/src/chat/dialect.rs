//! The Jinja environment of transformers.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};
use std::time::SystemTime;

use super::{date, python};

/// Instructions of a rendering: a template that needs more does not end.
const FUEL: u64 = 50_000_000;

/// The environment in which templates are parsed and rendered.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap_or_default(),
    );
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(|out, _, value| {
        out.write_str(&python::text(value))
            .map_err(|error| Error::new(ErrorKind::WriteFailure, error.to_string()))
    });
    environment.add_filter("string", |value: &Value| python::text(value));
    environment.add_filter("tojson", |value: &Value, indent: Option<usize>, arguments: Kwargs| {
        python::json(value, &python::JsonStyle::of(indent, &arguments)?)
    });
    environment.add_test("iterable", |value: &Value| {
        value.is_undefined() || !value.is_none() && value.try_iter().is_ok()
    });
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
    });
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
    });
    set_time(&mut environment, None);
    environment
}

/// Makes `strftime_now` tell the time `now`, or that of rendering.
pub(super) fn set_time(environment: &mut Environment<'_>, now: Option<SystemTime>) {
    environment.add_function("strftime_now", move |format: String| {
        let now = now.unwrap_or_else(SystemTime::now);
        date::format(now, &format).map_err(|directive| {
            Error::new(ErrorKind::InvalidOperation, format!("`strftime_now` does not know `{directive}`"))
        })
    });
}

/// Marks an error that the template raised itself.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
pub(super) struct Raised;
