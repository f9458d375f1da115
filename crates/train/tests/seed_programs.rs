//! Our derived kernels beside the six programs of maderix/ANE's layer that real hardware has compiled
//! (`tests/programs/ane`): the same inputs and weights, the same results.

use ane::{Device, DeviceKind, SoftOptions, Surface};
use mil::{TensorType, Weights};
use std::collections::BTreeMap;
use std::path::PathBuf;
use train::config::{ModelConfig, init_params};
use train::model::{KernelPlan, Layer, LayerKernels, Precision};

/// A program, its weight files (our weight, transposed or not), and what lies on its surfaces, in our names.
struct Seed {
    file: &'static str,
    ours: &'static str,
    inputs: &'static [&'static str],
    outputs: &'static [&'static str],
}

const SEEDS: [Seed; 6] = [
    Seed {
        file: "sdpa_fwd_taps",
        ours: "fwdAttn",
        inputs: &["x"],
        outputs: &["o", "q_proj", "k_proj", "v", "attn", "xn"],
    },
    Seed {
        file: "ffn_fwd_taps",
        ours: "fwdFFN",
        inputs: &["x2"],
        outputs: &["ffn", "h1", "h3", "gate", "x2n"],
    },
    Seed {
        file: "ffn_bwd",
        ours: "ffnBwd",
        inputs: &["d_y", "h1", "h3"],
        outputs: &["d_x2n", "d_h1", "d_h3"],
    },
    Seed {
        file: "sdpa_bwd1",
        ours: "sdpaBwd1",
        inputs: &["q_proj", "k_proj", "v", "d_x2"],
        outputs: &["d_v", "p", "d_p"],
    },
    Seed {
        file: "sdpa_bwd2",
        ours: "sdpaBwd2",
        inputs: &["p", "d_p", "q_proj", "k_proj"],
        outputs: &["d_q_proj", "d_k_proj"],
    },
    Seed { file: "qkvb", ours: "qkvBwd", inputs: &["d_q_proj", "d_k_proj", "d_v"], outputs: &["d_xn"] },
];

/// Values by name, `[C, S]`.
type Values = BTreeMap<String, Vec<f32>>;

fn noise(n: usize, seed: u64, size: f32) -> Vec<f32> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            size * ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        })
        .collect()
}

/// Writes `names` of `values` behind one another, dispatches, and returns the output's channels.
fn dispatch(
    device: &dyn Device,
    kernel: &dyn ane::Kernel,
    types: [&TensorType; 2],
    names: &[&str],
    values: &Values,
) -> Vec<f32> {
    let [input, output] = [0, 1].map(|i| device.surface("test", types[i]).expect("a surface"));
    let mut channel = 0;
    for name in names {
        let value = &values[*name];
        input.write(channel, value).expect("fits");
        channel += value.len() / types[0].shape[3];
    }
    assert_eq!(channel, types[0].shape[1], "{names:?}");
    kernel.dispatch(&[&input], &[&output]).expect("runs");
    read(&output)
}

fn read(surface: &Surface) -> Vec<f32> {
    let mut all = vec![0.0; surface.ty().elements()];
    surface.read(0, &mut all).expect("readable");
    all
}

#[test]
fn our_kernels_agree_with_the_seeds() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/programs/ane");
    let cfg = ModelConfig { seq: 256, ..ModelConfig::preset("layer768").expect("a preset") };
    let layer = Layer::new(&cfg, Precision::F16).expect("a layer");
    let kernels = LayerKernels::new(&layer, &KernelPlan::six()).expect("six kernels");
    let device = ane::open(DeviceKind::Soft, SoftOptions::threads(2).expect("threads")).expect("engine");
    let theta = init_params(&cfg, 7);
    let stream = cfg.dim * cfg.seq;
    let mut values = Values::new();
    for (i, name) in ["x", "x2", "d_y", "d_x2"].into_iter().enumerate() {
        values.insert(name.to_owned(), noise(stream, i as u64 + 1, 1.0));
    }
    for (seed, spec) in SEEDS.iter().zip(&kernels.kernels) {
        assert_eq!(seed.ours, spec.name);
        let weights = spec.weights(&cfg.params(), 0, &theta).expect("weights");
        let kernel = device.compile(seed.ours, &spec.packed.program, &weights).expect("compiles");
        let names: Vec<&str> = spec.packed.inputs.iter().map(|s| s.name.as_str()).collect();
        let types = [&spec.packed.input, &spec.packed.output];
        let out = dispatch(device.as_ref(), kernel.as_ref(), types, &names, &values);
        for slot in &spec.packed.outputs {
            let range = slot.channel * cfg.seq..(slot.channel + slot.channels) * cfg.seq;
            values.insert(slot.name.clone(), out[range].to_vec());
        }

        let text = std::fs::read_to_string(dir.join(format!("{}.mil", seed.file))).expect("readable");
        let program = mil::text::load(&text).unwrap_or_else(|report| panic!("{}: {report}", seed.file));
        // Their weight files have our names, but for the mask and the norms' letter case.
        let mut theirs = Weights::new();
        for (path, bytes) in weights.files() {
            theirs.insert(path, bytes.to_vec());
        }
        let kernel = device.compile(seed.file, &program, &theirs).expect("compiles");
        let f = program.entry();
        let types = [f.ty(f.inputs[0]), f.ty(f.outputs[0])];
        let out = dispatch(device.as_ref(), kernel.as_ref(), types, seed.inputs, &values);
        let mut at = 0;
        for name in seed.outputs {
            let ours = &values[*name];
            let their = &out[at..at + ours.len()];
            at += ours.len();
            let square =
                |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let error =
                square(&mut ours.iter().zip(their).map(|(a, b)| a - b)) / square(&mut their.iter().copied());
            println!("{:<14} {name:<9} relative L2 {error:.2e}", seed.file);
            // fp16 rounds to 4.9e-4 at most. They scale Σx² by 0.001302 for 1/768, and order the SiLU gradient's
            // products otherwise: some roundings more or less on the way.
            assert!(error < 1.1e-3, "{}: {name} differs by {error:.2e}", seed.file);
        }
        assert_eq!(at, out.len(), "{}: all of the output is compared", seed.file);
    }
}
