//! The ladder of plans: every rung trains the same model, and avoids what it says it avoids.

use ane::{DeviceKind, Engine, Pool, SoftOptions, WeightMode, facts};
use mil::{Function, Operation, ValueId};
use std::collections::HashSet;
use std::sync::Arc;
use train::config::{ModelConfig, PRESETS, Rope, RopeKind, init_params};
use train::model::{KernelSpec, LADDER, Layer, Precision, Rung};
use train::step::{Build, Network, StepGraph, Window};

fn preset(name: &str) -> ModelConfig {
    ModelConfig::preset(name).expect("a preset")
}

/// What layers can have: plain heads, shared key heads, norms of heads, no positions.
fn models() -> Vec<(&'static str, ModelConfig)> {
    let tiny = || preset("tiny");
    let kv_heads = tiny().heads / 2;
    vec![
        ("plain heads", tiny()),
        ("shared key heads", ModelConfig { kv_heads, ..tiny() }),
        ("norms of heads", ModelConfig { qk_norm: true, kv_heads, ..tiny() }),
        (
            "norms and no positions",
            ModelConfig { qk_norm: true, rope: Rope { kind: RopeKind::None, ..tiny().rope }, ..tiny() },
        ),
    ]
}

/// The loss of a window, and all gradients, with kernels of `rung`.
fn gradients(
    cfg: &ModelConfig,
    rung: &Rung,
    precision: Precision,
    weights: WeightMode,
) -> (f64, Vec<f32>, Arc<Network>) {
    let pool = Pool::new(2).expect("threads");
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("engine");
    let build = Build { weights, ..Build::train(precision) }.rung(rung, cfg);
    let theta = init_params(cfg, 3);
    let network = Network::new(cfg, theta, device, pool, &build, &mut |_| {}).expect("network");
    network.set_loss_scale(256.0);
    let network = Arc::new(network);
    let graph = StepGraph::new(Arc::clone(&network), 1).expect("schedule");
    let tokens = (0..=cfg.seq as u32).map(|i| i * i * 7 % cfg.vocab as u32).collect();
    let loss = graph.run(vec![Window::Tokens(tokens)], &mut flow::Trace::new()).expect("a step");
    let gradients =
        cfg.params().iter().flat_map(|p| network.gradient(&p.name).expect("a gradient")).collect();
    (loss, gradients, network)
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (apart / b.iter().map(|&b| square(b)).sum::<f64>()).sqrt()
}

/// f32: some sums go another way. fp16: more, or less, is rounded on the way between kernels and host.
#[test]
fn every_rung_computes_the_same_gradients() {
    for (name, cfg) in models() {
        for (precision, close) in [(Precision::F32, 1e-5), (Precision::F16, 2e-2)] {
            let (loss, want, _) = gradients(&cfg, &LADDER[0], precision, WeightMode::Baked);
            for rung in &LADDER[1..] {
                let weights = rung.weight_mode(WeightMode::Auto).expect("goes with any");
                let (other, got, network) = gradients(&cfg, rung, precision, weights);
                let apart = distance(&got, &want);
                assert!(
                    apart <= close,
                    "{name}, {}, {precision:?}: gradients differ by {apart:e}",
                    rung.name
                );
                assert!((other / loss - 1.0).abs() <= close / 10.0, "{name}, {}: {other}, {loss}", rung.name);
                assert!(network.has_norms_on_host(), "{name}, {}", rung.name);
            }
        }
    }
}

/// A forward pass alone has the same loss as one that is followed by its backward pass.
#[test]
fn every_rung_evaluates() {
    let (_, cfg) = models().swap_remove(2);
    for rung in &LADDER {
        let tokens: Vec<u32> = (0..=cfg.seq as u32).map(|i| i * i * 7 % cfg.vocab as u32).collect();
        let pool = Pool::new(1).expect("threads");
        let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("engine");
        let build = Build::infer(Precision::F16).rung(rung, &cfg);
        let network = Network::new(&cfg, init_params(&cfg, 3), device, pool, &build, &mut |_| {});
        let loss = network.expect("network").evaluate(&tokens).expect("a loss");
        let (trained, ..) = gradients(&cfg, rung, Precision::F16, build.weights);
        assert!((loss - trained).abs() < 1e-6, "{}: {loss} and {trained}", rung.name);
    }
}

/// All kernels of all presets and of the models above, on every rung, with weights baked and on surfaces.
fn all_kernels(mut look: impl FnMut(&str, &Rung, &KernelSpec)) {
    let presets = PRESETS.iter().map(|&name| (name, preset(name)));
    for (name, cfg) in presets.chain(models()) {
        let layer = Layer::new(&cfg, Precision::F16).expect("a layer");
        for rung in &LADDER {
            for wanted in [WeightMode::Baked, WeightMode::Dynamic] {
                let Some(weights) = rung.weight_mode(wanted) else { continue };
                let build = Build { weights, ..Build::train(Precision::F16) }.rung(rung, &cfg);
                let kernels = build.kernels(&layer, Engine::Apple).expect("kernels").kernels;
                let place = format!("{name}, {}, {weights:?}", rung.name);
                kernels.iter().for_each(|k| look(&format!("{place}, {}", k.name), rung, k));
            }
        }
    }
}

fn slices(function: &Function) -> impl Iterator<Item = (&Operation, ValueId)> {
    let slice = |op: &Operation| op.op.name().starts_with("slice").then(|| op.arg_value("x"))?;
    function.ops.iter().filter_map(move |op| Some((op, slice(op)?)))
}

/// Axes along which `to` is shorter than `from`.
fn axes(function: &Function, from: ValueId, to: ValueId) -> usize {
    let (from, to) = (&function.ty(from).shape, &function.ty(to).shape);
    from.iter().zip(to.iter()).filter(|(from, to)| from != to).count()
}

#[test]
fn no_slice_is_inside_two_axes() {
    let mut seen = 0;
    all_kernels(|place, _, kernel| {
        let function = kernel.packed.program.entry();
        for (op, from) in slices(function) {
            seen += 1;
            assert_eq!(
                axes(function, from, op.results[0]),
                1,
                "{place}: {:?}",
                function.value(op.results[0]).name
            );
        }
    });
    assert!(seen > 100, "{seen}");
}

#[test]
fn nothing_of_a_kernel_is_unused() {
    all_kernels(|place, _, kernel| {
        let function = kernel.packed.program.entry();
        let used: HashSet<ValueId> =
            function.ops.iter().flat_map(Operation::uses).chain(function.outputs.iter().copied()).collect();
        let made = function.ops.iter().flat_map(|op| op.results.iter().copied());
        for v in function.inputs.iter().copied().chain(made) {
            assert!(used.contains(&v), "{place}: {}", function.value(v).name);
        }
        for path in kernel
            .packed
            .constants
            .iter()
            .map(|(path, _)| path)
            .chain(kernel.const_weights.iter().map(|b| &b.path))
        {
            let text = mil::text::print(&kernel.packed.program);
            assert!(text.contains(path.as_str()), "{place}: {path} is in no text");
        }
    });
}

/// What our forward kernels do without, as some engine is said to refuse it or to compute it narrowly.
#[test]
fn no_kernel_has_a_norm_in_a_form_that_engines_refuse() {
    const REFUSED: [&str; 6] = ["reduce_mean", "rsqrt", "sqrt", "real_div", "inverse", "layer_norm"];
    let mut norms = 0;
    all_kernels(|place, _, kernel| {
        let names: Vec<&str> = kernel.packed.program.entry().ops.iter().map(|op| op.op.name()).collect();
        assert!(!REFUSED.iter().any(|refused| names.contains(refused)), "{place}: {names:?}");
        if kernel.has_norm {
            norms += 1;
            // `reduce_sum` is kept in fp16 (rule N10): squares are summed by a product.
            assert!(names.contains(&"reduce_max") && !names.contains(&"reduce_sum"), "{place}: {names:?}");
        }
    });
    assert!(norms > 20, "{norms}");
}

#[test]
fn surfaces_are_such_as_engines_take() {
    let mut largest = [0; 2];
    all_kernels(|place, _, kernel| {
        for ty in kernel.packed.reads().chain([&kernel.packed.output]) {
            let (channels, width) = (ty.shape[1], ty.shape[3]);
            assert!(
                width <= facts::MAX_INPUT_WIDTH.value && channels <= facts::MAX_AXIS.value,
                "{place}: {ty}"
            );
            assert!(width.is_multiple_of(facts::LAST_AXIS_MULTIPLE.value), "{place}: {ty}");
            largest = [largest[0].max(channels), largest[1].max(width)];
        }
        // docs/apple-engine.md says four; more than SAFE_INPUTS are bound wrongly.
        assert!(kernel.packed.reads().count() <= facts::SAFE_INPUTS.value.min(4), "{place}");
    });
    println!("at most {} channels, {} columns", largest[0], largest[1]);
}

#[test]
fn each_rung_avoids_what_it_says() {
    let mut most = vec![0; LADDER.len()];
    all_kernels(|place, rung, kernel| {
        let function = kernel.packed.program.entry();
        let count = |names: &[&str]| function.ops.iter().filter(|op| names.contains(&op.op.name())).count();
        let products = count(&["conv", "matmul", "linear"]);
        let at = rung.place();
        most[at] = most[at].max(products);
        if at >= 1 {
            assert_eq!(count(&["pow", "rsqrt", "reduce_mean"]), 0, "{place}: a norm");
            assert!(!kernel.has_norm, "{place}");
        }
        if at >= 2 {
            assert!(kernel.input_weights.is_empty(), "{place}: weights on a surface");
        }
        if at >= 3 {
            let inputs = &function.inputs;
            assert!(!slices(function).any(|(_, from)| inputs.contains(&from)), "{place}: slices an input");
            assert_eq!(inputs.len(), kernel.inputs.len(), "{place}");
        }
        if at >= 4 {
            assert!(products <= 2, "{place}: {products} products");
            assert!(count(&["conv"]) <= 1, "{place}");
        }
    });
    assert!(most[3] > 2 && most[0] > 2, "the last rung is another than those above it: {most:?}");
}
