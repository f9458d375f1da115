use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use tempfile::tempdir;

use super::*;
use crate::config::{ModelConfig, init_params};
use crate::error::TrainError;

/// The smallest model with every kind of tensor.
fn small() -> ModelConfig {
    ModelConfig {
        dim: 8,
        hidden: 12,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        vocab: 10,
        qk_norm: true,
        tied: false,
        ..ModelConfig::preset("tiny").unwrap()
    }
}

fn state(step: u64) -> TrainState {
    TrainState {
        step,
        seed: u64::MAX,
        loss_scale: 256.0,
        tokens_seen: 1 << 60,
        last_val: Some(2.0f64.sqrt()),
        best_val: None,
        data: Some(DataMark { tokens: 77, fingerprint: u64::MAX - 1 }),
        settings: json!({"lr": 0.1 + 0.2, "schedule": "cosine", "steps": 400}),
        launch: Launch { model: Some("tiny".to_owned()), ..Launch::default() },
        measured: true,
    }
}

/// Numbers with every kind of bit pattern that must survive: negative zero, subnormal, the largest.
fn moments(config: &ModelConfig, seed: u64) -> Vec<f32> {
    let mut numbers = init_params(config, seed);
    numbers[..4].copy_from_slice(&[-0.0, 1e-45, f32::MAX, -f32::MAX]);
    numbers
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The repository's `tests/fixtures`.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// Writes tensors through the library, as other programs do.
fn write_foreign(path: &Path, tensors: &[ForeignTensor]) {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn le_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A tensor as another program writes it.
type ForeignTensor = (String, Dtype, Vec<usize>, Vec<u8>);

/// Every weight of `config` as a foreign tensor.
fn foreign_model(config: &ModelConfig, params: &[f32]) -> Vec<ForeignTensor> {
    let tensor = |spec: crate::config::ParamSpec| {
        let bytes = le_bytes(&params[spec.range()]);
        (spec.name, Dtype::F32, spec.shape, bytes)
    };
    config.params().into_iter().map(tensor).collect()
}

#[test]
fn weights_go_round_bit_for_bit_and_the_file_is_a_function_of_them() {
    let dir = tempdir().unwrap();
    let (path, config) = (dir.path().join("m.safetensors"), small());
    let params = moments(&config, 1);
    save_model(&path, &config, &params).unwrap();
    assert_eq!(bits(&load_model(&path, &config).unwrap()), bits(&params));
    let bytes = fs::read(&path).unwrap();
    save_model(&path, &config, &params).unwrap();
    assert!(bytes == fs::read(&path).unwrap());

    // Other programs see names, shapes and the format entry.
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let q = tensors.tensor("model.layers.1.self_attn.q_proj.weight").unwrap();
    assert_eq!((q.dtype(), q.shape()), (Dtype::F32, &[16, 8][..]));
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
}

#[test]
fn half_precision_weights_are_widened_exactly() {
    let dir = tempdir().unwrap();
    let (path, config) = (dir.path().join("m.safetensors"), small());
    let params = init_params(&config, 2);
    for dtype in [Dtype::F16, Dtype::BF16] {
        let narrow = |&x: &f32| match dtype {
            Dtype::F16 => (f16::from_f32(x).to_le_bytes(), f16::from_f32(x).to_f32()),
            _ => (bf16::from_f32(x).to_le_bytes(), bf16::from_f32(x).to_f32()),
        };
        let tensors: Vec<_> = config
            .params()
            .into_iter()
            .map(|spec| {
                let data: Vec<u8> = params[spec.range()].iter().flat_map(|x| narrow(x).0).collect();
                (spec.name, dtype, spec.shape, data)
            })
            .collect();
        write_foreign(&path, &tensors);
        let want: Vec<f32> = params.iter().map(|x| narrow(x).1).collect();
        assert_eq!(load_model(&path, &config).unwrap(), want);
    }
}

#[test]
fn wrong_tensors_are_refused_by_name() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let config = small();
    let params = init_params(&config, 3);
    let refusal = |edit: &dyn Fn(&mut Vec<ForeignTensor>)| {
        let mut tensors = foreign_model(&config, &params);
        edit(&mut tensors);
        write_foreign(&path, &tensors);
        let error = load_model(&path, &config).unwrap_err();
        error.to_string().replace(&path.display().to_string(), "m.safetensors")
    };
    assert_eq!(
        refusal(&|t| t.retain(|(name, ..)| name != "model.norm.weight")),
        "`m.safetensors` has no tensor `model.norm.weight`, which this model needs"
    );
    assert_eq!(
        refusal(&|t| t.push(("model.extra.weight".into(), Dtype::F32, vec![1], vec![0; 4]))),
        "`m.safetensors` has a tensor `model.extra.weight` that this model does not know"
    );
    assert_eq!(
        refusal(&|t| t[0].2 = vec![8, 10]),
        "`m.safetensors`: tensor `model.embed_tokens.weight` has shape [8, 10], this model wants [10, 8]"
    );
    assert_eq!(
        refusal(&|t| t[0].1 = Dtype::I32),
        "`m.safetensors`: tensor `model.embed_tokens.weight` holds I32 numbers, only F32, F16 and BF16 are read"
    );
}

#[test]
fn a_copy_of_a_tied_embedding_and_rotary_tables_are_tolerated() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let config = ModelConfig { tied: true, ..small() };
    let params = init_params(&config, 4);
    let load = |classifier: &[f32]| {
        let mut tensors = foreign_model(&config, &params);
        tensors.push(("lm_head.weight".into(), Dtype::F32, vec![10, 8], le_bytes(classifier)));
        let table = "model.layers.0.self_attn.rotary_emb.inv_freq";
        tensors.push((table.into(), Dtype::F32, vec![2], vec![0; 8]));
        write_foreign(&path, &tensors);
        load_model(&path, &config)
    };
    assert_eq!(load(&params[..80]).unwrap(), params);
    let error = load(&params[1..81]).unwrap_err();
    assert!(
        matches!(&error, TrainError::TensorUnexpected { name, .. } if name == "lm_head.weight"),
        "{error}"
    );
}

#[test]
fn checkpoints_go_round_bit_for_bit() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("c.safetensors");
    let config = small();
    let (params, m, v) = (moments(&config, 1), moments(&config, 2), moments(&config, 3));
    let state = state(123);
    save_checkpoint(&path, &config, Snapshot { state: &state, params: &params, m: &m, v: &v }).unwrap();
    let loaded = load_checkpoint(&path, &config).unwrap();
    assert_eq!(loaded.state, state);
    assert_eq!(bits(&loaded.params), bits(&params));
    assert_eq!(bits(&loaded.m), bits(&m));
    assert_eq!(bits(&loaded.v), bits(&v));

    let other = ModelConfig { hidden: 13, ..config };
    let error = load_checkpoint(&path, &other).unwrap_err().to_string();
    let want = format!("`{}` belongs to a model with hidden = 12, this run has hidden = 13", path.display());
    assert_eq!(error, want);
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("c.safetensors");
    let config =
        ModelConfig { dim: 2, hidden: 2, layers: 1, heads: 1, kv_heads: 1, head_dim: 2, vocab: 2, ..small() };
    let params = init_params(&config, 1);
    let state = state(1);
    save_checkpoint(&path, &config, Snapshot { state: &state, params: &params, m: &params, v: &params })
        .unwrap();
    let mut longer = fs::read(&path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for length in (0..longer.len()).rev() {
        file.set_len(length as u64).unwrap();
        let error = load_checkpoint(&path, &config).unwrap_err();
        assert!(
            matches!(error, TrainError::FileFormat { .. }),
            "{length} of {} bytes: {error}",
            longer.len()
        );
    }
    longer.push(0);
    fs::write(&path, &longer).unwrap();
    assert!(matches!(load_checkpoint(&path, &config), Err(TrainError::FileFormat { .. })));
}

#[test]
fn foreign_files_are_refused_with_what_is_wrong() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("f");
    let refusal = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = load_checkpoint(&path, &small()).unwrap_err();
        error.to_string().replace(&path.display().to_string(), "f")
    };
    assert_eq!(
        refusal(b"abc"),
        "`f` is not a complete safetensors file: it has 3 bytes, too few for a header"
    );
    assert_eq!(
        refusal(b"\x89PNG\r\n\x1a\n and an image"),
        "`f` is not a complete safetensors file: its header would have 727905341920923785 bytes, the file has 21"
    );
    assert_eq!(
        refusal(b"\x04\0\0\0\0\0\0\0[1] "),
        "`f` is not a complete safetensors file: its header cannot be read: invalid type: sequence, expected struct \
         HashMetadata at line 1 column 0"
    );
    let config = small();
    save_model(&path, &config, &init_params(&config, 1)).unwrap();
    let weights = fs::read(&path).unwrap();
    assert_eq!(refusal(&weights), "`f` is not a complete checkpoint file: it holds no training state");
}

#[test]
fn a_run_keeps_its_two_newest_checkpoints_and_resumes_from_the_last() {
    let dir = tempdir().unwrap();
    let run = RunFolder::create(&dir.path().join("a/run")).unwrap();
    let config = small();
    let error = run.load_newest(&config).unwrap_err();
    assert!(matches!(error, TrainError::NoCheckpoint { .. }), "{error}");
    run.save_config(&config).unwrap();

    let checkpoints = run.dir().join("checkpoints");
    // What a killed process leaves behind.
    fs::write(checkpoints.join("step-00000005.safetensors.tmp"), "half").unwrap();
    for step in [100, 200, 300] {
        let params = init_params(&config, step);
        let state = state(step);
        run.save(&config, Snapshot { state: &state, params: &params, m: &params, v: &params }).unwrap();
        let (newest, damaged) = run.load_newest(&config).unwrap();
        assert!(damaged.is_empty(), "{damaged:?}");
        assert_eq!((newest.state.step, newest.params), (step, params.clone()));
        assert_eq!(open_model(run.dir(), None).unwrap().params, params);
    }
    assert_eq!(names_in(&checkpoints), ["step-00000200.safetensors", "step-00000300.safetensors"]);
    assert_eq!(names_in(run.dir()), ["checkpoints", "config.json", "model.safetensors"]);

    // A new run in the same folder takes it over.
    let params = init_params(&config, 50);
    let state = state(50);
    run.save(&config, Snapshot { state: &state, params: &params, m: &params, v: &params }).unwrap();
    assert_eq!(names_in(&checkpoints), ["step-00000050.safetensors"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_with_its_path() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    let error = RunFolder::create(&file).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot create `{}", file.display())), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_tokenizer_larger_than_the_model_is_refused() {
    let dir = tempdir().unwrap();
    let run = RunFolder::create(dir.path()).unwrap();
    let config = small();
    run.save_config(&config).unwrap();
    save_model(&run.model(), &config, &init_params(&config, 1)).unwrap();
    let text = std::iter::once(Ok("a text".to_owned()));
    crate::tokenizer::Tokenizer::train(text, 257).unwrap().save_to_folder(dir.path()).unwrap();
    let error = open_model(dir.path(), None).unwrap_err();
    assert!(error.to_string().ends_with("it has 257 tokens, the model's vocabulary 10"), "{error}");
}

#[test]
fn tokens_are_read_from_any_integer_format() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("t.safetensors");
    let i32s = [1i32, 2, 3, 70_000].iter().flat_map(|x| x.to_le_bytes()).collect();
    let i64s = [5i64, -1].iter().flat_map(|x| x.to_le_bytes()).collect();
    let u16s = [9u16, 65_535].iter().flat_map(|x| x.to_le_bytes()).collect();
    write_foreign(
        &path,
        &[
            ("tokens".into(), Dtype::I32, vec![2, 2], i32s),
            ("negative".into(), Dtype::I64, vec![2], i64s),
            ("short".into(), Dtype::U16, vec![2], u16s),
            ("real".into(), Dtype::F32, vec![1], vec![0; 4]),
        ],
    );
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.read_tokens("tokens").unwrap(), (vec![2, 2], vec![1, 2, 3, 70_000]));
    assert_eq!(file.read_tokens("short").unwrap().1, [9, 65_535]);
    let error = file.read_tokens("negative").unwrap_err().to_string();
    assert!(error.ends_with("number 1 of tensor `negative` is -1, which is no token"), "{error}");
    assert!(matches!(file.read_tokens("real"), Err(TrainError::TensorType { .. })));
    assert!(matches!(file.read_tokens("none"), Err(TrainError::TensorMissing { .. })));
}

#[test]
fn fixtures_load_under_their_prefix() {
    let folder = fixtures();
    for name in ["llama_mha", "llama_gqa", "qwen3_tiny"] {
        let config = ModelConfig::read(&folder.join(format!("{name}.json"))).unwrap();
        let file = TensorFile::open(&folder.join(format!("{name}.safetensors"))).unwrap();
        let params = load_params_from(&file, &config, "param.").unwrap();
        let gradients = load_params_from(&file, &config, "grad.").unwrap();
        assert!(params.iter().zip(&gradients).any(|(a, b)| a != b));
        let (shape, tokens) = file.read_tokens("tokens").unwrap();
        assert_eq!(shape, [1, config.seq + 1]);
        assert!(tokens.iter().all(|&t| (t as usize) < config.vocab));
    }
}

/// A llama2.c file of this model: the numbers 0, 1, 2… in file order, the frequency tables −1.
fn llama2c_file(
    dim: i32,
    hidden: i32,
    layers: i32,
    heads: i32,
    kv_heads: i32,
    vocab: i32,
    seq: i32,
) -> Vec<u8> {
    let mut file: Vec<u8> =
        [dim, hidden, layers, heads, kv_heads, vocab, seq].iter().flat_map(|x| x.to_le_bytes()).collect();
    let kv = dim / heads * kv_heads;
    let layer = 2 * dim + 2 * dim * dim + 2 * kv * dim + 3 * hidden * dim;
    let before = vocab.abs() * dim + layers * layer + dim;
    let after = if vocab < 0 { -vocab * dim } else { 0 };
    let numbers = (0..before).chain(std::iter::repeat_n(-1, (seq * dim / heads) as usize));
    file.extend(numbers.chain(before..before + after).flat_map(|x| (x as f32).to_le_bytes()));
    file
}

#[test]
fn llama2c_files_are_put_into_checkpoint_order() {
    let file = llama2c_file(4, 6, 2, 2, 1, -5, 8);
    let (config, params) = super::llama2c::parse(&file).unwrap();
    assert!(!config.tied);
    let start = |name: &str| {
        let spec = config.params().into_iter().find(|s| s.name == name).unwrap();
        let piece = &params[spec.range()];
        assert!(piece.windows(2).all(|w| w[1] == w[0] + 1.0), "{name} is not in one piece");
        piece[0]
    };
    assert_eq!(start("model.embed_tokens.weight"), 0.0);
    assert_eq!(start("model.layers.1.input_layernorm.weight"), 24.0);
    assert_eq!(start("model.layers.1.self_attn.q_proj.weight"), 44.0);
    assert_eq!(start("model.layers.0.self_attn.k_proj.weight"), 60.0);
    // Wv 76, Wo 92, feed-forward norms 124, W1 132, W2 180, W3 228, final norm 276.
    assert_eq!(start("model.layers.0.mlp.down_proj.weight"), 180.0);
    assert_eq!(start("model.layers.1.mlp.up_proj.weight"), 252.0);
    assert_eq!(start("model.norm.weight"), 276.0);
    assert_eq!(start("lm_head.weight"), 280.0);
    for length in 0..file.len() {
        assert!(super::llama2c::parse(&file[..length]).is_err(), "{length} of {} bytes pass", file.len());
    }
    let mut foreign = file;
    foreign[..4].copy_from_slice(&0x616b_3433i32.to_le_bytes());
    assert!(super::llama2c::parse(&foreign).unwrap_err().starts_with("its header is impossible: `dim` = "));
}

#[test]
fn stories260k_is_the_same_imported_or_saved() {
    let path = fixtures().join("stories260K.bin");
    let (config, params) = super::llama2c::parse(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((config.dim, config.kv_heads, config.vocab), (64, 4, 512));
    // Imported or saved, rows of queries and keys have the same new order.
    let dir = tempdir().unwrap();
    let saved = dir.path().join("model.safetensors");
    save_model(&saved, &config, &params).unwrap();
    let model = open_model(&path, None).unwrap();
    assert_ne!(bits(&params), bits(&model.params));
    assert_eq!(bits(&load_model(&saved, &model.config).unwrap()), bits(&model.params));
}

proptest! {
    #[test]
    fn a_damaged_header_is_refused_or_harmless_but_never_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let dir = tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        let config = small();
        let params = init_params(&config, 1);
        let state = state(1);
        save_checkpoint(&path, &config, Snapshot { state: &state, params: &params, m: &params, v: &params }).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for (at, byte) in edits {
            bytes[at.index(header)] = byte;
        }
        fs::write(&path, &bytes).unwrap();
        // An edit inside a number of the state goes unnoticed; everything else is an error.
        let _ = load_checkpoint(&path, &config);
    }
}
