//! One forward and backward pass, written to a file, for comparison with other programs.

use crate::config::ParamSpec;
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::formats::ModelRef;
use crate::fs::{NamedTensor, TensorFile, write_tensors};
use crate::run::RunError;
use crate::step::{Build, CompileEvent, ComputeOptions, StepError, StepGraph, Window};
use std::path::Path;
use std::sync::Arc;

/// Options of the computation.
#[derive(Clone, Copy, Debug)]
pub struct GradsOptions {
    /// Where and how the model computes.
    pub compute: ComputeOptions,
    /// The factor on the loss's gradient in the backward pass; the gradients that are written are divided by it.
    pub loss_scale: f32,
}

/// Computes loss, logits and all gradients of a model, with its adapters merged, on the tensor `tokens` `[1, S + 1]` of the
/// safetensors file `tokens`, and writes them to the safetensors file `out`: `loss` `[1]`, `logits` `[1, S, V]`,
/// `grad.<name>` in Hugging Face's names and layouts. Returns the loss; `on_event` gets the progress of compiling.
///
/// # Errors
/// If a file is invalid, a token is out of range, a result is not finite, or the engine fails.
pub fn grads<'m>(
    model: impl Into<ModelRef<'m>>,
    tokens: &Path,
    out: &Path,
    options: &GradsOptions,
    on_event: &mut dyn FnMut(CompileEvent<'_>),
) -> Result<f64, RunError> {
    let from = model.into();
    let dir = from.shown();
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let reads = [tokens.to_owned(), dir.to_owned(), dir.join("model.safetensors")];
    if real(out).is_some_and(|out| reads.iter().any(|path| real(path).as_ref() == Some(&out))) {
        return Err(RunError::OutIsInput { path: out.to_owned() });
    }
    let model = from.open(None)?;
    let mut cfg = model.config;
    if cfg.task == crate::config::Task::Regression {
        return Err(RunError::NotLanguage { what: "a file of tokens" });
    }
    let (shape, ids) = TensorFile::open(tokens)?.read_tokens("tokens")?;
    if ids.len() < 2 || shape.last() != Some(&ids.len()) {
        return Err(RunError::TokensShape { path: tokens.to_owned(), shape });
    }
    if let Some(position) = ids.iter().position(|&t| t as usize >= cfg.vocab) {
        let (path, id, vocab) = (tokens.to_owned(), ids[position], cfg.vocab);
        return Err(TrainError::TokenOutOfRange { path, position: position as u64, id, vocab }.into());
    }
    cfg.seq = ids.len() - 1;
    demand::check(&cfg, Use::Gradients)?;
    let pool = options.compute.pool()?;
    let network = options.compute.compile(&cfg, &pool, Build::train, model.params, on_event)?;
    network.set_loss_scale(options.loss_scale);
    let network = Arc::new(network);
    let by_row = network.logits(&ids)?;
    if network.hides_infinity() {
        network.check_range(&ids)?;
    }
    let graph = StepGraph::new(Arc::clone(&network), 1)?;
    let loss = graph.run(vec![Window::Tokens(ids.clone())], &mut flow::Trace::new())?;
    if !loss.is_finite() {
        return Err(network.blame("the loss", &ids).into());
    }

    // Channel-first inside, tokens first outside.
    let (s, v) = (cfg.seq, cfg.vocab);
    let logits: Vec<f32> = (0..s * v).map(|i| by_row[i % v * s + i / v]).collect();
    let mean = [loss as f32];
    let specs: Vec<&ParamSpec> = network.params.specs().collect();
    let gradient = |p: &&ParamSpec| {
        let missing = || StepError::internal(format!("`{}` has no gradient", p.name));
        network.gradient(&p.name).ok_or_else(missing)
    };
    let gradients = specs.iter().map(gradient).collect::<Result<Vec<_>, _>>()?;
    for (spec, gradient) in specs.iter().zip(&gradients) {
        let count = gradient.iter().filter(|g| !g.is_finite()).count();
        if count > 0 {
            let (name, of, scale) = (spec.name.clone(), spec.count(), options.loss_scale);
            return Err(StepError::Gradient { name, count, of, scale }.into());
        }
    }
    let mut tensors = vec![
        NamedTensor { name: "loss".to_owned(), shape: vec![1], data: &mean },
        NamedTensor { name: "logits".to_owned(), shape: vec![1, s, v], data: &logits },
    ];
    tensors.extend(specs.iter().zip(&gradients).map(|(p, data)| NamedTensor {
        name: format!("grad.{}", p.name),
        shape: p.shape.clone(),
        data,
    }));
    write_tensors(out, None, &tensors)?;
    Ok(loss)
}
