//! Keys of architectures: what they mean, and what is refused.

use super::{parse_json, refusal};
use crate::config::*;

#[test]
fn plain_rope_may_be_named_and_broken_scaling_is_refused() {
    let with = |keys: &str| {
        let text = ModelConfig::preset("tiny").unwrap().to_hugging_face();
        parse_json(&text.replacen('{', &format!("{{{keys},"), 1))
    };
    for plain in ["null", r#"{"rope_type": "default"}"#, r#"{"type": "default"}"#] {
        assert!(with(&format!("\"rope_scaling\": {plain}")).is_ok(), "{plain}");
    }
    for (scaled, want) in [
        (r#"{"rope_type": "ntk", "factor": 4.0}"#, "`rope_scaling.rope_type` = \"ntk\" is not supported"),
        (r#"{"type": "linear"}"#, "`rope_scaling.factor` is missing"),
        (r#"{"type": "linear", "factor": -1}"#, "`rope_scaling.factor` = -1 is not a positive number"),
        (
            r#"{"type": "linear", "factor": 4, "beta": 2}"#,
            "`rope_scaling.beta` = 2 is not a setting of RoPE of type `linear`",
        ),
        (
            r#"{"type": "longrope", "short_factor": [2], "long_factor": [1]}"#,
            "`short_factor` has 1 numbers, and a head has 8",
        ),
        (
            r#"{"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1}"#,
            "is not above `low_freq_factor`",
        ),
        (r#""yarn""#, "`rope_scaling` = \"yarn\" is not an object"),
    ] {
        let refused = refusal(with(&format!("\"rope_scaling\": {scaled}")));
        assert!(refused.contains(want), "{refused}\n should say: {want}");
    }
}

#[test]
fn keys_that_change_what_a_model_computes_are_never_ignored() {
    let with = |keys: &str| {
        let text = ModelConfig::preset("tiny").unwrap().to_hugging_face();
        parse_json(&text.replacen('{', &format!("{{{keys},"), 1))
    };
    for (key, value) in [
        ("num_experts", "60"),
        ("moe_intermediate_size", "768"),
        ("quantization_config", r#"{"bits": 4}"#),
        ("embedding_multiplier", "12.0"),
        ("logits_scaling", "8"),
        ("partial_rotary_factor", "0.5"),
        ("rope_interleaved", "true"),
        ("vision_config", r#"{"depth": 2}"#),
        ("hidden_activation", "\"relu\""),
        ("is_encoder_decoder", "true"),
        ("auto_map", r#"{"AutoModelForCausalLM": "modeling.Model"}"#),
        ("compression_config", r#"{"format": "pack"}"#),
        ("query_pre_attn_scalar", "256"),
    ] {
        let refused = refusal(with(&format!("\"{key}\": {value}")));
        assert!(refused.contains(&format!("`{key}` = ")), "{refused}");
    }
    for keys in [
        r#""loss": 5.1, "adamw": {"lr": 0.001}, "my_note": "a model", "_attn_implementation": "eager""#,
        r#""attention_dropout": 0.1, "resid_pdrop": 0.1, "initializer_range": 0.02, "output_attentions": true, "use_cache": true"#,
        r#""num_local_experts": null, "sliding_window": null, "mlp_bias": false, "residual_multiplier": 1.0"#,
        r#""transformers.js_config": {"dtype": "q4"}, "is_llama_config": true, "rope_interleaved": false"#,
    ] {
        assert_eq!(with(keys).unwrap(), ModelConfig::preset("tiny").unwrap(), "{keys}");
    }
}

#[test]
fn biases_are_read_and_written_with_the_type_that_has_them() {
    for (model_type, keys, bias) in [
        ("llama", r#""attention_bias": true"#, Bias { qkv: true, out: true, mlp: false }),
        ("llama", r#""mlp_bias": true"#, Bias { mlp: true, ..Bias::default() }),
        ("qwen2", r#""rms_norm_eps": 1e-5"#, Bias { qkv: true, ..Bias::default() }),
        ("qwen3", r#""attention_bias": true"#, Bias { qkv: true, out: true, mlp: false }),
    ] {
        let text = format!(
            r#"{{"model_type": "{model_type}", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "vocab_size": 48, {keys}}}"#
        );
        let config = parse_json(&text).unwrap();
        assert_eq!(config.variant.bias, bias, "{text}");
        let specs = config.params();
        assert_eq!(specs.last().map(|spec| spec.range().end), Some(config.param_count()), "{text}");
        assert_eq!(specs.iter().any(|s| s.name == "model.layers.1.self_attn.o_proj.bias"), bias.out);
        let written = config.to_hugging_face();
        assert!(written.contains(&format!("\"model_type\": \"{model_type}\"")), "{written}");
        assert_eq!(parse_json(&written).unwrap(), config);
    }
}

#[test]
fn scaled_rope_is_read_and_written_back() {
    for scaled in [
        r#"{"type": "linear", "factor": 4.0}"#,
        r#"{"rope_type": "dynamic", "factor": 2.0}"#,
        r#"{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 20}"#,
        r#"{"rope_type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": false}"#,
        r#"{"type": "longrope", "short_factor": [1,1,1,1,2,2,2,2], "long_factor": [1,2,3,4,5,6,7,8], "factor": 4}"#,
    ] {
        let text = ModelConfig::preset("tiny").unwrap().to_hugging_face();
        let one = parse_json(&text.replacen('{', &format!("{{\"rope_scaling\": {scaled},"), 1)).unwrap();
        assert_ne!(one.variant.scaling, RopeScaling::Default, "{scaled}");
        assert_eq!(parse_json(&one.to_hugging_face()).unwrap(), one, "{scaled}");
        // The form of transformers 5.
        let inside = scaled.replacen('{', r#"{"rope_theta": 777.0, "#, 1);
        let two = parse_json(&text.replacen('{', &format!("{{\"rope_parameters\": {inside},"), 1)).unwrap();
        assert_eq!((two.variant.scaling, two.rope.theta), (one.variant.scaling, 777.0));
    }
}

/// A configuration of type `model_type` with four layers.
fn four_layers(model_type: &str, keys: &str) -> String {
    format!(
        r#"{{"model_type": "{model_type}", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
        "num_attention_heads": 4, "head_dim": 8, "vocab_size": 48, "max_position_embeddings": 64, {keys}}}"#
    )
}

#[test]
fn layers_have_the_windows_and_positions_that_transformers_gives_them() {
    let (all, none) = (LayerKind::PLAIN, LayerKind { rope: LayerRope::None, ..LayerKind::PLAIN });
    let near = LayerKind { window: Some(8), ..all };
    let both = LayerKind { window: Some(8), ..none };
    for (model_type, keys, want) in [
        ("mistral", r#""sliding_window": 8"#, vec![near; 4]),
        ("mistral", r#""sliding_window": null"#, vec![]),
        ("qwen2", r#""sliding_window": 8, "use_sliding_window": false, "max_window_layers": 2"#, vec![]),
        (
            "qwen2",
            r#""sliding_window": 8, "use_sliding_window": true, "max_window_layers": 3"#,
            vec![all, all, all, near],
        ),
        ("qwen3", r#""sliding_window": 8, "use_sliding_window": true"#, vec![]),
        (
            "qwen3",
            r#""sliding_window": 8, "use_sliding_window": true, "layer_types":
            ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]"#,
            vec![near, all, all, near],
        ),
        ("smollm3", r#""rms_norm_eps": 1e-6"#, vec![all, all, all, none]),
        ("smollm3", r#""no_rope_layer_interval": 2"#, vec![all, none, all, none]),
        (
            "smollm3",
            r#""no_rope_layers": [0, 1, 1, 1], "no_rope_layer_interval": 2"#,
            vec![none, all, all, all],
        ),
        ("smollm3", r#""use_sliding_window": true, "sliding_window": 8"#, vec![all, all, all, both]),
    ] {
        let config = parse_json(&four_layers(model_type, keys)).unwrap();
        assert_eq!(config.variant.layers, want, "{model_type} {keys}");
        assert_eq!(parse_json(&config.to_hugging_face()).unwrap(), config, "{model_type} {keys}");
    }
    let smol = parse_json(&four_layers("smollm3", r#""rms_norm_eps": 1e-6"#)).unwrap();
    assert_eq!((smol.rope.theta, smol.tied), (2e6, true));
    let (kinds, of_layers) = smol.layer_kinds();
    assert_eq!((kinds, of_layers), (vec![all, none], vec![0, 0, 0, 1]));
    // A window that no position reaches beyond is none.
    let mistral = parse_json(&four_layers("mistral", r#""sliding_window": 64"#)).unwrap();
    assert_eq!(mistral.layer_kinds().0, [all]);
    assert_eq!(ModelConfig { seq: 65, ..mistral }.layer_kinds().0, [LayerKind { window: Some(64), ..all }]);
}

#[test]
fn layers_that_cannot_be_are_refused_by_the_name_of_the_key() {
    for (model_type, keys, want) in [
        ("mistral", r#""sliding_window": 0"#, "`sliding_window` is 0"),
        (
            "llama",
            r#""layer_types": ["full_attention"]"#,
            "`layer_types` = [\"full_attention\"] is not a setting of `llama`",
        ),
        (
            "qwen3",
            r#""layer_types": ["full_attention"]"#,
            "`layer_types` has 1 entries, and `num_hidden_layers` is 4",
        ),
        (
            "qwen2",
            r#""layer_types": ["full_attention", "linear_attention", "full_attention", "full_attention"]"#,
            "`layer_types` has \"linear_attention\", which is not supported",
        ),
        (
            "qwen2",
            r#""layer_types": ["full_attention", "full_attention", "full_attention", "sliding_attention"]"#,
            "`layer_types` says that layer 3 has a window, and there is no `sliding_window`",
        ),
        ("smollm3", r#""no_rope_layers": [1]"#, "`no_rope_layers` has 1 entries"),
        ("smollm3", r#""no_rope_layer_interval": 0"#, "`no_rope_layer_interval` is 0"),
        ("qwen2", r#""attention_bias": true"#, "`attention_bias` = true is not a setting of `qwen2` models"),
    ] {
        let refused = refusal(parse_json(&four_layers(model_type, keys)));
        assert!(refused.contains(want), "{refused}\n should say: {want}");
    }
}

#[test]
fn gemma_has_the_settings_that_transformers_gives_it() {
    let read = |model_type: &str, keys: &str| parse_json(&four_layers(model_type, keys)).unwrap();
    let near = |rope| LayerKind { window: Some(8), rope };
    let cases = [
        read("gemma", r#""hidden_act": "gelu", "hidden_activation": null"#),
        read("gemma2", r#""sliding_window": 8, "query_pre_attn_scalar": 24"#),
        read(
            "gemma2",
            r#""sliding_window": null, "attn_logit_softcapping": null, "final_logit_softcapping": 3.5"#,
        ),
        read(
            "gemma3_text",
            r#""sliding_window": 8, "sliding_window_pattern": 3, "rope_scaling": {"type": "linear", "factor": 8}"#,
        ),
        read(
            "gemma3_text",
            r#""sliding_window": 8, "layer_types": ["full_attention", "sliding_attention", "full_attention", "full_attention"],
            "rope_parameters": {"full_attention": {"rope_theta": 5e5},
            "sliding_attention": {"rope_type": "linear", "factor": 2, "rope_theta": 2e4}}"#,
        ),
    ];
    for config in &cases {
        assert_eq!(parse_json(&config.to_hugging_face()).unwrap(), *config, "{}", config.to_hugging_face());
        assert!(config.tied && config.variant.activation == Activation::GeluTanh);
        assert_eq!(config.embedding_scale(), 32f32.sqrt());
        assert_eq!(config.params().last().map(|spec| spec.range().end), Some(config.param_count()));
    }
    let variants: Vec<&Variant> = cases.iter().map(|config| &config.variant).collect();
    let all = LayerKind::PLAIN;
    assert_eq!(variants[1].layers, [near(LayerRope::Global), all, near(LayerRope::Global), all]);
    let bounds = |v: &Variant| (v.query_scalar, v.score_cap, v.logit_cap);
    assert_eq!(bounds(variants[1]), (Some(24.0), Some(50.0), Some(30.0)));
    assert_eq!(bounds(variants[2]), (Some(256.0), None, Some(3.5)));
    assert_eq!((variants[2].layers.len(), bounds(variants[0])), (0, (None, None, None)));
    let local = near(LayerRope::Local);
    assert_eq!(variants[3].layers, [local, local, all, local]);
    assert_eq!(variants[3].scaling, RopeScaling::Linear { factor: 8.0 });
    assert_eq!(
        (cases[3].rope.theta, variants[3].local_rope.clone()),
        (1e6, Some((1e4, RopeScaling::Default)))
    );
    assert_eq!(variants[4].layers, [all, local, all, all]);
    assert_eq!(
        (cases[4].rope.theta, variants[4].local_rope.clone()),
        (5e5, Some((2e4, RopeScaling::Linear { factor: 2.0 })))
    );

    for (model_type, keys, want) in [
        (
            "gemma3_text",
            r#""attn_logit_softcapping": 50.0"#,
            "`attn_logit_softcapping` = 50 is not supported",
        ),
        (
            "gemma3_text",
            r#""rope_parameters": {"rope_theta": 1e4}"#,
            "`rope_parameters.rope_theta` = 10000.0 is not supported",
        ),
        (
            "gemma2",
            r#""use_bidirectional_attention": true"#,
            "`use_bidirectional_attention` = true is not supported",
        ),
        (
            "gemma2",
            r#""hidden_act": "silu", "hidden_activation": "gelu_pytorch_tanh""#,
            "and `hidden_act` = \"silu\"",
        ),
        ("gemma2", r#""query_pre_attn_scalar": -1"#, "`query_pre_attn_scalar` = -1 is not a positive number"),
        ("llama", r#""hidden_act": "gelu""#, "`hidden_act` = \"gelu\" is not supported"),
        ("gemma3", r#""vision_config": {"depth": 2}"#, "`model_type` = \"gemma3\" is not supported"),
    ] {
        let refused = refusal(parse_json(&four_layers(model_type, keys)));
        assert!(refused.contains(want), "{refused}\n should say: {want}");
    }
}

#[test]
fn keys_are_known_by_their_whole_names() {
    let text = |keys: &str| {
        ModelConfig::preset("tiny").unwrap().to_hugging_face().replacen('{', &format!("{{{keys},"), 1)
    };
    let unknown = |keys: &str| {
        let all = serde_json::from_str::<serde_json::Value>(&text(keys)).unwrap();
        let names = unknown_keys(all.as_object().unwrap());
        names.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let fine = r#""num_beams": 4, "attention_dropout": 0.1, "id2label": {"0": "L"}, "my_switch": false, "my_factor": 1.0"#;
    assert!(parse_json(&text(fine)).is_ok());
    assert_eq!(unknown(fine), [""; 0]);
    // Parts of these names are names of parts of models.
    let noted = r#""head_of_department": "her", "final_state": 3, "loss": 5.1"#;
    assert!(parse_json(&text(noted)).is_ok());
    assert_eq!(unknown(noted), ["head_of_department", "final_state", "loss"]);
    for key in
        ["logits_scaling", "residual_multiplier", "num_kv_shared_layers", "rotary_pct", "mlp_gate_softcap"]
    {
        let refused = refusal(parse_json(&text(&format!("\"{key}\": 8.5"))));
        assert!(refused.contains(&format!("`{key}` = 8.5 is not supported")), "{refused}");
    }
}
