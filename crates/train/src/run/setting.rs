//! A setting: flag, valid values, parsing and storage.

use crate::data::LossOn;
use crate::model::{Norms, Precision};
use crate::optim::{LossScale, OptimizerKind};
use ane::MatmulPrecision;
use serde_json::Value;
use std::str::FromStr;

/// The shape of the learning-rate schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleKind {
    /// Warm-up, then cosine decay to a tenth.
    Cosine,
    /// Warm-up, then linear decay to 0.
    Linear,
    /// Warm-up, then constant, then linear decay to 0 over the last 40 % (warm-up, stable, decay).
    Wsd,
    /// Warm-up, then constant.
    Constant,
}

impl ScheduleKind {
    /// Every shape.
    pub const ALL: [ScheduleKind; 4] =
        [ScheduleKind::Cosine, ScheduleKind::Linear, ScheduleKind::Wsd, ScheduleKind::Constant];

    /// Its name in flags and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            ScheduleKind::Cosine => "cosine",
            ScheduleKind::Linear => "linear",
            ScheduleKind::Wsd => "wsd",
            ScheduleKind::Constant => "constant",
        }
    }
}

/// Whether a window of examples holds as many as fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As many as fit, none of which sees another.
    On,
    /// One.
    Off,
}

impl Packing {
    /// All values.
    pub const ALL: [Self; 2] = [Self::Off, Self::On];

    /// Its name in flags and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// The initial weights of projections onto the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputInit {
    /// Normal, smaller with more layers.
    Scaled,
    /// Zero, so that a new model begins as its embedding.
    Zero,
}

impl OutputInit {
    /// All of them.
    pub const ALL: [OutputInit; 2] = [OutputInit::Scaled, OutputInit::Zero];

    /// Its name in flags and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            OutputInit::Scaled => "scaled",
            OutputInit::Zero => "zero",
        }
    }
}

/// A setting with a flag.
#[derive(Debug)]
pub struct Setting {
    /// Its name in checkpoints.
    pub name: &'static str,
    /// Its flag without dashes, and the placeholder of the value.
    pub flag: (&'static str, &'static str),
    /// Its help, in one line.
    pub help: &'static str,
    /// The names of its values; empty for a number.
    pub values: fn() -> Vec<&'static str>,
    /// Whether a text is a valid value.
    pub check: fn(&str) -> Result<(), String>,
}

/// The values of a switch: its flag alone means `true`.
const SWITCH: [&str; 2] = ["false", "true"];

impl Setting {
    /// Whether it is a switch.
    pub fn is_switch(&self) -> bool {
        (self.values)() == SWITCH
    }
}

/// The valid range of a number; numbers must be finite too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// All numbers of its type.
    Any,
    /// Whole numbers from 1.
    Positive,
    /// Numbers above 0.
    AboveZero,
    /// Numbers from 0.
    NotNegative,
    /// Numbers from 0 to below 1.
    Share,
    /// Numbers above 0, or `auto`.
    AboveZeroOrAuto,
    /// Regular expressions.
    Pattern,
}

impl Check {
    /// Whether `x` is valid.
    pub fn accepts(self, x: f64) -> bool {
        x.is_finite()
            && match self {
                Check::Any | Check::Pattern => true,
                Check::Positive => x >= 1.0,
                Check::AboveZero | Check::AboveZeroOrAuto => x > 0.0,
                Check::NotNegative => x >= 0.0,
                Check::Share => (0.0..1.0).contains(&x),
            }
    }

    /// A description: a noun.
    pub fn want(self) -> &'static str {
        match self {
            Check::Any => "a whole number",
            Check::Pattern => "a regular expression",
            Check::Positive => "a whole number of at least 1",
            Check::AboveZero => "a number above 0",
            Check::AboveZeroOrAuto => "`auto`, or a number above 0",
            Check::NotNegative => "a number that is 0 or more",
            Check::Share => "a number from 0 to below 1",
        }
    }

    /// Parses a value.
    ///
    /// # Errors
    /// If `text` is invalid, with a description of valid values.
    pub fn parse<T: SettingValue>(self, text: &str) -> Result<T, String> {
        let parsed = T::parse(text);
        // Digits that are no number of this type are too many.
        let is_large = parsed.as_ref().is_none_or(|value| value.number().is_some_and(f64::is_infinite))
            && !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_digit());
        let value = parsed.filter(|value| value.number().is_none_or(|x| self.accepts(x)));
        value.ok_or_else(|| match &T::names()[..] {
            [] => match T::largest().filter(|_| is_large) {
                Some(largest) => format!("a whole number of at most {largest} is needed"),
                None => format!("{} is needed", self.want()),
            },
            names => format!("one of {} is needed", names.join(", ")),
        })
    }
}

/// A type of setting values.
pub trait SettingValue: Sized + PartialEq {
    /// The names of all values; empty for a number.
    fn names() -> Vec<&'static str>;
    /// The largest value, if it is a number.
    fn largest() -> Option<String>;
    /// Parses the user's text.
    fn parse(text: &str) -> Option<Self>;
    /// Its form in messages.
    fn text(&self) -> String;
    /// Its value, if it is a number.
    fn number(&self) -> Option<f64>;
    /// Its form in checkpoints.
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

            fn text(&self) -> String {
                format!("{self:?}")
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

            fn text(&self) -> String {
                self.name().to_owned()
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

impl SettingValue for bool {
    fn names() -> Vec<&'static str> {
        SWITCH.to_vec()
    }

    fn largest() -> Option<String> {
        None
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn number(&self) -> Option<f64> {
        None
    }

    fn to_json(&self) -> Value {
        Value::from(*self)
    }

    fn from_json(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl SettingValue for LossScale {
    fn names() -> Vec<&'static str> {
        Vec::new()
    }

    fn largest() -> Option<String> {
        None
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "auto" { Some(LossScale::Auto) } else { f32::parse(text).map(LossScale::Fixed) }
    }

    fn text(&self) -> String {
        match self {
            LossScale::Auto => "auto".to_owned(),
            LossScale::Fixed(scale) => scale.text(),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            LossScale::Auto => None,
            LossScale::Fixed(scale) => scale.number(),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            LossScale::Auto => Value::from("auto"),
            LossScale::Fixed(scale) => scale.to_json(),
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        match value.as_str() {
            Some(text) => (text == "auto").then_some(LossScale::Auto),
            None => f32::from_json(value).map(LossScale::Fixed),
        }
    }
}

/// A regular expression, or a list of names; empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern(pub String);

impl SettingValue for Pattern {
    fn names() -> Vec<&'static str> {
        Vec::new()
    }

    fn largest() -> Option<String> {
        None
    }

    fn parse(text: &str) -> Option<Self> {
        fancy_regex::Regex::new(text).ok().map(|_| Pattern(text.to_owned()))
    }

    fn text(&self) -> String {
        self.0.clone()
    }

    fn number(&self) -> Option<f64> {
        None
    }

    fn to_json(&self) -> Value {
        Value::from(self.0.as_str())
    }

    fn from_json(value: &Value) -> Option<Self> {
        Self::parse(value.as_str()?)
    }
}

names!(LossOn, Packing, OptimizerKind, OutputInit, ScheduleKind, Precision, MatmulPrecision, Norms);
