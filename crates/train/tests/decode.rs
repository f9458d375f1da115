//! Decoding with kept keys and values beside forward passes over whole windows, on the models of `tests/architectures`.

mod tiny_models;

use ane::{DeviceKind, Pool, SoftOptions};
use tiny_models::{NAMES, folder};
use train::config::ModelConfig;
use train::decode::{ModelWeights, Session};
use train::formats::{
    ExportOptions, Model, QuantWeights, Target, WeightType, export, open_model, open_quantised,
};
use train::model::Precision;
use train::step::{Build, Network, StepError};

/// Tokens generated after the prompt.
const TOKENS: usize = 200;

/// The window: room for the prompt and all tokens.
const SEQ: usize = 256;

fn config(model: &Model, seq: usize) -> ModelConfig {
    ModelConfig { seq, ..model.config.clone() }
}

fn network(model: &Model, seq: usize, precision: Precision) -> Network {
    let pool = Pool::new(2).expect("threads");
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("an engine");
    let build = Build::infer(precision);
    Network::new(&config(model, seq), model.params.clone(), device, pool, &build, &mut |_| {})
        .expect("a network")
}

fn session(model: &Model, precision: Precision, threads: usize) -> Session {
    long_session(model, SEQ, precision, threads)
}

fn long_session(model: &Model, seq: usize, precision: Precision, threads: usize) -> Session {
    let pool = Pool::new(threads).expect("threads");
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("an engine");
    Session::new(&config(model, seq), &model.params, device, pool, (precision, false)).expect("a session")
}

fn prompt(vocab: usize) -> Vec<u32> {
    (0..23).map(|i| (i * 7 + 3) % vocab as u32).collect()
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.expect("logits").0 as u32
}

/// The largest difference, relative to the largest magnitude.
fn distance(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let off = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    off / want.iter().fold(0.0, |m: f32, x| m.max(x.abs()))
}

/// Greedy continuations of a prompt, by both ways; the second follows the tokens of the first.
fn check(name: &str, precision: Precision, close: f32) {
    let model = open_model(&folder(name), None).expect(name);
    let mut session = session(&model, precision, 2);
    let mut conversation = session.conversation();
    let mut tokens = prompt(model.config.vocab);
    let mut logits = vec![session.prefill(&mut conversation, &tokens).expect("logits")];
    for _ in 1..TOKENS {
        let next = likeliest(logits.last().expect("logits"));
        tokens.push(next);
        let mut step = session.decode(&mut [(&mut conversation, next)]).expect("logits");
        logits.append(&mut step);
    }
    let network = network(&model, SEQ, precision);
    let mut window = tokens.clone();
    window.resize(SEQ + 1, 0);
    let whole = network.logits(&window).expect("logits");
    let first = tokens.len() - logits.len();
    let (mut worst, mut ties) = (0.0f32, 0);
    for (i, cached) in logits.iter().enumerate() {
        let want: Vec<f32> = whole.iter().skip(first + i).step_by(SEQ).copied().collect();
        worst = worst.max(distance(cached, &want));
        let (a, b) = (likeliest(cached) as usize, likeliest(&want) as usize);
        // Of two logits that are equal but for rounding, either may come first.
        let scale = want.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
        assert!(a == b || want[b] - want[a] <= 2.0 * close * scale, "{name}: token {i} is {a}, not {b}");
        ties += usize::from(a != b);
    }
    println!("{name} {precision:?}: logits differ by {worst:.2e}, {ties} ties");
    assert!(worst <= close, "{name} {precision:?}: logits differ by {worst:.2e}");
}

/// fp16 keeps 11 bits: some dozens of roundings of 4.9e-4 each, in another order.
#[test]
fn in_fp16() {
    NAMES.into_iter().for_each(|name| check(name, Precision::F16, 2e-3));
}

/// f32 keeps 24 bits; the order of sums differs.
#[test]
fn in_f32() {
    NAMES.into_iter().for_each(|name| check(name, Precision::F32, 2e-5));
}

/// Several conversations at once, in passes of any mixture, give the tokens that each has alone.
#[test]
fn conversations_do_not_touch_one_another() {
    for name in ["qwen2", "gemma3", "mistral"] {
        let model = open_model(&folder(name), None).expect(name);
        let mut session = session(&model, Precision::F32, 2);
        let prompt = prompt(model.config.vocab);
        let prompts = [&prompt[..5], &prompt[5..], &prompt[2..9]];
        let mut alone = Vec::new();
        for prompt in prompts {
            let mut conversation = session.conversation();
            let mut all = vec![session.prefill(&mut conversation, prompt).expect("logits")];
            for _ in 0..60 {
                let next = likeliest(all.last().expect("logits"));
                all.append(&mut session.decode(&mut [(&mut conversation, next)]).expect("logits"));
            }
            alone.push(all);
        }
        let mut conversations = prompts.map(|_| session.conversation());
        let mut last: Vec<Vec<f32>> = Vec::new();
        for (conversation, prompt) in conversations.iter_mut().zip(prompts) {
            last.push(session.prefill(conversation, prompt).expect("logits"));
        }
        for i in 0..=60 {
            for (each, alone) in last.iter().zip(&alone) {
                assert!(distance(each, &alone[i]) <= 2e-5, "{name}: step {i}");
            }
            let mut next: Vec<_> =
                conversations.iter_mut().zip(&last).map(|(c, logits)| (c, likeliest(logits))).collect();
            last = session.decode(&mut next).expect("logits");
        }
    }
}

/// The cache of a layer with a window goes around: positions far beyond its columns, in passes of several sizes.
#[test]
fn windows_rotate() {
    let seq = 1100;
    for name in ["mistral", "gemma2", "qwen2_window"] {
        let model = open_model(&folder(name), None).expect(name);
        let mut session = long_session(&model, seq, Precision::F32, 2);
        let tokens: Vec<u32> = (0..seq as u32).map(|i| (i * i + 7 * i) % model.config.vocab as u32).collect();
        let mut conversation = session.conversation();
        let (first, second) = (700, 1000);
        let mut got = vec![session.prefill(&mut conversation, &tokens[..first]).expect("logits")];
        got.push(session.prefill(&mut conversation, &tokens[first..second]).expect("logits"));
        for &token in &tokens[second..] {
            got.append(&mut session.decode(&mut [(&mut conversation, token)]).expect("logits"));
        }
        let network = network(&model, seq, Precision::F32);
        let whole = network.logits(&[&tokens[..], &[0]].concat()).expect("logits");
        let at =
            |position: usize| -> Vec<f32> { whole.iter().skip(position).step_by(seq).copied().collect() };
        let ends = [first, second].into_iter().chain(second + 1..=seq);
        for (logits, end) in got.iter().zip(ends) {
            assert!(distance(logits, &at(end - 1)) <= 2e-5, "{name}: {end} tokens");
        }
        let kept = session.truncate(&mut conversation, seq - 50);
        assert_eq!(kept, seq - 50, "{name}");
        let logits = session.prefill(&mut conversation, &tokens[kept..kept + 20]).expect("logits");
        assert!(distance(&logits, &at(kept + 19)) <= 2e-5, "{name}: after a cut");
        assert_eq!(session.truncate(&mut conversation, 30), 0, "{name}: the keys of the window are gone");
    }
}

/// Matrices kept in 8 and 4 bits give the bits of the same numbers in half precision, whatever the number of conversations; a matrix
/// that was changed since is not read from its file.
#[test]
fn matrices_in_few_bits_have_the_bits_of_half_precision() {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, dtype) in [
        ("llama_bias", WeightType::Q8_0),
        ("mistral", WeightType::Q4_0),
        ("gemma", WeightType::Q4_0),
        ("qwen2", WeightType::Q8_0),
    ] {
        let path = dir.path().join(format!("{name}.gguf"));
        let options = ExportOptions { to: Target::Gguf, dtype, shard_size: None, tokenizer: None };
        export(&folder(name), &path, &options).expect(name);
        let mut model = open_model(&path, None).expect(name);
        let quantised = open_quantised(&path).expect(name);
        assert!(quantised.len() > 2 * model.config.layers, "{name}: {} matrices", quantised.len());
        let open = |model: &Model, quantised: &QuantWeights| {
            let pool = Pool::new(2).expect("threads");
            let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("an engine");
            let weights = ModelWeights { theta: &model.params, quantised: quantised.clone() };
            Session::new(&config(model, SEQ), weights, device, pool, (Precision::F16, false)).expect(name)
        };
        let run = |session: &mut Session, count: usize| {
            let prompt = prompt(model.config.vocab);
            let mut conversations: Vec<_> = (0..count).map(|_| session.conversation()).collect();
            let each = conversations.iter_mut().enumerate();
            let mut logits: Vec<_> =
                each.map(|(i, c)| session.prefill(c, &prompt[i..]).expect("logits")).collect();
            for _ in 0..5 {
                let mut next: Vec<_> =
                    conversations.iter_mut().zip(&logits).map(|(c, logits)| (c, likeliest(logits))).collect();
                logits = session.decode(&mut next).expect("logits");
            }
            logits.concat()
        };
        let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let (mut kept, mut wide) = (open(&model, &quantised), open(&model, &QuantWeights::new()));
        assert!(kept.weight_bytes().1 < wide.weight_bytes().1, "{name}: nothing is kept");
        for count in [1, 3, 6, 12] {
            assert_eq!(bits(&run(&mut kept, count)), bits(&run(&mut wide, count)), "{name}: {count} at once");
        }
        model.params.iter_mut().for_each(|x| *x *= 1.25);
        let (mut kept, mut wide) = (open(&model, &quantised), open(&model, &QuantWeights::new()));
        assert_eq!(kept.weight_bytes(), wide.weight_bytes(), "{name}: other numbers are kept");
        assert_eq!(bits(&run(&mut kept, 1)), bits(&run(&mut wide, 1)), "{name}: changed");
    }
}

/// What is forgotten leaves no trace; windows that no longer have their keys say so.
#[test]
fn a_conversation_can_be_cut() {
    for name in ["llama_bias", "gemma3"] {
        let model = open_model(&folder(name), None).expect(name);
        let mut session = session(&model, Precision::F32, 1);
        let prompt = prompt(model.config.vocab);
        let mut conversation = session.conversation();
        session.prefill(&mut conversation, &prompt).expect("logits");
        let want = {
            let mut fresh = session.conversation();
            session.prefill(&mut fresh, &[&prompt[..10], &[1, 2]].concat()).expect("logits")
        };
        assert_eq!(session.truncate(&mut conversation, 10), 10);
        let got = session.prefill(&mut conversation, &[1, 2]).expect("logits");
        assert!(distance(&got, &want) <= 2e-5, "{name}");
    }
}

/// The bits do not depend on the number of threads.
#[test]
fn threads_do_not_matter() {
    let model = open_model(&folder("gemma2"), None).expect("a model");
    let of_threads = |threads: usize| {
        let mut session = session(&model, Precision::F16, threads);
        let mut conversation = session.conversation();
        let mut logits = session.prefill(&mut conversation, &prompt(model.config.vocab)).expect("logits");
        for _ in 0..20 {
            let next = likeliest(&logits);
            logits = session.decode(&mut [(&mut conversation, next)]).expect("logits").remove(0);
        }
        logits.iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
    };
    let one = of_threads(1);
    assert_eq!(of_threads(2), one);
    assert_eq!(of_threads(3), one);
}

#[test]
fn more_tokens_than_positions_are_refused() {
    let model = open_model(&folder("qwen2"), None).expect("a model");
    let mut session = session(&model, Precision::F16, 1);
    let mut conversation = session.conversation();
    let error = session.prefill(&mut conversation, &[1; SEQ + 1]).expect_err("too many");
    assert!(matches!(error, StepError::Context { want: SEQ, got } if got > SEQ), "{error}");
    session.prefill(&mut conversation, &[1; 3]).expect("logits");
    assert!(session.prefill(&mut conversation, &[model.config.vocab as u32]).is_err());
    assert_eq!(conversation.tokens(), [1; 3], "a refused token is not added");
}
