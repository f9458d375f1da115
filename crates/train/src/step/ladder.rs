//! Compiling a model by the first plan of the ladder that the engine accepts.

use super::kernels::check_budget;
use super::{Build, ChosenRung, Network, StepError};
use crate::config::ModelConfig;
use crate::model::{Rung, Start};
use ane::facts::REFUSED_PAUSE;
use ane::{Device, DeviceError, DeviceKind, DeviceOptions, Engine, Pool, SoftOptions};
use std::time::Duration;

/// Progress of compiling a model.
#[derive(Clone, Copy, Debug)]
pub enum CompileEvent<'a> {
    /// The number of layers compiled so far.
    Layers(usize),
    /// The engine refused a plan; the next is tried after a pause.
    Refused {
        /// The refused plan.
        rung: &'static Rung,
        /// The next plan.
        next: &'static Rung,
        /// The refusal.
        error: &'a StepError,
        /// The pause before the engine's compiler is asked again.
        pause: Duration,
    },
    /// The engine accepted a plan.
    Accepted(ChosenRung),
}

/// Everything needed to compile a model, besides its weights.
#[derive(Clone, Copy, Debug)]
pub struct CompileRequest<'a> {
    /// The configuration.
    pub cfg: &'a ModelConfig,
    /// The options of the engine.
    pub wanted: DeviceOptions,
    /// The threads for the host's work.
    pub pool: &'a Pool,
    /// The build options; the ladder replaces the plan.
    pub build: &'a Build,
    /// The rungs to try.
    pub start: Start,
}

/// Compiles a model with weights `theta` by the first plan that the engine accepts.
///
/// # Errors
/// As [`Network::new`]; `Ladder`, if the engine refuses all of several plans.
pub fn compile(
    request: CompileRequest<'_>,
    theta: Vec<f32>,
    on_event: &mut dyn FnMut(CompileEvent<'_>),
) -> Result<Network, StepError> {
    request.compile_on(request.open_engine()?, theta, on_event)
}

impl CompileRequest<'_> {
    /// Opens the engine for the first plan.
    ///
    /// # Errors
    /// If it cannot be opened, or the process may not compile that many programs.
    pub fn open_engine(&self) -> Result<Box<dyn Device>, StepError> {
        let CompileRequest { cfg, wanted, pool, build, start } = *self;
        let rungs = start.rungs(build.weights, true);
        let first = rungs.first().ok_or_else(|| StepError::internal("no plan is allowed"))?;
        let build = build.clone().rung(first, cfg);
        let device = ane::open(build.wanted(wanted, cfg.layers), SoftOptions { pool: pool.clone() })?;
        check_budget(device.as_ref(), build.programs(cfg.layers, device.info().engine))?;
        Ok(device)
    }

    /// As [`compile`], on an engine from [`CompileRequest::open_engine`].
    ///
    /// # Errors
    /// As [`compile`].
    pub fn compile_on(
        &self,
        device: Box<dyn Device>,
        theta: Vec<f32>,
        on_event: &mut dyn FnMut(CompileEvent<'_>),
    ) -> Result<Network, StepError> {
        let engine = device.info().engine;
        let again = || {
            let kind = if engine == Engine::Apple { DeviceKind::Ane } else { DeviceKind::Soft };
            let options = SoftOptions { pool: self.pool.clone() };
            ane::open(DeviceOptions { engine: kind, ..self.wanted }, options)
        };
        let rungs = self.start.rungs(self.build.weights, engine == Engine::Apple);
        self.descend(device, &again, theta, &rungs, on_event)
    }

    /// Tries one plan after the other; `again` reopens the engine for each plan but the first.
    fn descend(
        &self,
        device: Box<dyn Device>,
        again: &dyn Fn() -> Result<Box<dyn Device>, DeviceError>,
        mut theta: Vec<f32>,
        rungs: &[&'static Rung],
        on_event: &mut dyn FnMut(CompileEvent<'_>),
    ) -> Result<Network, StepError> {
        let CompileRequest { cfg, pool, build, .. } = *self;
        let mut device = Some(device);
        let (mut refused, mut first_refusal) = (0, None);
        for (i, &rung) in rungs.iter().enumerate() {
            let device = match device.take() {
                Some(device) => device,
                None => again()?,
            };
            let engine = device.info().engine;
            let next = rungs.get(i + 1).copied();
            let theta = if next.is_some() { theta.clone() } else { std::mem::take(&mut theta) };
            let rung_build = build.clone().rung(rung, cfg);
            let mut layers = |done| on_event(CompileEvent::Layers(done));
            let error = match Network::new(cfg, theta, device, pool.clone(), &rung_build, &mut layers) {
                Ok(mut network) => {
                    let chosen = ChosenRung { rung, refused, engine };
                    network.kernels.rung = Some(chosen);
                    on_event(CompileEvent::Accepted(chosen));
                    return Ok(network);
                }
                Err(error) => error,
            };
            let is_refusal = error.is_refusal();
            // After a refusal, plans with too many programs or too large surfaces are skipped.
            let is_skipped = refused > 0 && matches!(error, StepError::Budget { .. } | StepError::Model(_));
            if !is_refusal && !is_skipped {
                return Err(error);
            }
            refused += usize::from(is_refusal);
            if let Some(next) = next {
                let pause = if is_refusal { REFUSED_PAUSE.value } else { Duration::ZERO };
                on_event(CompileEvent::Refused { rung, next, error: &error, pause });
            }
            first_refusal.get_or_insert(error);
        }
        match (first_refusal, rungs) {
            (Some(error), [_]) => Err(error),
            (Some(error), _) => Err(StepError::Ladder { plans: rungs.len(), first: Box::new(error) }),
            (None, _) => Err(StepError::internal("no plan is allowed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::init_params;
    use crate::model::{LADDER, Precision};
    use ane::{Answer, Call, DeviceInfo, Kernel, Refusal, Surface};
    use mil::{Program, TensorType, Verified, Weights};

    /// An engine that refuses programs whose text contains a given pattern, optionally with a compile budget.
    struct Choosy {
        inner: Box<dyn Device>,
        info: DeviceInfo,
        refuses: &'static [&'static str],
        budget: Option<u32>,
    }

    impl Device for Choosy {
        fn info(&self) -> &DeviceInfo {
            &self.info
        }

        fn compile(
            &self,
            name: &str,
            program: &Verified<Program>,
            weights: &Weights,
        ) -> Result<Box<dyn Kernel>, DeviceError> {
            let text = mil::text::print(program);
            if self.refuses.iter().any(|form| text.contains(form)) {
                let refusal = Refusal::new(name, Call::Compile, Answer::default());
                return Err(DeviceError::Refused(refusal.into()));
            }
            self.inner.compile(name, program, weights)
        }

        fn surface(&self, name: &str, ty: &TensorType) -> Result<Surface, DeviceError> {
            self.inner.surface(name, ty)
        }

        fn compiles_left(&self) -> Option<u32> {
            self.budget
        }
    }

    fn choosy(refuses: &'static [&'static str], budget: Option<u32>, pool: &Pool) -> Box<dyn Device> {
        let inner = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).unwrap();
        let info = DeviceInfo { engine: Engine::Apple, ..inner.info().clone() };
        Box::new(Choosy { inner, info, refuses, budget })
    }

    /// The rung that such an engine accepts, and the names of those that it refuses.
    fn chosen(
        refuses: &'static [&'static str],
        budget: Option<u32>,
    ) -> (Result<ChosenRung, StepError>, Vec<&'static str>) {
        let cfg = ModelConfig { qk_norm: true, ..ModelConfig::preset("tiny").unwrap() };
        let pool = Pool::new(1).unwrap();
        let build = Build::train(Precision::F16);
        let rungs: Vec<&Rung> = LADDER.iter().collect();
        let again = || Ok(choosy(refuses, budget, &pool));
        let mut past = Vec::new();
        let on_event = &mut |event: CompileEvent<'_>| {
            if let CompileEvent::Refused { rung, .. } = event {
                past.push(rung.name);
            }
        };
        let (theta, device) = (init_params(&cfg, 3), choosy(refuses, budget, &pool));
        let (wanted, start) = (DeviceKind::Soft.into(), Start::default());
        let request = CompileRequest { cfg: &cfg, wanted, pool: &pool, build: &build, start };
        let network = request.descend(device, &again, theta, &rungs, on_event);
        (network.map(|n| n.rung().unwrap()), past)
    }

    #[test]
    fn the_first_plan_that_an_engine_takes_is_taken() {
        for (refuses, want) in [
            (&[][..], "six"),
            (&["pow("], "norms-out"),
            (&["pow(", "> packed)"], "apart"),
            (&["softmax("], "none"),
        ] {
            let (chosen, past) = chosen(refuses, None);
            match chosen {
                Ok(chosen) => {
                    assert_eq!((chosen.rung.name, chosen.refused), (want, past.len()), "{past:?}");
                    assert_eq!(past.len(), chosen.rung.place(), "{past:?}");
                }
                Err(error) => {
                    assert_eq!(want, "none", "{error}");
                    let message = error.to_string();
                    assert!(
                        message.starts_with("the engine accepts none of 5 plans of kernels"),
                        "{message}"
                    );
                    assert!(message.contains("L0.fwdAttn"), "{message}");
                    assert!(error.hint().is_some_and(|hint| hint.contains("doctor --kernels")));
                }
            }
        }
    }

    /// 14 programs: weights that are baked take more, in two layers.
    #[test]
    fn a_plan_of_too_many_programs_is_passed_over_but_for_the_first() {
        let (passed, past) = chosen(&["pow(", "> packed)"], Some(13));
        assert!(matches!(passed, Err(StepError::Ladder { plans: 5, .. })), "{passed:?}");
        assert_eq!(past.len(), 4);
        let (taken, _) = chosen(&["pow(", "> packed)"], Some(14));
        assert_eq!(taken.unwrap().rung.name, "apart");
        let (first, past) = chosen(&[], Some(5));
        assert!(matches!(first, Err(StepError::Budget { .. })) && past.is_empty(), "{first:?}");
    }
}
