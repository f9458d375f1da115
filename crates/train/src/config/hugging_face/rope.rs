//! Reading the settings of RoPE, in the form of transformers 4 (`rope_theta`, `rope_scaling`) or 5 (`rope_parameters`).
//!
//! The rules are those of transformers 5.24: `rope_scaling` wins over `rope_parameters`, the base in either over `rope_theta`.

use serde_json::{Map, Value};

use super::keys::{is_neutral, not_built, shown};
use crate::config::RopeScaling;
use crate::config::problem::Problem;

/// The keys outside of an object of settings.
#[derive(Clone, Copy)]
pub(super) struct Around {
    /// The base where the object has none.
    pub(super) theta: f64,
    /// The model's longest window.
    pub(super) most: Option<usize>,
    /// `original_max_position_embeddings` beside the object.
    pub(super) original: Option<usize>,
}

/// The object of settings in a configuration, with its key: empty if there is none.
///
/// # Errors
/// If the key holds something else.
pub(super) fn settings<'v>(
    scaling: Option<&'v Value>,
    parameters: Option<&'v Value>,
) -> Result<(&'static str, Map<String, Value>), Problem> {
    let filled = |v: &&Value| !matches!(v, Value::Null) && v.as_object().is_none_or(|map| !map.is_empty());
    let found = [("rope_scaling", scaling), ("rope_parameters", parameters)];
    match found.into_iter().find_map(|(key, value)| Some((key, value.filter(filled)?))) {
        None => Ok(("rope_parameters", Map::new())),
        Some((key, Value::Object(map))) => Ok((key, map.clone())),
        Some((key, other)) => {
            let problem = format!("`{key}` = {} is not an object", shown(other));
            Err(Problem::value(
                key,
                problem,
                format!("Set `{key}` to an object with `rope_type`, or remove it."),
            ))
        }
    }
}

/// Base and scaling of an object of settings called `name`.
///
/// # Errors
/// If it lacks a key, or has one or a type that is not supported.
pub(super) fn scaling(
    name: &str,
    map: &Map<String, Value>,
    around: Around,
) -> Result<(f64, RopeScaling), Problem> {
    let s = Settings { name, map, around };
    let theta = s.number("rope_theta")?.unwrap_or(around.theta);
    let kind = match s.map.get("rope_type").or(s.map.get("type")) {
        None => "default",
        Some(Value::String(kind)) => kind,
        Some(other) => return Err(s.wrong("rope_type", other, "a text")),
    };
    let (scaling, keys): (_, &[&str]) = match kind {
        "default" => (RopeScaling::Default, &[]),
        "linear" => (RopeScaling::Linear { factor: s.needed("factor")? }, &["factor"]),
        "dynamic" => {
            let trained = around.most.ok_or_else(|| Problem::missing("max_position_embeddings"))?;
            (RopeScaling::Dynamic { factor: s.needed("factor")?, trained }, &["factor"])
        }
        "llama3" => (s.llama3()?, &["factor", "low_freq_factor", "high_freq_factor"]),
        "yarn" => (s.yarn()?, &YARN),
        "longrope" => (s.longrope()?, &["factor", "attention_factor", "short_factor", "long_factor"]),
        other => return Err(not_built(&format!("{name}.rope_type"), &format!("\"{other}\""))),
    };
    s.check_others(keys, kind)?;
    Ok((theta, scaling))
}

/// The keys of YaRN.
const YARN: [&str; 7] =
    ["factor", "attention_factor", "beta_fast", "beta_slow", "truncate", "mscale", "mscale_all_dim"];

/// An object of settings.
struct Settings<'v> {
    name: &'v str,
    map: &'v Map<String, Value>,
    around: Around,
}

impl Settings<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    fn wrong(&self, key: &str, got: &Value, want: &str) -> Problem {
        let key = self.key(key);
        let problem = format!("`{key}` = {} is not {want}", shown(got));
        Problem::value(&key, problem, format!("Set `{key}` to {want}."))
    }

    fn number(&self, key: &str) -> Result<Option<f64>, Problem> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(x) if x.is_finite() && x > 0.0 => Ok(Some(x)),
                _ => Err(self.wrong(key, value, "a positive number")),
            },
        }
    }

    fn needed(&self, key: &str) -> Result<f64, Problem> {
        self.number(key)?.ok_or_else(|| Problem::missing(&self.key(key)))
    }

    fn numbers(&self, key: &str) -> Result<Vec<f64>, Problem> {
        let value = self.map.get(key).ok_or_else(|| Problem::missing(&self.key(key)))?;
        let positive = |v: &Value| v.as_f64().filter(|x| x.is_finite() && *x > 0.0);
        let list = value.as_array().and_then(|list| list.iter().map(positive).collect());
        list.ok_or_else(|| self.wrong(key, value, "a list of positive numbers"))
    }

    /// The length of the original windows.
    fn original(&self) -> Result<usize, Problem> {
        const KEY: &str = "original_max_position_embeddings";
        let own = match self.map.get(KEY) {
            None | Some(Value::Null) => None,
            Some(value) => {
                let size = value.as_u64().filter(|&n| n > 0).and_then(|n| usize::try_from(n).ok());
                Some(size.ok_or_else(|| self.wrong(KEY, value, "a whole number above 0"))?)
            }
        };
        let found = self.around.original.or(own).or(self.around.most);
        found.ok_or_else(|| Problem::missing(&self.key(KEY)))
    }

    fn llama3(&self) -> Result<RopeScaling, Problem> {
        let [factor, low_freq_factor, high_freq_factor] =
            ["factor", "low_freq_factor", "high_freq_factor"].map(|key| self.needed(key));
        let (low_freq_factor, high_freq_factor) = (low_freq_factor?, high_freq_factor?);
        if high_freq_factor <= low_freq_factor {
            let key = self.key("high_freq_factor");
            let problem =
                format!("`{key}` = {high_freq_factor} is not above `low_freq_factor` = {low_freq_factor}");
            return Err(Problem::value(&key, problem, format!("Set `{key}` above it; 4 and 1 are usual.")));
        }
        let original_max_position_embeddings = self.original()?;
        Ok(RopeScaling::Llama3 {
            factor: factor?,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        })
    }

    fn yarn(&self) -> Result<RopeScaling, Problem> {
        let factor = self.needed("factor")?;
        let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
        let usual = match (self.number("mscale"), self.number("mscale_all_dim")) {
            (Ok(Some(one)), Ok(Some(all))) => scale(one) / scale(all),
            _ => scale(1.0),
        };
        let truncate = match self.map.get("truncate") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(truncate)) => *truncate,
            Some(other) => return Err(self.wrong("truncate", other, "true or false")),
        };
        Ok(RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: self.original()?,
            attention_factor: self.number("attention_factor")?.unwrap_or(usual),
            beta_fast: self.number("beta_fast")?.unwrap_or(32.0),
            beta_slow: self.number("beta_slow")?.unwrap_or(1.0),
            truncate,
        })
    }

    fn longrope(&self) -> Result<RopeScaling, Problem> {
        let original = self.original()?;
        let factor = self.number("factor")?;
        let factor = factor.unwrap_or(self.around.most.unwrap_or(original) as f64 / original as f64);
        let usual = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
        Ok(RopeScaling::LongRope {
            short_factor: self.numbers("short_factor")?,
            long_factor: self.numbers("long_factor")?,
            original_max_position_embeddings: original,
            attention_factor: self.number("attention_factor")?.unwrap_or(usual),
        })
    }

    /// Refuses keys besides `known` that change something.
    fn check_others(&self, known: &[&str], kind: &str) -> Result<(), Problem> {
        // Of types without an original length it changes nothing in transformers.
        let always = ["rope_type", "type", "rope_theta", "original_max_position_embeddings"];
        let is_known = |key: &str| known.contains(&key) || always.contains(&key);
        match self.map.iter().find(|(key, value)| !is_known(key) && !is_neutral(value)) {
            None => Ok(()),
            Some((key, value)) => {
                let key = self.key(key);
                let problem = format!("`{key}` = {} is not a setting of RoPE of type `{kind}`", shown(value));
                Err(Problem::value(&key, problem, format!("Correct `rope_type`, or remove `{key}`.")))
            }
        }
    }
}
