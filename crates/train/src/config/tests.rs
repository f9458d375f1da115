mod variants;

use super::*;
use crate::error::TrainError;
use proptest::prelude::*;
use std::path::Path;

fn parse_json(text: &str) -> Result<ModelConfig, TrainError> {
    ModelConfig::from_json(text).map_err(|problem| problem.in_file(Path::new("m.json")))
}

fn parse_toml(text: &str) -> Result<ModelConfig, TrainError> {
    short::from_toml(text).map_err(|problem| problem.in_file(Path::new("m.toml")))
}

/// Message and hint of a refusal, as the command line prints them.
fn refusal(result: Result<ModelConfig, TrainError>) -> String {
    let error = result.expect_err("an impossible configuration must be refused");
    format!("{error}\nhint: {}", error.hint().unwrap_or_default())
}

#[test]
fn presets_are_valid_and_have_their_published_sizes() {
    let weights: Vec<_> = PRESETS
        .iter()
        .map(|name| {
            let config = ModelConfig::preset(name).unwrap();
            config.validate().unwrap();
            assert_eq!(ModelConfig::find(name).unwrap(), config);
            (*name, config.param_count())
        })
        .collect();
    // 15,191,712 and 109,529,856 are what llama2.c's stories15M.bin and stories110M.bin hold.
    assert_eq!(
        weights,
        [
            ("tiny", 94_528),
            ("shakespeare", 2_164_672),
            ("layer768", 7_079_424),
            ("stories15m", 15_191_712),
            ("stories42m", 41_689_600),
            ("stories110m", 109_529_856),
        ]
    );
}

#[test]
fn the_parameter_table_has_no_gaps_and_counts_as_the_formula() {
    let mut qwen = ModelConfig::preset("tiny").unwrap();
    (qwen.qk_norm, qwen.tied, qwen.head_dim) = (true, false, 32);
    for config in PRESETS.iter().filter_map(|name| ModelConfig::preset(name)).chain([qwen]) {
        let mut offset = 0;
        for spec in config.params() {
            assert_eq!(spec.offset, offset, "{}", spec.name);
            assert_eq!(spec.decay, spec.shape.len() >= 2, "{}", spec.name);
            offset = spec.range().end;
        }
        assert_eq!(offset, config.param_count());
    }
}

#[test]
fn initial_weights_have_the_stated_spread_and_depend_on_the_seed_alone() {
    let config = ModelConfig::preset("tiny").unwrap();
    let params = init_params(&config, 1);
    assert_eq!(params, init_params(&config, 1));
    assert_ne!(params, init_params(&config, 2));
    for spec in config.params() {
        let chunk = &params[spec.range()];
        let n = chunk.len() as f64;
        let mean = chunk.iter().map(|&w| f64::from(w)).sum::<f64>() / n;
        let std = (chunk.iter().map(|&w| (f64::from(w) - mean).powi(2)).sum::<f64>() / n).sqrt();
        match spec.init {
            Init::Zeros => assert!(chunk.iter().all(|&w| w == 0.0)),
            Init::Ones => assert!(chunk.iter().all(|&w| w == 1.0)),
            // Four standard errors of mean and standard deviation of n normal numbers.
            Init::Normal { std: want } => {
                let want = f64::from(want);
                assert!(mean.abs() < 4.0 * want / n.sqrt(), "{}: mean {mean}", spec.name);
                assert!((std / want - 1.0).abs() < 4.0 / (2.0 * n).sqrt(), "{}: std {std}", spec.name);
            }
            Init::Uniform { .. } => panic!("a language model has no uniform weights"),
        }
    }
    let layer = ModelConfig::preset("layer768").unwrap();
    let limit = 1.0 / 768f32.sqrt();
    let largest =
        init_params(&layer, 3)[768..].iter().fold(0f32, |m, w| if *w < 1.0 { m.max(w.abs()) } else { m });
    assert!(largest <= limit && largest > 0.999 * limit, "{largest} is not just below {limit}");
}

#[test]
fn impossible_values_are_refused_with_key_values_and_remedy() {
    let hf = |from: &str, to: &str| {
        let text = ModelConfig::preset("tiny").unwrap().to_hugging_face();
        assert!(text.contains(from));
        refusal(parse_json(&text.replace(from, to)))
    };
    assert_eq!(
        hf(r#""num_key_value_heads": 2"#, r#""num_key_value_heads": 3"#),
        "`m.json`: `num_attention_heads` = 4 is not a multiple of `num_key_value_heads` = 3, so the query heads \
         cannot share the key/value heads evenly\nhint: Set `num_key_value_heads` to one of 1, 2, 4."
    );
    assert_eq!(
        hf(r#""head_dim": 16"#, r#""head_dim": 15"#),
        "`m.json`: `head_dim` = 15 is odd, and RoPE turns channels in pairs\nhint: Make `head_dim` even, or set \
         `rope` to \"none\"."
    );
    assert_eq!(
        hf(r#""hidden_size": 64"#, r#""hidden_size": 0"#),
        "`m.json`: `hidden_size` is 0\nhint: Set `hidden_size` to 1 or more."
    );
    assert_eq!(
        hf(r#""vocab_size": 320"#, r#""vocab_size": 4294967297"#),
        "`m.json`: `vocab_size` = 4294967297 does not fit 32-bit token ids\nhint: Set `vocab_size` to 4294967296 \
         or less."
    );
    assert_eq!(
        hf(r#""hidden_size": 64"#, r#""hidden_size": 18446744073709551615"#),
        "`m.json`: `hidden_size` = 18446744073709551615 is more than the 1048576 this program handles\nhint: Set \
         `hidden_size` to 1048576 or less."
    );
    assert_eq!(
        hf(r#""rms_norm_eps": 0.00001"#, r#""rms_norm_eps": 0.0"#),
        "`m.json`: `rms_norm_eps` = 0 is not a positive number of 32-bit range\nhint: Set `rms_norm_eps` to a \
         positive number; 1e-5 is usual."
    );
    assert_eq!(
        hf(r#""model_type": "llama""#, r#""model_type": "gpt2""#),
        "`m.json`: `model_type` = \"gpt2\" is not supported\nhint: Use a model of one of the types \
         `gemma`, `gemma2`, `gemma3_text`, `llama`, `mistral`, `qwen2`, `qwen3`, `smollm3`."
    );
    assert_eq!(
        hf(r#""attention_bias": false"#, r#""num_local_experts": 8"#),
        "`m.json`: `num_local_experts` = 8 is not supported\nhint: This program would compute another model without it. If \
         the model was trained without it, remove `num_local_experts`."
    );
    assert_eq!(
        hf(r#""attention_bias": false"#, r#""sliding_window": 4096"#),
        "`m.json`: `sliding_window` = 4096 is not a setting of `llama` models\nhint: Set `model_type` to a type that has it \
         (`mistral`, `qwen2`, `qwen3`, `smollm3`, `gemma2`, `gemma3_text`), or remove `sliding_window` if the model was trained without it."
    );
    assert_eq!(hf(r#""vocab_size": 320,"#, ""), "`m.json`: `vocab_size` is missing\nhint: Add `vocab_size`.");
    assert_eq!(
        refusal(parse_toml("preset = \"tiny\"\ndim = 1048576\nhidden = 1048576\nhead_dim = 1048576")),
        "`m.toml`: these sizes make 32985689620480 weights, this program handles 17179869184 at most\nhint: Make \
         `dim`, `hidden`, `layers` or `vocab` smaller."
    );
    assert_eq!(
        refusal(parse_toml("preset = \"layer768\"\nvocab = 5")),
        "`m.toml`: `vocab` = 5, but the regression task has no tokens\nhint: Set `vocab` to 0."
    );
    assert_eq!(
        refusal(parse_toml("preset = \"tiny\"\nheads = 5")),
        "`m.toml`: `dim` = 64 is not a multiple of `heads` = 5, and `head_dim` is not given\nhint: Make `dim` a \
         multiple of `heads`, or give `head_dim`."
    );
}

#[test]
fn syntax_errors_name_line_and_column() {
    assert_eq!(
        refusal(parse_toml("dim = 64\n  wdith = 3\n")),
        "`m.toml`, line 2, column 3: unknown field `wdith`, expected one of `preset`, `dim`, `hidden`, `layers`, \
         `heads`, `kv_heads`, `head_dim`, `vocab`, `seq`, `rms_eps`, `rope`, `rope_theta`, `qk_norm`, `tied`, \
         `task`\nhint: Correct the file at that place."
    );
    assert_eq!(
        refusal(parse_json("{\n  \"dim\": 64,\n  \"layers\": -1}")),
        "`m.json`, line 3, column 14: invalid value: integer `-1`, expected usize\nhint: Correct the file at that \
         place."
    );
    assert_eq!(
        refusal(parse_json("{\"hidden_size\": 64")),
        "`m.json`, line 1, column 18: this is not JSON: EOF while parsing an object\nhint: Correct the file at that place."
    );
    assert_eq!(
        refusal(parse_toml("preset = \"huge\"")),
        "`m.toml`: `preset` = \"huge\" is not a preset\nhint: Use one of tiny, shakespeare, layer768, stories15m, \
         stories42m, stories110m."
    );
    assert_eq!(
        refusal(ModelConfig::find("no-such-model")),
        "there is no model preset, file or folder `no-such-model`\nhint: Name a preset (tiny, shakespeare, \
         layer768, stories15m, stories42m, stories110m), a `.toml` or `.json` file, a GGUF file, or a folder with `config.json`."
    );
}

#[test]
fn short_files_start_from_a_preset_or_from_a_plain_llama() {
    let edited = parse_toml("preset = \"tiny\"\nlayers = 3\nrope = \"none\"").unwrap();
    let mut want = ModelConfig::preset("tiny").unwrap();
    (want.layers, want.rope.kind) = (3, RopeKind::None);
    assert_eq!(edited, want);

    let plain = parse_json(r#"{"dim": 96, "hidden": 256, "layers": 2, "heads": 6, "vocab": 300, "seq": 64}"#);
    let plain = plain.unwrap();
    assert_eq!((plain.kv_heads, plain.head_dim, plain.tied), (6, 16, true));
    assert_eq!(plain.rope, Rope { kind: RopeKind::RotateHalf, theta: 10_000.0 });
}

#[test]
fn a_difference_names_the_first_key() {
    let tiny = ModelConfig::preset("tiny").unwrap();
    assert_eq!(tiny.difference(&tiny), None);
    let other = ModelConfig { rms_eps: 1e-6, ..tiny.clone() };
    assert_eq!(tiny.difference(&other), Some(("rms_eps", "0.00001".into(), "0.000001".into())));
}

#[test]
fn fixture_configurations_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let read = |name: &str| ModelConfig::read(&folder.join(name)).unwrap();
    let gqa = read("llama_gqa.json");
    assert_eq!((gqa.kv_heads, gqa.tied, gqa.seq, gqa.qk_norm), (2, false, 64, false));
    assert_eq!(gqa.rope.kind, RopeKind::RotateHalf);
    let qwen = read("qwen3_tiny.json");
    assert_eq!((qwen.heads, qwen.kv_heads, qwen.head_dim, qwen.qk_norm), (8, 4, 32, true));
    assert_eq!((qwen.rms_eps, qwen.rope.theta), (1e-6, 1e6));
    assert!(read("llama_mha.json").tied);
}

proptest! {
    #[test]
    fn hugging_face_files_read_back_equal(
        (dim, hidden, layers, kv_heads, group, half_head) in
            (1usize..300, 1usize..300, 1usize..5, 1usize..5, 1usize..4, 1usize..40),
        (vocab, seq, qk_norm, tied) in (2usize..70_000, 1usize..5000, any::<bool>(), any::<bool>()),
        (eps, theta) in (1e-12f64..1.0, 1.0f64..1e7),
        rope in prop::sample::select(vec![RopeKind::Interleaved, RopeKind::RotateHalf, RopeKind::None]),
        task in prop::sample::select(vec![Task::Language, Task::Regression]),
    ) {
        let config = ModelConfig {
            dim, hidden, layers, heads: kv_heads * group, kv_heads, head_dim: 2 * half_head,
            vocab: if task == Task::Regression { 0 } else { vocab },
            seq, rms_eps: eps, rope: Rope { kind: rope, theta }, qk_norm, tied, task,
            variant: Variant::default(),
        };
        prop_assert_eq!(parse_json(&config.to_hugging_face()).unwrap(), config);
    }
}
