//! Which rungs of the ladder an engine accepts: every kernel of a layer is compiled separately.

use crate::config::{ModelConfig, init_params};
use crate::model::{KernelSpec, LADDER, Layer, Precision, Rung};
use crate::step::{Build, StepError};
use ane::{Device, DeviceError, WeightMode};
use fnv::FnvHasher;
use std::collections::HashMap;
use std::hash::Hasher;
use std::time::{Duration, Instant};

/// The largest number of refusals; many of them are reported to disturb the compiler service.
const MOST_REFUSED: usize = 5;

/// An engine's answers to the kernels of a rung.
#[derive(Clone, Debug)]
pub struct RungSurvey {
    /// The rung.
    pub rung: &'static Rung,
    /// Whether weights are passed on surfaces.
    pub dynamic: bool,
    /// Number of programs of the whole model.
    pub programs: u64,
    /// The kernels of its first layer.
    pub kernels: Vec<KernelSurvey>,
}

/// An engine's answer to a kernel.
#[derive(Clone, Debug)]
pub struct KernelSurvey {
    /// Its name.
    pub name: String,
    /// Its program as MIL text.
    pub text: String,
    /// FNV-1a of the text, 64 bits; identifies equal programs.
    pub hash: u64,
    /// The answer.
    pub verdict: Verdict,
}

/// An engine's answer to a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The program was compiled and loaded, in this time.
    Compiled(Duration),
    /// The program was refused, with this message.
    Refused(String),
    /// The program was not compiled, for this reason.
    NotAsked(String),
}

impl RungSurvey {
    /// Whether the engine compiles all of its kernels.
    pub fn is_taken(&self) -> bool {
        self.kernels.iter().all(|k| matches!(k.verdict, Verdict::Compiled(_)))
    }
}

/// Compiles each kernel of each rung of the layer of `cfg` on `device`; equal programs once. The first pass leaves a rung at
/// its first refusal, to find a rung that compiles completely; the second compiles the remaining kernels, until too many
/// are refused. `progress` gets the rung and the kernel that is compiled next.
///
/// # Errors
/// If the model cannot be cut into kernels.
pub fn survey(
    cfg: &ModelConfig,
    device: &dyn Device,
    progress: &mut dyn FnMut(&'static Rung, &str),
) -> Result<Vec<RungSurvey>, StepError> {
    let layer = Layer::new(cfg, Precision::F16)?;
    let engine = device.info().engine;
    let theta = init_params(cfg, 0);
    let mut rungs: Vec<RungSurvey> = Vec::new();
    let mut specs: Vec<Vec<KernelSpec>> = Vec::new();
    for rung in &LADDER {
        let weights = rung.weight_mode(WeightMode::Auto).unwrap_or(WeightMode::Baked);
        let build = Build { weights, ..Build::train(Precision::F16) }.rung(rung, cfg);
        let kernels = build.kernels(&layer, engine)?.kernels;
        let (dynamic, programs) = (weights.is_dynamic(engine), build.programs(cfg.layers, engine));
        let kernel = |k: &KernelSpec| KernelSurvey::new(k.name.clone(), mil::text::print(&k.packed.program));
        rungs.push(RungSurvey { rung, dynamic, programs, kernels: kernels.iter().map(kernel).collect() });
        specs.push(kernels);
    }
    let mut known: HashMap<u64, Verdict> = HashMap::new();
    let mut refused = 0;
    for leave_at_first in [true, false] {
        for (found, specs) in rungs.iter_mut().zip(&specs) {
            for (kernel, spec) in found.kernels.iter_mut().zip(specs) {
                if !known.contains_key(&kernel.hash) && refused < MOST_REFUSED {
                    progress(found.rung, &kernel.name);
                    let verdict = ask(spec, cfg, &theta, device)?;
                    refused += usize::from(matches!(verdict, Verdict::Refused(_)));
                    known.insert(kernel.hash, verdict);
                }
                kernel.verdict = known.get(&kernel.hash).cloned().unwrap_or_else(|| {
                    Verdict::NotAsked(format!("{refused} programs were refused before this one"))
                });
                if leave_at_first && matches!(kernel.verdict, Verdict::Refused(_)) {
                    break;
                }
            }
        }
    }
    Ok(rungs)
}

impl KernelSurvey {
    fn new(name: String, text: String) -> KernelSurvey {
        let mut hasher = FnvHasher::default();
        hasher.write(text.as_bytes());
        let hash = hasher.finish();
        KernelSurvey { name, text, hash, verdict: Verdict::NotAsked(String::new()) }
    }
}

fn ask(
    kernel: &KernelSpec,
    cfg: &ModelConfig,
    theta: &[f32],
    device: &dyn Device,
) -> Result<Verdict, StepError> {
    let weights = kernel
        .weights(&cfg.params(), 0, theta)
        .map_err(|source| StepError::Blob { kernel: kernel.name.clone(), source })?;
    let began = Instant::now();
    Ok(match device.compile(&kernel.name, &kernel.packed.program, &weights) {
        Ok(_) => Verdict::Compiled(began.elapsed()),
        Err(error @ DeviceError::Refused(_)) => Verdict::Refused(error.to_string()),
        Err(error) => Verdict::NotAsked(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ane::{DeviceKind, SoftOptions};
    use std::collections::HashSet;

    #[test]
    fn software_takes_every_rung_and_equal_programs_are_asked_for_once() {
        let cfg = ModelConfig::preset("tiny").unwrap();
        let device = ane::open(DeviceKind::Soft, SoftOptions::threads(1).unwrap()).unwrap();
        let mut asked = Vec::new();
        let rungs = survey(&cfg, device.as_ref(), &mut |rung, kernel| {
            asked.push(format!("{} {kernel}", rung.name));
        });
        let rungs = rungs.unwrap();
        assert!(rungs.iter().all(RungSurvey::is_taken));
        assert_eq!(rungs.iter().map(|r| r.kernels.len()).collect::<Vec<_>>(), [6, 6, 6, 6, 20]);
        let programs: HashSet<u64> = rungs.iter().flat_map(|r| &r.kernels).map(|k| k.hash).collect();
        assert_eq!(asked.len(), programs.len());
        assert!(asked.len() < 44, "{asked:?}");
        assert_eq!(asked[0], "six fwdAttn");
        // The backward kernels of the first two rungs are the same and are compiled once.
        for (a, b) in rungs[0].kernels.iter().zip(&rungs[1].kernels) {
            assert_eq!(a.hash == b.hash, a.verdict == b.verdict && a.text == b.text, "{}", a.name);
            assert_eq!(a.hash == b.hash, a.name.contains("Bwd"), "{}", a.name);
        }
    }
}
