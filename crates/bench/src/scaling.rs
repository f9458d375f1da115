//! The time of a step as a function of the model's size and the batch.

use super::{BenchError, Spread, StepBench, StepBenchOptions, Workload};
use ane::DeviceInfo;
use train::config::{ModelConfig, Task};
use train::run::RunError;
use train::step::Build;

/// The dimension that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Layers.
    Layers,
    /// Windows of a step.
    Batch,
    /// Tokens of the vocabulary.
    Vocab,
    /// Tokens of a window.
    Seq,
}

impl Over {
    /// Four default sizes, each twice the previous one.
    pub fn sizes(self) -> [usize; 4] {
        match self {
            Over::Layers | Over::Batch => [1, 2, 4, 8],
            Over::Vocab => [4_000, 8_000, 16_000, 32_000],
            Over::Seq => [64, 128, 256, 512],
        }
    }

    /// The configuration and the windows of a step at `size`.
    fn at(self, config: &ModelConfig, size: usize) -> Result<(ModelConfig, usize), BenchError> {
        let (mut config, mut batch) = (config.clone(), 1);
        match self {
            Over::Layers => config.layers = size,
            Over::Batch => batch = size,
            Over::Vocab if config.task != Task::Language => {
                return Err(RunError::NotLanguage { what: "the size of a vocabulary" }.into());
            }
            Over::Vocab => config.vocab = size,
            Over::Seq => config.seq = size,
        }
        config.validate().map_err(RunError::from)?;
        Ok((config, batch))
    }
}

/// The time of a step at one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScalingTime {
    /// The size.
    pub size: usize,
    /// The time of a step.
    pub time: Spread,
    /// Floating-point operations of its matrix products.
    pub flops: f64,
}

/// Times a step of `config` at each of `sizes`; a size of 0 is refused.
///
/// # Errors
/// If a size makes no valid model, or the engine cannot be opened or fails.
pub fn scaling(
    config: &ModelConfig,
    over: Over,
    sizes: &[usize],
    options: &StepBenchOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(DeviceInfo, Vec<ScalingTime>), BenchError> {
    // All sizes are validated before the first is timed.
    let models = sizes.iter().map(|&size| Ok((size, over.at(config, size)?)));
    let models: Vec<_> = models.collect::<Result<_, BenchError>>()?;
    let (mut times, mut device) = (Vec::new(), None);
    for (i, (size, (config, batch))) in models.into_iter().enumerate() {
        let workload = Workload::new(config);
        let build = Build::train(options.storage).windows(batch);
        let step = StepBench::with(&workload, options, &build, batch)?.run(options, &mut |_, _| {})?;
        let flops = workload.flops() * batch as f64;
        times.push(ScalingTime { size, time: Spread::of(step.samples), flops });
        device = Some(step.device);
        progress(i + 1, sizes.len());
    }
    Ok((device.ok_or(BenchError::Nothing)?, times))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use train::model::Precision;

    #[test]
    fn each_size_does_the_work_that_it_says() {
        let tiny = ModelConfig::preset("tiny").unwrap();
        let device = ane::DeviceOptions::from(ane::DeviceKind::Soft);
        let options = StepBenchOptions {
            threads: 1,
            start: train::model::Norms::Engine.into(),
            device,
            storage: Precision::F16,
            batch: 1,
            samples: 1,
            budget: Duration::ZERO,
        };
        for over in [Over::Layers, Over::Batch, Over::Vocab, Over::Seq] {
            let sizes = if over == Over::Vocab { [320, 640] } else { [8, 16] };
            let (_, times) = scaling(&tiny, over, &sizes, &options, &mut |_, _| {}).unwrap();
            assert_eq!([times[0].size, times[1].size], sizes);
            let growth = times[1].flops / times[0].flops;
            match over {
                Over::Batch => assert_eq!(growth, 2.0),
                // The classifier stays, or the layers do.
                Over::Layers | Over::Vocab => assert!(growth > 1.0 && growth < 2.0, "{over:?} {growth}"),
                // Attention grows with the square.
                Over::Seq => assert!(growth > 2.0 && growth < 4.0, "{growth}"),
            }
        }
    }

    #[test]
    fn what_makes_no_model_is_refused_before_anything_is_timed() {
        let layer = ModelConfig::preset("layer768").unwrap();
        let error = Over::Vocab.at(&layer, 100).unwrap_err().to_string();
        assert!(error.contains("the size of a vocabulary does not apply"), "{error}");
        assert!(Over::Layers.at(&layer, 0).is_err() && Over::Seq.at(&layer, 0).is_err());
    }
}
