//! Flags of every command that computes, and what values flags can have.

use ane::{MatmulPrecision, WeightMode};
use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::str::FromStr;
use train::model::{Norms, Rung, Start};
use train::run::{ScheduleKind, Storage};

/// Most threads that may be asked for: more than any machine has, few enough to start.
const MOST_THREADS: usize = 1024;

/// On what to compute.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct EngineArgs {
    /// Threads to compute on; 0: as many as the machine runs at once. The results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,

    /// The engine: the best there is, the Apple Neural Engine, or the software engine
    #[arg(long, visible_alias = "engine", value_name = "ENGINE", default_value = "auto")]
    device: DeviceArg,

    /// Matrix products on the CPU: f32, exact; int16, with factors rounded to 12 bits of the largest beside them, about
    /// as good as half precision keeps them; bf16, with factors rounded to 8 bits. The two are up to twice as fast where
    /// the processor has quick instructions for them [default: f32; a resumed run's own]
    #[arg(long, value_name = "MATH", value_parser = math())]
    pub math: Option<MatmulPrecision>,

    /// Programs that a process may compile: on the Neural Engine 100 unless another number is given here; with a number
    /// the software engine compiles as the Neural Engine does, again for each change of weights. `train` goes on in a
    /// new process when there are no more
    #[arg(long, value_name = "N", value_parser = positive::<u32>)]
    compile_budget: Option<u32>,
}

impl EngineArgs {
    /// Which engine is wanted.
    pub fn device(self) -> ane::DeviceOptions {
        let engine = match self.device {
            DeviceArg::Auto => ane::DeviceKind::Auto,
            DeviceArg::Ane => ane::DeviceKind::Ane,
            DeviceArg::Soft => ane::DeviceKind::Soft,
        };
        let math = self.math.unwrap_or_default();
        let compile_budget = self.compile_budget;
        ane::DeviceOptions {
            engine,
            math,
            compile_budget,
            explain: Some(anelint::explain),
            ..ane::DeviceOptions::default()
        }
    }
}

/// What every command has that computes with a model: on what, and how the model becomes kernels.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct ModelArgs {
    #[command(flatten)]
    pub engine: EngineArgs,

    /// Element type of programs and surfaces; f32 is for debugging, on the software engine alone [default: f16; a resumed
    /// run's own]
    #[arg(long, value_name = "TYPE")]
    storage: Option<StorageArg>,

    /// How weights reach the engine: baked into kernels, or dynamic, on the surfaces that kernels read, so that one set
    /// of kernels is compiled once and serves all layers. auto: dynamic on the Neural Engine, which would compile baked
    /// ones again after each step; baked on the software engine, where that takes less memory, and on an engine that
    /// refuses the others
    #[arg(long, value_name = "HOW", default_value = "auto")]
    weights: WeightsArg,

    #[command(flatten)]
    norms: NormsArgs,
}

impl ModelArgs {
    /// Which engine is wanted, with weights that come so.
    pub fn device(self) -> ane::DeviceOptions {
        ane::DeviceOptions { weights: self.weights.into(), ..self.engine.device() }
    }

    /// The element type of programs and surfaces.
    pub fn storage(self) -> StorageArg {
        self.storage.unwrap_or(StorageArg::F16)
    }

    /// The same, if it was said.
    pub fn given_storage(self) -> Option<Storage> {
        self.storage.map(Into::into)
    }

    /// Where norms are computed, if that was said.
    pub fn given_norms(self) -> Option<Norms> {
        self.norms.given()
    }

    /// Which plans of kernels are tried, if such an engine took `known` before.
    pub fn start(self, known: Option<&'static Rung>) -> Start {
        Start { norms: self.norms.get(), known, exact: None }
    }
}

/// Where norms are computed.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct NormsArgs {
    /// Where RMSNorm of the forward pass is computed: on the engine, in the kernels that read what comes of it; on the
    /// host; or auto: on the engine where it takes such kernels, else on the host, and in kernels with less and less in
    /// them until the engine takes them. The losses are the same but for rounding [default: auto; a resumed run's own]
    #[arg(long, value_name = "WHERE")]
    norms: Option<NormsArg>,
}

impl NormsArgs {
    /// Where.
    pub fn get(self) -> Norms {
        self.given().unwrap_or_default()
    }

    /// Where, if that was said.
    fn given(self) -> Option<Norms> {
        self.norms.map(|norms| match norms {
            NormsArg::Auto => Norms::Auto,
            NormsArg::Engine => Norms::Engine,
            NormsArg::Host => Norms::Host,
        })
    }
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum NormsArg {
    Auto,
    Engine,
    Host,
}

/// How weights reach an engine.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum WeightsArg {
    Auto,
    Baked,
    Dynamic,
}

impl From<WeightsArg> for WeightMode {
    fn from(arg: WeightsArg) -> WeightMode {
        match arg {
            WeightsArg::Auto => WeightMode::Auto,
            WeightsArg::Baked => WeightMode::Baked,
            WeightsArg::Dynamic => WeightMode::Dynamic,
        }
    }
}

impl EngineArgs {
    /// The flags that mean the same, with the engine that was found.
    pub fn words(self, engine: ane::Engine) -> Vec<String> {
        let device = match engine {
            ane::Engine::Apple => "ane",
            ane::Engine::Soft => "soft",
        };
        let math = self.math.unwrap_or_default().name();
        let threads = self.threads.to_string();
        let mut words =
            ["--device", device, "--math", math, "--threads", &threads].map(str::to_owned).to_vec();
        words.extend(self.compile_budget.map(|n| format!("--compile-budget={n}")));
        words
    }
}

/// Reads how matrix products are computed.
pub fn math() -> impl TypedValueParser<Value = MatmulPrecision> {
    PossibleValuesParser::new(MatmulPrecision::ALL.map(MatmulPrecision::name)).try_map(|name| {
        MatmulPrecision::named(&name).ok_or_else(|| format!("no products are computed in `{name}`"))
    })
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum DeviceArg {
    Auto,
    Ane,
    Soft,
}

/// The element type of programs and surfaces.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum StorageArg {
    F16,
    F32,
}

impl StorageArg {
    /// As a result of a measurement says it: `storage f16`.
    pub fn said(self) -> String {
        match self {
            StorageArg::F16 => "storage f16".to_owned(),
            StorageArg::F32 => "storage f32".to_owned(),
        }
    }
}

impl From<StorageArg> for Storage {
    fn from(arg: StorageArg) -> Storage {
        match arg {
            StorageArg::F16 => Storage::F16,
            StorageArg::F32 => Storage::F32,
        }
    }
}

/// How the learning rate goes over a run.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum ScheduleArg {
    Cosine,
    Constant,
}

impl From<ScheduleArg> for ScheduleKind {
    fn from(arg: ScheduleArg) -> ScheduleKind {
        match arg {
            ScheduleArg::Cosine => ScheduleKind::Cosine,
            ScheduleArg::Constant => ScheduleKind::Constant,
        }
    }
}

/// How many threads.
pub fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n <= MOST_THREADS => Ok(n),
        _ => Err(format!("a whole number from 0 to {MOST_THREADS} is needed")),
    }
}

/// A whole number that is not 0.
pub fn positive<T: FromStr + Default + PartialOrd>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(n) if n > T::default() => Ok(n),
        _ => Err("a whole number of at least 1 is needed".to_owned()),
    }
}

/// A number above 0.
pub fn above_zero<T: FromStr + Into<f64> + Copy>(text: &str) -> Result<T, String> {
    number(text, |x| x > 0.0, "a number above 0 is needed")
}

/// A number that is 0 or more.
pub fn not_negative<T: FromStr + Into<f64> + Copy>(text: &str) -> Result<T, String> {
    number(text, |x| x >= 0.0, "a number that is 0 or more is needed")
}

/// A share of the whole: above 0, at most 1.
pub fn share(text: &str) -> Result<f64, String> {
    number(text, |x: f64| x > 0.0 && x <= 1.0, "a number above 0 and at most 1 is needed")
}

fn number<T: FromStr + Into<f64> + Copy>(text: &str, fits: fn(f64) -> bool, want: &str) -> Result<T, String> {
    let parsed: Option<T> = text.parse().ok();
    parsed.filter(|&x| x.into().is_finite() && fits(x.into())).ok_or_else(|| want.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_refuse_what_no_run_can_have() {
        assert_eq!(positive::<u64>("7"), Ok(7));
        for text in ["0", "-1", "1.5", "", "18446744073709551616"] {
            assert!(positive::<u64>(text).is_err(), "{text}");
        }
        assert_eq!(above_zero::<f64>("1e-3"), Ok(1e-3));
        assert_eq!(not_negative::<f32>("0"), Ok(0.0));
        for text in ["0", "-1", "NaN", "inf", "1e400", "x"] {
            assert!(above_zero::<f64>(text).is_err(), "{text}");
        }
        assert!(above_zero::<f32>("1e39").is_err());
        assert_eq!((share("1"), share("1.1").is_err(), share("0").is_err()), (Ok(1.0), true, true));
        assert!(threads("0").is_ok() && threads("1025").is_err());
    }
}
