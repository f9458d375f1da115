mod foreign;
mod several;

use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use tempfile::tempdir;

use super::*;
use crate::config::init_params;
use crate::fs::TensorFile;
use crate::testing::{bits, moments, small};

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
fn a_tokenizer_larger_than_the_model_is_refused() {
    let dir = tempdir().unwrap();
    let config = small();
    fs::write(dir.path().join(CONFIG), config.to_hugging_face()).unwrap();
    save_model(&dir.path().join(WEIGHTS), &config, &init_params(&config, 1)).unwrap();
    let text = std::iter::once(Ok("a text".to_owned()));
    crate::tokenizer::Tokenizer::train(text, 257).unwrap().save_to_folder(dir.path()).unwrap();
    let error = open_model(dir.path(), None).unwrap_err();
    let file = dir.path().join("tokenizer.json");
    let want = format!("the tokenizer `{}` has 257 tokens, the model's vocabulary has 10", file.display());
    assert_eq!(error.to_string(), want);
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
fn llama2c_file(sizes: [i32; 7]) -> Vec<u8> {
    let [dim, hidden, layers, heads, kv_heads, vocab, seq] = sizes;
    let mut file: Vec<u8> = sizes.iter().flat_map(|x| x.to_le_bytes()).collect();
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
    let file = llama2c_file([4, 6, 2, 2, 1, -5, 8]);
    let (config, params) = super::llama2c::parse(&file).unwrap();
    assert!(!config.tied);
    let start = |name: &str| {
        let spec = config.params().into_iter().find(|s| s.name == name).unwrap();
        let piece = &params[spec.range()];
        assert!(piece.windows(2).all(|w| w[1] == w[0] + 1.0), "{name} is not contiguous");
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
    assert!(super::llama2c::parse(&foreign).unwrap_err().starts_with("its header is invalid: `dim` = "));
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

/// Formats are detected by content, not by name.
#[test]
fn formats_are_detected_by_content() {
    let dir = tempdir().unwrap();
    let stories = fs::read(fixtures().join("stories260K.bin")).unwrap();
    let version = |n: i32| [0x616b_3432, n].iter().flat_map(|x: &i32| x.to_le_bytes()).collect::<Vec<_>>();
    let tokens = |ids: [u16; 2]| ids.repeat(400).iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>();
    let (llama2c, file) = ("a llama2.c checkpoint", "a configuration in TOML or JSON");
    let text = "preset = \"tiny\"\n".repeat(1000) + "# \u{20ac}";
    let table: [(&str, Vec<u8>, Option<&str>); 15] = [
        ("model.bin", b"GGUF\x03\0\0\0".to_vec(), Some("a GGUF file")),
        ("model.gguf", b"GGU".to_vec(), Some(file)),
        ("stories.toml", stories.clone(), Some(llama2c)),
        ("stories.bin", stories[..40].to_vec(), Some(llama2c)),
        ("one", version(1), Some(llama2c)),
        ("config.bin", b"preset = \"tiny\"\n".to_vec(), Some(file)),
        ("long.bin", text.into_bytes(), Some(file)),
        ("keys.txt", b" {\"hidden_size\": 64}".to_vec(), Some(file)),
        ("nothing", Vec::new(), None),
        ("tokens.bin", tokens([260, 0x4a0]), None),
        ("short.bin", stories[..27].to_vec(), None),
        ("zeros.bin", vec![0; 4096], None),
        ("latin1.toml", b"# caf\xe9".to_vec(), None),
        ("cut.toml", b"# \xe2\x82".to_vec(), None),
        ("image.json", b"\x89PNG\r\n\x1a\n".to_vec(), None),
    ];
    for (name, content, want) in table {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        let found = detect(&path).map(|source| source.name());
        match (found, want) {
            (Ok(found), Some(want)) => assert_eq!(found, want, "{name}"),
            (Err(TrainError::ModelFormat { .. }), None) => {}
            (found, _) => panic!("{name}: {found:?}"),
        }
    }
    assert_eq!(detect(dir.path()).unwrap().name(), "a folder with `config.json`");
    assert!(matches!(detect(&dir.path().join("none")), Err(TrainError::Io { .. })));
    let error = open_model(&dir.path().join("zeros.bin"), None).unwrap_err().to_string();
    let want = "is not a model that this program reads: it is neither a GGUF file nor a folder with \
                `adapter_config.json` nor a folder with `config.json` nor a checkpoint of maderix/ANE nor a llama2.c checkpoint nor a configuration in TOML or JSON";
    assert!(error.ends_with(want), "{error}");
    let error = open_model(&dir.path().join("config.bin"), None).unwrap_err().to_string();
    assert!(error.ends_with("is the configuration of a model and has no weights"), "{error}");
}
