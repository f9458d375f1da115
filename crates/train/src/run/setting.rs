//! One setting: its flag, the values that it takes, how it is read and stored.

use crate::model::{Norms, Precision};
use ane::MatmulPrecision;
use serde_json::Value;
use std::str::FromStr;

/// How the learning rate goes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleKind {
    /// Warm-up, then half a cosine down to a tenth.
    Cosine,
    /// Warm-up, then level.
    Constant,
}

impl ScheduleKind {
    /// All there are.
    pub const ALL: [ScheduleKind; 2] = [ScheduleKind::Cosine, ScheduleKind::Constant];

    /// Its name, as flags and checkpoints have it.
    pub fn name(self) -> &'static str {
        match self {
            ScheduleKind::Cosine => "cosine",
            ScheduleKind::Constant => "constant",
        }
    }
}

/// A setting that can be given on the command line.
#[derive(Debug)]
pub struct Setting {
    /// Its name, as in checkpoints.
    pub name: &'static str,
    /// Its flag without the dashes, and the placeholder of the value.
    pub flag: (&'static str, &'static str),
    /// What it means, in a line.
    pub help: &'static str,
    /// Names of its values; empty for a number.
    pub values: fn() -> Vec<&'static str>,
    /// Whether text is one of its values.
    pub check: fn(&str) -> Result<(), String>,
}

/// Which numbers a setting takes, besides being finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// All of its type.
    Any,
    /// Whole numbers from 1.
    Positive,
    /// Numbers above 0.
    AboveZero,
    /// Numbers from 0.
    NotNegative,
}

impl Check {
    /// Whether `x` is one of them.
    pub fn accepts(self, x: f64) -> bool {
        x.is_finite()
            && match self {
                Check::Any => true,
                Check::Positive => x >= 1.0,
                Check::AboveZero => x > 0.0,
                Check::NotNegative => x >= 0.0,
            }
    }

    /// What they are: a noun.
    pub fn want(self) -> &'static str {
        match self {
            Check::Any => "a whole number",
            Check::Positive => "a whole number of at least 1",
            Check::AboveZero => "a number above 0",
            Check::NotNegative => "a number that is 0 or more",
        }
    }

    /// Reads such a number.
    ///
    /// # Errors
    /// If `text` is none, with what is needed.
    pub fn parse<T: SettingValue>(self, text: &str) -> Result<T, String> {
        let value = T::parse(text).filter(|value| value.number().is_none_or(|x| self.accepts(x)));
        let is_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        value.ok_or_else(|| match &T::names()[..] {
            [] => match T::largest().filter(|_| is_digits && text.trim_start_matches('0') != "") {
                Some(largest) => format!("a whole number of at most {largest} is needed"),
                None => format!("{} is needed", self.want()),
            },
            names => format!("one of {} is needed", names.join(", ")),
        })
    }
}

/// A type of settings.
pub trait SettingValue: Sized + PartialEq {
    /// Names of all values; empty for a number.
    fn names() -> Vec<&'static str>;
    /// The largest value, if it is a number.
    fn largest() -> Option<String>;
    /// Reads what the user writes.
    fn parse(text: &str) -> Option<Self>;
    /// Its size, if it is a number.
    fn number(&self) -> Option<f64>;
    /// As checkpoints have it.
    fn to_json(&self) -> Value;
    /// The inverse of [`SettingValue::to_json`].
    fn from_json(value: &Value) -> Option<Self>;
}

macro_rules! numbers {
    ($($ty:ty),*) => { $(
        impl SettingValue for $ty {
            fn names() -> Vec<&'static str> {
                Vec::new()
            }

            fn largest() -> Option<String> {
                Some(<$ty>::MAX.to_string())
            }

            fn parse(text: &str) -> Option<Self> {
                <$ty>::from_str(text).ok()
            }

            fn number(&self) -> Option<f64> {
                Some(*self as f64)
            }

            fn to_json(&self) -> Value {
                Value::from(*self)
            }

            fn from_json(value: &Value) -> Option<Self> {
                serde_json::from_value(value.clone()).ok()
            }
        }
    )* };
}

numbers!(u32, u64, usize, f32, f64);

macro_rules! names {
    ($($ty:ty),*) => { $(
        impl SettingValue for $ty {
            fn names() -> Vec<&'static str> {
                <$ty>::ALL.map(<$ty>::name).to_vec()
            }

            fn largest() -> Option<String> {
                None
            }

            fn parse(text: &str) -> Option<Self> {
                <$ty>::ALL.into_iter().find(|value| value.name() == text)
            }

            fn number(&self) -> Option<f64> {
                None
            }

            fn to_json(&self) -> Value {
                Value::from(self.name())
            }

            fn from_json(value: &Value) -> Option<Self> {
                Self::parse(value.as_str()?)
            }
        }
    )* };
}

names!(ScheduleKind, Precision, MatmulPrecision, Norms);
