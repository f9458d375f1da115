//! Flags shared by all commands that compute, and parsers of flag values.

use ane::{DeviceKind, MatmulPrecision, WeightMode};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use train::model::{Norms, Precision, Rung, Start};
use train::run::{Check, SettingValue};
use train::step::ComputeOptions;

/// The largest number of threads: more than any machine has, few enough to start.
const MOST_THREADS: usize = 1024;

/// Flags of engine and threads.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct EngineArgs {
    /// Threads to compute on; 0: as many as the machine runs at once. The results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,

    /// The engine: the best there is, the Apple Neural Engine, or the software engine
    #[arg(long, visible_alias = "engine", value_name = "ENGINE", default_value = "auto",
        value_parser = named(DeviceKind::ALL, DeviceKind::name))]
    device: DeviceKind,

    /// Precision of matrix products on the CPU: auto, the fastest of f16x3 and f32 that the processor has; f32, exact; f16x3,
    /// exact for factors in half precision, in three products on Intel's tile unit (AMX); int16, with factors rounded to 12
    /// bits relative to the largest of their block; bf16, with factors rounded to 8 bits, on AMX or AVX-512 [default: auto,
    /// f32 with --storage f32; a resumed run's own]
    #[arg(long, value_name = "MATH", value_parser = math())]
    math: Option<MathChoice>,

    /// Programs that a process may compile [default: 100 on the Neural Engine, no limit on the software engine]. With a
    /// limit the software engine recompiles for each change of weights, as the Neural Engine does. When the budget is
    /// exhausted, `train` continues in a new process
    #[arg(long, value_name = "N", value_parser = positive::<u32>)]
    compile_budget: Option<u32>,
}

/// The value of `--math`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MathChoice {
    /// The fastest precision in the class of half-precision storage; a resumed run keeps its own.
    #[default]
    Auto,
    /// This one.
    Fixed(MatmulPrecision),
}

impl MathChoice {
    /// Its name on the command line.
    fn name(self) -> &'static str {
        match self {
            MathChoice::Auto => "auto",
            MathChoice::Fixed(math) => math.name(),
        }
    }

    /// The precision, unless it is `auto`.
    pub fn fixed(self) -> Option<MatmulPrecision> {
        match self {
            MathChoice::Auto => None,
            MathChoice::Fixed(math) => Some(math),
        }
    }
}

impl EngineArgs {
    /// The precision of products, if the user chose one.
    pub fn given_math(self) -> Option<MatmulPrecision> {
        self.math.and_then(MathChoice::fixed)
    }

    /// The options of the engine.
    pub fn device(self) -> ane::DeviceOptions {
        ane::DeviceOptions {
            engine: self.device,
            math: self.given_math().unwrap_or_else(softane::gemm::auto),
            compile_budget: self.compile_budget,
            explain: Some(anelint::explain),
            ..ane::DeviceOptions::default()
        }
    }
}

/// Flags of commands that compute with a model: engine, and how the model is compiled.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct ModelArgs {
    #[command(flatten)]
    pub engine: EngineArgs,

    /// Element type of programs and surfaces; f32 is for debugging, on the software engine alone [default: f16; a resumed
    /// run's own]
    #[arg(long, value_name = "TYPE", value_parser = storage())]
    storage: Option<Precision>,

    /// How weights are passed to the engine: baked into kernels; or dynamic, on the kernels' input surfaces, so that one
    /// set of kernels is compiled once and serves all layers. auto: dynamic on the Neural Engine, which would recompile
    /// baked kernels after each step; baked on the software engine, where it takes less memory, and on an engine that
    /// refuses dynamic kernels
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = named(WeightMode::ALL, WeightMode::name))]
    weights: WeightMode,

    #[command(flatten)]
    norms: NormsArgs,
}

impl ModelArgs {
    /// The options of the engine, with the weight mode.
    pub fn device(self) -> ane::DeviceOptions {
        let math = self.engine.given_math().unwrap_or_else(|| self.storage().auto_math());
        ane::DeviceOptions { weights: self.weights, math, ..self.engine.device() }
    }

    /// The element type of programs and surfaces.
    pub fn storage(self) -> Precision {
        self.storage.unwrap_or(Precision::F16)
    }

    /// The element type, if the flag was given.
    pub fn given_storage(self) -> Option<Precision> {
        self.storage
    }

    /// Where norms are computed, if the flag was given.
    pub fn given_norms(self) -> Option<Norms> {
        self.norms.norms
    }

    /// Where and how a model computes; `known` is the rung that such an engine accepted before.
    pub fn compute(self, known: Option<&'static Rung>) -> ComputeOptions {
        ComputeOptions {
            threads: self.engine.threads,
            device: self.device(),
            start: self.start(known),
            storage: self.storage(),
        }
    }

    /// The plans of kernels to try; `known` is the rung that such an engine accepted before.
    pub fn start(self, known: Option<&'static Rung>) -> Start {
        Start { norms: self.norms.get(), known, exact: None }
    }
}

/// The flag for where norms are computed.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct NormsArgs {
    /// Where RMSNorm of the forward pass is computed: engine, inside the kernels that read its result; host; or auto, on
    /// the engine if it accepts such kernels, else on the host, with smaller and smaller kernels until the engine accepts
    /// them. The losses are equal up to rounding [default: auto; a resumed run's own]
    #[arg(long, value_name = "WHERE", value_parser = named(Norms::ALL, Norms::name))]
    norms: Option<Norms>,
}

impl NormsArgs {
    /// The value; `Auto` if the flag was not given.
    pub fn get(self) -> Norms {
        self.norms.unwrap_or_default()
    }
}

impl EngineArgs {
    /// The equivalent command-line flags, with `engine` as the device.
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

/// A parser for one of `all` by its name.
pub fn named<T: Copy + Send + Sync + 'static, const N: usize>(
    all: [T; N],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.map(name)).try_map(move |text| {
        all.into_iter().find(|&value| name(value) == text).ok_or_else(|| format!("there is no `{text}`"))
    })
}

/// A parser for the precision of matrix products.
pub fn math() -> impl TypedValueParser<Value = MathChoice> {
    let mut all = [MathChoice::Auto; MatmulPrecision::ALL.len() + 1];
    for (choice, math) in all.iter_mut().skip(1).zip(MatmulPrecision::ALL) {
        *choice = MathChoice::Fixed(math);
    }
    named(all, MathChoice::name)
}

/// A parser for the element type of programs and surfaces.
pub fn storage() -> impl TypedValueParser<Value = Precision> {
    named(Precision::ALL, Precision::name)
}

/// Parses a number of threads.
pub fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n <= MOST_THREADS => Ok(n),
        _ => Err(format!("a whole number from 0 to {MOST_THREADS} is needed")),
    }
}

/// Parses a whole number of at least 1.
pub fn positive<T: SettingValue>(text: &str) -> Result<T, String> {
    Check::Positive.parse(text)
}

/// Parses a number above 0.
pub fn above_zero<T: SettingValue>(text: &str) -> Result<T, String> {
    Check::AboveZero.parse(text)
}

/// Parses a number that is 0 or more.
pub fn not_negative<T: SettingValue>(text: &str) -> Result<T, String> {
    Check::NotNegative.parse(text)
}

/// Parses a number above 0 and at most 1.
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
