//! The number of windows of a step that run side by side.

use super::Build;
use crate::config::ModelConfig;
use crate::demand::window_bytes;
use ane::Engine;

/// Bytes that all windows in flight may take. Where two do not fit, the kernels of one are large enough for all threads.
const LARGEST: u128 = 128 << 20;

/// The number of windows of a step for which a model has memory at a time: this alone decides the schedule.
///
/// The software engine runs windows side by side, one thread each, if weights are constants, which all windows share. A
/// Neural Engine has one queue. The sums of gradients have the order of the windows either way, so the bits are the same.
pub(super) fn windows_in_flight(cfg: &ModelConfig, build: &Build, threads: usize, engine: Engine) -> usize {
    let shares_weights = build.separate_surfaces || !build.weights.is_dynamic(engine);
    if engine != Engine::Soft || !build.backward || !shares_weights {
        return 1;
    }
    let fit = usize::try_from(LARGEST / window_bytes(cfg, build.trainable.trains_classifier(cfg)).max(1))
        .unwrap_or(usize::MAX);
    // A lane's number has 16 bits.
    build.windows.min(threads).min(fit).clamp(1, usize::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Precision;
    use ane::WeightMode;

    #[test]
    fn small_models_run_windows_side_by_side_and_large_ones_do_not() {
        let build = Build::train(Precision::F16).windows(4);
        for (name, want) in [("tiny", 4), ("shakespeare", 4), ("stories15m", 2), ("stories110m", 1)] {
            let cfg = ModelConfig::preset(name).unwrap();
            assert_eq!(windows_in_flight(&cfg, &build, 8, Engine::Soft), want, "{name}");
        }
    }

    #[test]
    fn what_has_one_queue_or_would_copy_weights_runs_one_window_at_a_time() {
        let cfg = ModelConfig::preset("tiny").unwrap();
        let build = Build::train(Precision::F16).windows(4);
        let dynamic = Build { weights: WeightMode::Dynamic, ..build.clone() };
        let infers = Build { backward: false, ..build.clone() };
        let count = |build: &Build, threads, engine| windows_in_flight(&cfg, build, threads, engine);
        assert_eq!(count(&build, 3, Engine::Soft), 3);
        assert_eq!(count(&build, 1, Engine::Soft), 1);
        assert_eq!(count(&build, 3, Engine::Apple), 1);
        assert_eq!(count(&dynamic, 3, Engine::Soft), 1);
        assert_eq!(count(&infers, 3, Engine::Soft), 1);
        assert_eq!(count(&build.windows(0), 3, Engine::Soft), 1);
    }
}
