//! Flags of every command that computes, and what values flags can have.

use ane::{DeviceKind, MatmulPrecision, WeightMode};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use train::model::{Norms, Precision, Rung, Start};
use train::run::{Check, SettingValue};

/// Most threads that may be asked for: more than any machine has, few enough to start.
const MOST_THREADS: usize = 1024;

/// On what to compute.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct EngineArgs {
    /// Threads to compute on; 0: as many as the machine runs at once. The results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,

    /// The engine: the best there is, the Apple Neural Engine, or the software engine
    #[arg(long, visible_alias = "engine", value_name = "ENGINE", default_value = "auto",
        value_parser = named(DeviceKind::ALL, DeviceKind::name))]
    device: DeviceKind,

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
        ane::DeviceOptions {
            engine: self.device,
            math: self.math.unwrap_or_default(),
            compile_budget: self.compile_budget,
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
    #[arg(long, value_name = "TYPE", value_parser = storage())]
    storage: Option<Precision>,

    /// How weights reach the engine: baked into kernels, or dynamic, on the surfaces that kernels read, so that one set
    /// of kernels is compiled once and serves all layers. auto: dynamic on the Neural Engine, which would compile baked
    /// ones again after each step; baked on the software engine, where that takes less memory, and on an engine that
    /// refuses the others
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = named(WeightMode::ALL, WeightMode::name))]
    weights: WeightMode,

    #[command(flatten)]
    norms: NormsArgs,
}

impl ModelArgs {
    /// Which engine is wanted, with weights that come so.
    pub fn device(self) -> ane::DeviceOptions {
        ane::DeviceOptions { weights: self.weights, ..self.engine.device() }
    }

    /// The element type of programs and surfaces.
    pub fn storage(self) -> Precision {
        self.storage.unwrap_or(Precision::F16)
    }

    /// The same, if it was said.
    pub fn given_storage(self) -> Option<Precision> {
        self.storage
    }

    /// Where norms are computed, if that was said.
    pub fn given_norms(self) -> Option<Norms> {
        self.norms.norms
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
    #[arg(long, value_name = "WHERE", value_parser = named(Norms::ALL, Norms::name))]
    norms: Option<Norms>,
}

impl NormsArgs {
    /// Where.
    pub fn get(self) -> Norms {
        self.norms.unwrap_or_default()
    }
}

impl EngineArgs {
    /// The flags that mean the same, with the engine that was found.
    pub fn words(self, engine: ane::Engine) -> Vec<String> {
        let device = match engine {
            ane::Engine::Apple => DeviceKind::Ane,
            ane::Engine::Soft => DeviceKind::Soft,
        };
        let math = self.math.unwrap_or_default().name();
        let threads = self.threads.to_string();
        let mut words =
            ["--device", device.name(), "--math", math, "--threads", &threads].map(str::to_owned).to_vec();
        words.extend(self.compile_budget.map(|n| format!("--compile-budget={n}")));
        words
    }
}

/// Reads one of `all` by its name.
pub fn named<T: Copy + Send + Sync + 'static, const N: usize>(
    all: [T; N],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.map(name)).try_map(move |text| {
        all.into_iter().find(|&value| name(value) == text).ok_or_else(|| format!("there is no `{text}`"))
    })
}

/// Reads how matrix products are computed.
pub fn math() -> impl TypedValueParser<Value = MatmulPrecision> {
    named(MatmulPrecision::ALL, MatmulPrecision::name)
}

/// Reads the element type of programs and surfaces.
pub fn storage() -> impl TypedValueParser<Value = Precision> {
    named(Precision::ALL, Precision::name)
}

/// How many threads.
pub fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n <= MOST_THREADS => Ok(n),
        _ => Err(format!("a whole number from 0 to {MOST_THREADS} is needed")),
    }
}

/// A whole number that is not 0.
pub fn positive<T: SettingValue>(text: &str) -> Result<T, String> {
    Check::Positive.parse(text)
}

/// A number above 0.
pub fn above_zero<T: SettingValue>(text: &str) -> Result<T, String> {
    Check::AboveZero.parse(text)
}

/// A number that is 0 or more.
pub fn not_negative<T: SettingValue>(text: &str) -> Result<T, String> {
    Check::NotNegative.parse(text)
}

/// A share of the whole: above 0, at most 1.
pub fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|&x: &f64| x > 0.0 && x <= 1.0);
    share.ok_or_else(|| "a number above 0 and at most 1 is needed".to_owned())
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
