//! The probe of the engine's own memory: `bench sram`, compared with the table.

use crate::commands::engine::EngineArgs;
use crate::error::CommandError;
use crate::units;
use ::bench::{StackOptions, knee, sram_sizes, stacks};
use anelint::facts::WORKING_SET_KNEE;
use anelint::probe::{Finding, Observed};
use std::time::Duration;

pub const ID: &str = "sram";
pub const QUESTION: &str = "From which working set on does throughput fall for good?";

/// Dispatches of each convolution.
const SAMPLES: usize = 20;

/// Measures, and compares with the reports.
pub fn ask(engine: EngineArgs) -> Result<Finding, CommandError> {
    let options = StackOptions { samples: SAMPLES, budget: Duration::from_millis(500) };
    let sizes = |kind| sram_sizes(kind, false);
    let (_, times) = stacks(engine.device(), engine.threads, sizes, options, &mut |_, _| {})?;
    let points: Vec<(usize, f64)> = times
        .iter()
        .filter_map(|t| {
            let seconds = t.time.as_ref().ok()?.dispatch.median.as_secs_f64();
            Some((t.working_bytes, t.flops / seconds / 1e9))
        })
        .collect();
    let failed = times.iter().find_map(|t| t.time.as_ref().err().map(|e| (t.size.channels, e)));
    let (least, most) = WORKING_SET_KNEE.value;
    let says = |n: usize| units::bytes(n as u64);
    let (seen, mut text) = match (points.as_slice(), knee(&points)) {
        ([], _) => (Observed::Unclear, "no size was measured".to_owned()),
        (_, Some((last, next))) => {
            let inside = last <= most && next >= least;
            let text = format!(
                "throughput falls for good between {} and {}; reported are {} to {}",
                says(last),
                says(next),
                says(least),
                says(most)
            );
            (if inside { Observed::Holds } else { Observed::HoldsNot }, text)
        }
        ([.., (largest, _)], None) => {
            (Observed::HoldsNot, format!("throughput does not fall for good up to {}", says(*largest)))
        }
    };
    if let Some((channels, e)) = failed {
        text.push_str(&format!("; {channels} channels fail: {e}"));
    }
    let named = |(bytes, gflops): &(usize, f64)| (format!("GFLOP/s at {bytes} bytes"), *gflops);
    let numbers = points.iter().map(named).collect();
    Ok(Finding { about: ID, seen, says: text, consequence: None, numbers })
}
