//! Decoding: the time to the first token, and that of each further one, beside what memory allows.

use crate::BenchError;
use ane::{DeviceInfo, DeviceKind, DeviceOptions, Pool, SoftOptions};
use rayon::prelude::*;
use std::time::{Duration, Instant};
use train::config::ModelConfig;
use train::decode::{ModelWeights, Session};
use train::formats::QuantWeights;
use train::model::Precision;
use train::run::RunError;
use train::step::StepError;

/// Options of the measurement.
#[derive(Clone, Copy, Debug)]
pub struct GenerateBenchOptions {
    /// Number of compute threads; 0: as many as the machine runs at once.
    pub threads: usize,
    /// The engine.
    pub device: DeviceOptions,
    /// The element type of programs and surfaces.
    pub storage: Precision,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens that are decoded after it.
    pub tokens: usize,
    /// Conversations that are decoded together.
    pub batch: usize,
    /// Repetitions, after one that is not counted.
    pub samples: usize,
}

/// The results.
#[derive(Clone, Debug)]
pub struct GenerateTimes {
    /// The device.
    pub device: DeviceInfo,
    /// The time from the prompt to the first token, of each repetition.
    pub first: Vec<Duration>,
    /// The mean time of a further token, of each repetition; of `batch` tokens, if conversations are decoded together.
    pub token: Vec<Duration>,
    /// Bytes of weights that a pass reads.
    pub weight_bytes: usize,
    /// Bytes of keys and values of a conversation.
    pub cache_bytes: usize,
    /// Bytes per second at which all threads together read memory.
    pub bandwidth: f64,
}

/// Measures the model `cfg` with weights `theta`, of which decoding reads the matrices of `quantised` in the bits of their file.
/// Prompts are pseudo-random tokens; the likeliest token is taken each time.
/// `progress` gets the repetitions done, and their number.
///
/// # Errors
/// If the engine fails, or a logit is not finite.
pub fn generation(
    cfg: &ModelConfig,
    (theta, quantised): (Vec<f32>, QuantWeights),
    options: &GenerateBenchOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<GenerateTimes, BenchError> {
    let of = |error: StepError| BenchError::from(RunError::from(error));
    let pool = Pool::new(options.threads).map_err(StepError::Threads).map_err(of)?;
    let kind = match (options.storage, options.device.engine) {
        (Precision::F32, DeviceKind::Auto) => DeviceKind::Soft,
        (_, kind) => kind,
    };
    let wanted = DeviceOptions { engine: kind, ..options.device };
    let device =
        ane::open(wanted, SoftOptions { pool: pool.clone() }).map_err(StepError::from).map_err(of)?;
    let cfg = ModelConfig { seq: options.prompt + options.tokens, ..cfg.clone() };
    let weights = ModelWeights { theta: &theta, quantised };
    let mut session =
        Session::new(&cfg, weights, device, pool.clone(), (options.storage, false)).map_err(of)?;
    drop(theta);
    let mut times = GenerateTimes {
        device: session.device().info().clone(),
        first: Vec::new(),
        token: Vec::new(),
        weight_bytes: session.weight_bytes().0,
        cache_bytes: 0,
        bandwidth: bandwidth(&pool),
    };
    for sample in 0..=options.samples {
        let (first, token, bytes) = once(&mut session, options, sample as u64).map_err(of)?;
        if sample > 0 {
            times.first.push(first);
            times.token.push(token);
        }
        times.cache_bytes = bytes;
        progress(sample, options.samples);
    }
    Ok(times)
}

/// One repetition: the time to the first token of the first conversation, the mean time of a pass after that, bytes of a cache.
fn once(
    session: &mut Session,
    options: &GenerateBenchOptions,
    seed: u64,
) -> Result<(Duration, Duration, usize), StepError> {
    let vocab = session.cfg().vocab as u64;
    let prompt = |i: u64| (0..options.prompt as u64).map(move |at| (mix(seed, i << 32 | at) % vocab) as u32);
    let (mut conversations, mut last, mut first) = (Vec::new(), Vec::new(), None);
    for i in 0..options.batch.max(1) as u64 {
        let prompt: Vec<u32> = prompt(i).collect();
        let mut conversation = session.conversation();
        let began = Instant::now();
        let logits = session.prefill(&mut conversation, &prompt)?;
        last.push(likeliest(&logits));
        first.get_or_insert(began.elapsed());
        conversations.push(conversation);
    }
    let began = Instant::now();
    for _ in 1..options.tokens {
        let mut next: Vec<_> = conversations.iter_mut().zip(last.iter().copied()).collect();
        last = session.decode(&mut next)?.iter().map(|logits| likeliest(logits)).collect();
    }
    let token = began.elapsed() / options.tokens.saturating_sub(1).max(1) as u32;
    Ok((first.unwrap_or_default(), token, conversations.first().map_or(0, |c| c.bytes())))
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = (0u32..).zip(logits).max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token)
}

/// A hash of seed and index: splitmix64.
fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Bytes of the memory that is read: more than caches hold.
const READ: usize = 256 << 20;

/// Bytes per second at which the threads of `pool` read memory together; the best of five times.
fn bandwidth(pool: &Pool) -> f64 {
    let words = vec![1u64; READ / 8];
    pool.install(|| {
        let seconds = (0..5).map(|_| {
            let began = Instant::now();
            // Eight sums at a time, so that additions do not wait for one another.
            let sum = words.par_chunks(1 << 16).map(|words| {
                let mut sums = [0u64; 8];
                for eight in words.as_chunks::<8>().0 {
                    sums.iter_mut().zip(eight).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
                }
                sums.iter().sum::<u64>()
            });
            std::hint::black_box(sum.sum::<u64>());
            began.elapsed().as_secs_f64()
        });
        READ as f64 / seconds.fold(f64::INFINITY, f64::min).max(1e-9)
    })
}
