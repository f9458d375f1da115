//! Tests of sampling.

use super::*;

fn draw(sampler: &mut Sampler, logits: &[f32], times: usize) -> Vec<u32> {
    (0..times).map(|_| sampler.next(logits).unwrap().token).collect()
}

fn of(temperature: f64, top_p: f64, seed: u64) -> Result<Sampler, SampleError> {
    Sampler::new(SamplingOptions { temperature, top_p, seed, ..SamplingOptions::default() })
}

#[test]
fn temperature_zero_is_greedy_and_the_lowest_of_equals() {
    let mut sampler = of(0.0, 1.0, 1).unwrap();
    assert_eq!(sampler.next(&[1.0, 3.0, 3.0, f32::NEG_INFINITY]).unwrap().token, 1);
    assert_eq!(sampler.next(&[-5.0]), Ok(Sampled { token: 0, logprob: 0.0 }));
}

#[test]
fn frequencies_are_the_probabilities() {
    // Probabilities 1/7, 2/7, 4/7 at temperature 1; squared and normalised, 1/21, 4/21, 16/21, at ½.
    let logits = [0.0, 2f32.ln(), 4f32.ln(), f32::NEG_INFINITY];
    for (temperature, want) in [(1.0, [1.0 / 7.0, 2.0 / 7.0]), (0.5, [1.0 / 21.0, 4.0 / 21.0])] {
        let drawn = draw(&mut of(temperature, 1.0, 3).unwrap(), &logits, 40_000);
        assert!(drawn.iter().all(|&token| token < 3));
        for (token, want) in (0..).zip(want) {
            let share = drawn.iter().filter(|&&d| d == token).count() as f64 / 40_000.0;
            // Four standard deviations of a share of 40 000 draws are at most 0.01.
            assert!((share - want).abs() < 0.01, "token {token}: {share}, not {want}");
        }
    }
}

#[test]
fn top_p_keeps_the_fewest_tokens_that_reach_it() {
    // Probabilities 0.1, 0.4, 0.4, 0.1.
    let logits = [0.0, 4f32.ln(), 4f32.ln(), 0.0];
    for (top_p, allowed) in
        [(0.01, vec![1]), (0.5, vec![1, 2]), (0.85, vec![0, 1, 2]), (1.0, vec![0, 1, 2, 3])]
    {
        let mut drawn = draw(&mut of(1.0, top_p, 9).unwrap(), &logits, 300);
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, allowed, "top-p {top_p}");
    }
}

#[test]
fn a_seed_gives_the_same_tokens_everywhere() {
    let logits: Vec<f32> = (0..50).map(|i| (i % 7) as f32 * 0.3).collect();
    let of_seed = |seed| draw(&mut of(0.9, 0.95, seed).unwrap(), &logits, 8);
    assert_eq!(of_seed(1), of_seed(1));
    assert_ne!(of_seed(1), of_seed(2));
}

#[test]
fn extreme_temperatures_stay_in_range() {
    let logits = [f32::MIN, -1.0, f32::MAX];
    assert_eq!(draw(&mut of(1e-300, 0.9, 1).unwrap(), &logits, 5), [2; 5]);
    let hot = draw(&mut of(1e300, 1.0, 1).unwrap(), &logits, 200);
    assert!([0, 1, 2].iter().all(|token| hot.contains(token)));
}

#[test]
fn invalid_logits_and_options_are_refused() {
    let mut sampler = of(1.0, 0.9, 0).unwrap();
    let refused = sampler.next(&[0.0, f32::NAN]).unwrap_err();
    assert_eq!(refused.to_string(), "the model's logit for token 1 is NaN");
    assert_eq!(sampler.next(&[f32::INFINITY]), Err(SampleError::Logit { token: 0, got: f32::INFINITY }));
    assert_eq!(sampler.next(&[f32::NEG_INFINITY; 3]), Err(SampleError::Nothing { vocab: 3 }));
    assert_eq!(sampler.next(&[]), Err(SampleError::Nothing { vocab: 0 }));
    assert!(matches!(of(-1.0, 1.0, 0), Err(SampleError::Temperature { .. })));
    assert!(matches!(of(f64::NAN, 1.0, 0), Err(SampleError::Temperature { .. })));
    assert!(matches!(of(1.0, 0.0, 0), Err(SampleError::TopP { .. })));
    assert!(matches!(of(1.0, 1.5, 0), Err(SampleError::TopP { .. })));
}

#[test]
fn top_k_keeps_that_many_and_the_lowest_of_equals() {
    let logits = [1.0, 3.0, 2.0, 3.0, 3.0];
    for (top_k, allowed) in [(1, vec![1]), (2, vec![1, 3]), (4, vec![1, 2, 3, 4]), (9, vec![0, 1, 2, 3, 4])] {
        let options = SamplingOptions { temperature: 1.0, top_k, ..SamplingOptions::default() };
        let mut drawn = draw(&mut Sampler::new(options).unwrap(), &logits, 400);
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, allowed, "top-k {top_k}");
    }
}

#[test]
fn many_equal_tokens_are_all_kept_by_top_p() {
    let logits = vec![0.0; 5000];
    let options = SamplingOptions { temperature: 1.0, top_p: 0.5, ..SamplingOptions::default() };
    let mut sampler = Sampler::new(options).unwrap();
    sampler.filter(&logits, 0.0);
    assert_eq!(sampler.candidates.len(), 2500);
    assert!(sampler.candidates.iter().all(|&(token, _)| token < 2500));
}

/// Probabilities of transformers' processors, and those of the formulas for presence and frequency: `tests/sampling/record.py`.
#[test]
fn probabilities_are_those_of_transformers() {
    let recorded = include_str!("../../../../tests/sampling/expected.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(recorded).unwrap();
    assert!(cases.len() >= 12);
    for case in cases {
        let number = |key: &str, default: f64| case["options"][key].as_f64().unwrap_or(default);
        let list = |key: &str| case[key].as_array().unwrap().clone();
        let ids = |key: &str| list(key).iter().map(|x| x.as_u64().unwrap() as u32).collect::<Vec<_>>();
        let bias = case["options"]["logit_bias"].as_array().cloned().unwrap_or_default();
        let options = SamplingOptions {
            temperature: number("temperature", 1.0),
            top_k: number("top_k", 0.0) as usize,
            top_p: number("top_p", 1.0),
            min_p: number("min_p", 0.0),
            repetition_penalty: number("repetition_penalty", 1.0),
            presence_penalty: number("presence_penalty", 0.0),
            frequency_penalty: number("frequency_penalty", 0.0),
            logit_bias: bias
                .iter()
                .map(|pair| (pair[0].as_u64().unwrap() as u32, pair[1].as_f64().unwrap() as f32))
                .collect(),
            seed: 0,
        };
        let mut sampler = Sampler::new(options).unwrap();
        sampler.note_prompt(&ids("prompt"));
        ids("text").iter().for_each(|&token| *sampler.seen.entry(token).or_insert(0) += 1);
        let mut logits: Vec<f32> = list("logits").iter().map(|x| x.as_f64().unwrap() as f32).collect();
        sampler.change(&mut logits).unwrap();
        let (_, largest) = likeliest(&logits).unwrap();
        sampler.filter(&logits, largest);
        let total: f64 = sampler.candidates.iter().map(|c| c.1).sum();
        let mut got = vec![0.0; logits.len()];
        sampler.candidates.iter().for_each(|&(token, weight)| got[token as usize] = weight / total);
        for (token, (got, want)) in got.iter().zip(list("probabilities")).enumerate() {
            // transformers computes in f32.
            let want = want.as_f64().unwrap();
            assert!((got - want).abs() < 1e-6, "{}: token {token} has {got}, not {want}", case["options"]);
        }
    }
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let refused = |options: SamplingOptions| Sampler::new(options).unwrap_err().to_string();
    let default = SamplingOptions::default;
    let error = refused(SamplingOptions { min_p: 1.5, ..default() });
    assert_eq!(error, "min-p 1.5 is invalid: it must be from 0 to 1");
    let error = refused(SamplingOptions { repetition_penalty: 0.0, ..default() });
    assert_eq!(error, "the repetition penalty 0 is invalid: it must be above 0");
    assert!(refused(SamplingOptions { presence_penalty: f64::NAN, ..default() }).contains("presence"));
    assert!(refused(SamplingOptions { logit_bias: vec![(0, f32::NAN)], ..default() }).contains("bias"));
    let mut sampler = Sampler::new(SamplingOptions { logit_bias: vec![(7, 1.0)], ..default() }).unwrap();
    let error = sampler.next(&[0.0; 3]).unwrap_err();
    assert_eq!(error.to_string(), "the logit bias of token 7: the model has 3 tokens");
}

#[test]
fn a_bias_rules_out_and_forces() {
    let logits = [5.0, 1.0, 0.0];
    let of_bias = |logit_bias| {
        let options = SamplingOptions { logit_bias, ..SamplingOptions::default() };
        Sampler::new(options).unwrap().next(&logits).unwrap()
    };
    assert_eq!(of_bias(vec![(0, f32::NEG_INFINITY)]).token, 1);
    let forced = of_bias(vec![(2, 100.0)]);
    // The probability is the model's own.
    assert!(forced.token == 2 && (forced.logprob - logprob(&logits, 2)).abs() < 1e-12);
}
