//! A forward pass over the next tokens of conversations.

use super::cache::{Conversation, position_of};
use super::kernels::DecodeKernels;
use super::loaded::Loaded;
use super::weights::DecodeWeights;
use crate::model::{DecodePart, RopeRows, masked};
use crate::step::{OutOfRange, StepError};
use ane::{Surface, SurfaceBlock};
use host::Scratch;
use host::gemm::{Elements, Matrix, MatrixMut};
use host::norm::RmsNorm;
use host::range::survey;
use host::soft_cap::SoftCap;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The next tokens of a conversation.
pub(super) struct Next<'a> {
    pub(super) conversation: &'a mut Conversation,
    pub(super) tokens: &'a [u32],
}

/// A conversation's columns in a pass.
struct Run {
    /// The first column, and their number.
    columns: [usize; 2],
    /// The position of the first.
    position: usize,
    /// The columns of the kernel that attends.
    queries: usize,
}

/// The surfaces of passes of a certain number of columns.
#[derive(Debug)]
pub(super) struct Columns {
    x: Surface,
    /// Cosines and sines of each kind of RoPE.
    tables: Vec<[Surface; 2]>,
    projected: Surface,
    attn: Surface,
    o: Surface,
    x2: Surface,
    ffn: Surface,
}

impl Columns {
    fn new(model: &Loaded, t: usize) -> Result<Columns, StepError> {
        let (cfg, kernels) = (&model.cfg, &model.kernels);
        let (d, q, kv) = (cfg.dim, cfg.q_dim(), cfg.kv_dim());
        let input = |name, channels, part| kernels.input(name, [channels, t], (part, 1));
        let table = |name| input(name, cfg.head_dim, DecodePart::Project);
        let tables = model.kinds.ropes.0.iter().map(|_| Ok([table("rope_cos")?, table("rope_sin")?]));
        Ok(Columns {
            x: input("x", d, DecodePart::Project)?,
            tables: tables.collect::<Result<_, StepError>>()?,
            projected: kernels.output("projected", [q + 2 * kv, t])?,
            attn: input("attn", q, DecodePart::Output)?,
            o: kernels.output("o", [d, t])?,
            x2: input("x2", d, DecodePart::FeedForward)?,
            ffn: kernels.output("ffn", [d, t])?,
        })
    }
}

/// The surfaces of a run's attention.
#[derive(Debug)]
pub(super) struct Attention {
    q: Surface,
    attn: Surface,
}

/// Surfaces of passes, by their sizes; and working memory of the host.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    columns: BTreeMap<usize, Columns>,
    attention: BTreeMap<[usize; 2], Attention>,
    /// By columns of queries and of keys, number of the run, and window.
    masks: BTreeMap<[usize; 4], Surface>,
    scratch: Scratch,
}

/// A pass, prepared: everything that its layers need.
struct Prepared<'a> {
    model: &'a Loaded,
    columns: &'a Columns,
    work: &'a Workspace,
    runs: &'a [Run],
    /// The columns of kernels with weights.
    t: usize,
    is_checked: bool,
}

/// Runs the layers on all tokens of `next`, at most [`super::kernels::LARGEST_CHUNK`] together. Returns the logits `[V]` after the
/// last token of each, if `with_logits`. The caller adds the tokens to the conversations.
///
/// # Errors
/// If the engine refuses a program or fails, or a value leaves its range.
pub(super) fn run(
    model: &mut Loaded,
    work: &mut Workspace,
    next: &mut [Next<'_>],
    (with_logits, is_checked): (bool, bool),
) -> Result<Vec<Vec<f32>>, StepError> {
    let (mut runs, mut column) = (Vec::new(), 0);
    for each in next.iter() {
        let count = each.tokens.len();
        let position = each.conversation.tokens.len();
        runs.push(Run { columns: [column, count], position, queries: model.kernels.bucket(count) });
        column += count;
    }
    let t = model.kernels.bucket(column);
    let mut x = prepare(model, work, next, &runs, t)?;
    let columns = work.columns.get(&t).ok_or_else(|| StepError::internal("no surfaces of this size"))?;
    Prepared { model, columns, work, runs: &runs, t, is_checked }.layers(next, &mut x)?;
    Ok(if with_logits { head(model, &x, &runs, t, &mut work.scratch) } else { Vec::new() })
}

/// Compiles what is missing, allocates surfaces, fills tables and masks; returns the embedded tokens `[D, t]`.
fn prepare(
    model: &mut Loaded,
    work: &mut Workspace,
    next: &mut [Next<'_>],
    runs: &[Run],
    t: usize,
) -> Result<Vec<f32>, StepError> {
    for part in [DecodePart::Project, DecodePart::Output, DecodePart::FeedForward] {
        model.kernels.prepare(part, [t, 1])?;
    }
    if let Entry::Vacant(place) = work.columns.entry(t) {
        place.insert(Columns::new(model, t)?);
    }
    for (slot, (each, run)) in next.iter_mut().zip(runs).enumerate() {
        let last = run.position + run.columns[1] - 1;
        each.conversation.reserve(last + 1, &model.windows(), &model.kernels)?;
        for (layer, cache) in each.conversation.layers.iter().enumerate() {
            let window = model.kinds.windows.1[layer];
            let size = [run.queries, cache.columns];
            model.kernels.prepare(DecodePart::Attend, size)?;
            work.prepare_attention(&model.kernels, size, model.cfg.q_dim())?;
            let key = [run.queries, cache.columns, slot, window];
            // Layers of a kind share a mask.
            let first = model.kinds.windows.1.iter().position(|&w| w == window);
            if first == Some(layer) {
                work.prepare_mask(&model.kernels, key)?;
                fill_mask(&work.masks[&key], run, model.kinds.windows.0[window], model)?;
            }
        }
    }
    let columns = &work.columns[&t];
    for (rows, surfaces) in model.kinds.ropes.0.iter().zip(&columns.tables) {
        fill_tables(rows, surfaces, runs, t)?;
    }
    let scale = model.cfg.embedding_scale();
    let mut x = vec![0.0; model.cfg.dim * t];
    for (each, run) in next.iter().zip(runs) {
        for (i, &token) in each.tokens.iter().enumerate() {
            model.weights.embedding.take(token as usize, scale, &mut x, [run.columns[0] + i, t]);
        }
    }
    Ok(x)
}

impl Workspace {
    fn prepare_attention(
        &mut self,
        kernels: &DecodeKernels,
        size: [usize; 2],
        channels: usize,
    ) -> Result<(), StepError> {
        if let Entry::Vacant(place) = self.attention.entry(size) {
            let shape = [channels, size[0]];
            let q = kernels.input("q", shape, (DecodePart::Attend, size[1]))?;
            place.insert(Attention { q, attn: kernels.output("attn", shape)? });
        }
        Ok(())
    }

    fn prepare_mask(&mut self, kernels: &DecodeKernels, key: [usize; 4]) -> Result<(), StepError> {
        if let Entry::Vacant(place) = self.masks.entry(key) {
            let [queries, keys, ..] = key;
            let mask = kernels.input("mask", [queries, keys], (DecodePart::Attend, keys))?;
            place.insert(mask);
        }
        Ok(())
    }
}

/// Writes what is added to the scores of a run's queries: 0 where the key's position is seen.
fn fill_mask(mask: &Surface, run: &Run, window: Option<usize>, model: &Loaded) -> Result<(), StepError> {
    let [_, queries, _, keys] = mask.ty().shape[..] else {
        return Err(StepError::internal("a mask of another rank"));
    };
    let hidden = masked(model.kernels.precision.dtype()) as f32;
    let last = run.position + run.columns[1] - 1;
    let held: Vec<Option<usize>> = (0..keys).map(|column| position_of(column, keys, last)).collect();
    let mut values = Vec::with_capacity(queries * keys);
    for query in 0..queries {
        // Columns beyond the tokens see what the last one does: their results are not used.
        let position = (run.position + query).min(last);
        values.extend(held.iter().map(|held| match *held {
            Some(held) if held <= position && window.is_none_or(|w| position - held < w) => 0.0,
            _ => hidden,
        }));
    }
    Ok(mask.write(0, &values)?)
}

/// Writes cosines and sines of the positions of all columns.
fn fill_tables(rows: &RopeRows, [cos, sin]: &[Surface; 2], runs: &[Run], t: usize) -> Result<(), StepError> {
    let channels = cos.ty().shape[1];
    let (mut cosines, mut sines) = (vec![1.0; channels * t], vec![0.0; channels * t]);
    for run in runs {
        let [first, count] = run.columns;
        for channel in 0..channels {
            for i in 0..count {
                let (c, s) = rows.at(channel, run.position + i);
                cosines[channel * t + first + i] = c as f32;
                sines[channel * t + first + i] = s as f32;
            }
        }
    }
    cos.write(0, &cosines)?;
    Ok(sin.write(0, &sines)?)
}

impl Prepared<'_> {
    /// All layers, on the residual stream `x` `[D, t]`.
    fn layers(&self, next: &[Next<'_>], x: &mut [f32]) -> Result<(), StepError> {
        let Prepared { model, columns, t, .. } = *self;
        let size = [t, 1];
        let kernel = |part| model.kernels.get(part, size);
        let [project, output, forward] =
            [kernel(DecodePart::Project)?, kernel(DecodePart::Output)?, kernel(DecodePart::FeedForward)?];
        let mut added = vec![0.0; x.len()];
        for layer in 0..model.cfg.layers {
            let weights = |part| model.weights.of(layer, part);
            self.put(layer, ("x", 0), x, &columns.x)?;
            let [cos, sin] = &columns.tables[model.kinds.ropes.1[layer]];
            let values = [("x", &columns.x), ("xn", &columns.x), ("rope_cos", cos), ("rope_sin", sin)];
            project.run(&values, weights(DecodePart::Project), &columns.projected)?;
            self.check(layer, "the projections", &columns.projected)?;
            self.attend(layer, next)?;
            output.run(&[("attn", &columns.attn)], weights(DecodePart::Output), &columns.o)?;
            self.check(layer, "o", &columns.o)?;
            add(x, &columns.o, &mut added)?;
            self.put(layer, ("x2", 1), x, &columns.x2)?;
            let values = [("x2", &columns.x2), ("x2n", &columns.x2)];
            forward.run(&values, weights(DecodePart::FeedForward), &columns.ffn)?;
            self.check(layer, "ffn", &columns.ffn)?;
            add(x, &columns.ffn, &mut added)?;
        }
        Ok(())
    }

    /// Writes the residual stream to a surface; normed, if the host does that by norm number `norm` of the layer.
    fn put(
        &self,
        layer: usize,
        (value, norm): (&str, usize),
        x: &[f32],
        to: &Surface,
    ) -> Result<(), StepError> {
        let Some(weights) = self.model.weights.host_norms.get(layer) else {
            self.check_stream(layer, value, x)?;
            return Ok(to.write(0, x)?);
        };
        let mut normed = vec![0.0; x.len()];
        rms_norm(self.model, self.t).forward(x, &weights[norm], &mut normed, &mut Scratch::new());
        Ok(to.write(0, &normed)?)
    }

    /// Stores the new keys and values of a layer, and attends to all of them.
    fn attend(&self, layer: usize, next: &[Next<'_>]) -> Result<(), StepError> {
        let Prepared { model, columns, work, runs, t, .. } = *self;
        let (q, kv) = (model.cfg.q_dim(), model.cfg.kv_dim());
        let window = model.kinds.windows.1[layer];
        for (slot, (each, run)) in next.iter().zip(runs).enumerate() {
            let cache = &each.conversation.layers[layer];
            cache.store(run.position, (&columns.projected, [q, q + kv]), run.columns)?;
            let size = [run.queries, cache.columns];
            let key = [size[0], size[1], slot, window];
            let (Some(surfaces), Some(mask)) = (work.attention.get(&size), work.masks.get(&key)) else {
                return Err(StepError::internal("attention of this size is not prepared"));
            };
            // A run that is the whole pass has its own number of columns.
            let [first, count] = run.columns;
            let is_whole = runs.len() == 1;
            let wide = if is_whole { t } else { count };
            let block = |column| SurfaceBlock { channel: 0, channels: q, column, columns: wide };
            let from = if is_whole { 0 } else { first };
            surfaces.q.copy_columns([0, 0], &columns.projected, &block(from))?;
            let values =
                [("q", &surfaces.q), ("keys", &cache.keys), ("values", &cache.values), ("mask", mask)];
            let kernel = model.kernels.get(DecodePart::Attend, size)?;
            kernel.run(&values, &[], &surfaces.attn)?;
            self.check(layer, "attn", &surfaces.attn)?;
            columns.attn.copy_columns([0, from], &surfaces.attn, &block(0))?;
        }
        Ok(())
    }

    /// Refuses values of a surface that are not finite, if the pass is checked.
    fn check(&self, layer: usize, value: &str, on: &Surface) -> Result<(), StepError> {
        if !self.is_checked {
            return Ok(());
        }
        on.with(0, on.ty().elements(), |elements| self.range(layer, value, elements))?
    }

    /// Refuses a residual stream that the surfaces cannot hold, if the pass is checked.
    fn check_stream(&self, layer: usize, value: &str, x: &[f32]) -> Result<(), StepError> {
        if self.is_checked { self.range(layer, value, Elements::F32(x)) } else { Ok(()) }
    }

    fn range(&self, layer: usize, value: &str, elements: Elements<'_>) -> Result<(), StepError> {
        let dtype = self.model.kernels.precision.dtype();
        let limit = if dtype == mil::DType::F16 { half::f16::MAX.to_f32() } else { f32::MAX };
        let of = elements.len();
        match survey(elements, limit) {
            (0, _) => Ok(()),
            (count, largest) => {
                let found = OutOfRange { layer, value: value.to_owned(), count, of, largest, dtype };
                Err(StepError::NotFinite { what: "the forward pass", found: Some(found) })
            }
        }
    }
}

/// `x ← x + y`; `wide` is working memory of the same size.
fn add(x: &mut [f32], y: &Surface, wide: &mut [f32]) -> Result<(), StepError> {
    y.read(0, wide)?;
    x.iter_mut().zip(wide).for_each(|(x, y)| *x += *y);
    Ok(())
}

/// A norm of the residual stream of `columns` columns.
fn rms_norm(model: &Loaded, columns: usize) -> RmsNorm {
    let (eps, offset) = (model.cfg.rms_eps as f32, model.cfg.variant.family.norm_offset() as f32);
    RmsNorm { channels: model.cfg.dim, groups: 1, seq: columns, eps, offset }
}

/// The logits after the last token of each run, from the layers' result `x` `[D, t]`.
fn head(model: &Loaded, x: &[f32], runs: &[Run], t: usize, scratch: &mut Scratch) -> Vec<Vec<f32>> {
    let (d, v, n) = (model.cfg.dim, model.cfg.vocab, runs.len());
    let lasts: Vec<usize> = runs.iter().map(|run| run.columns[0] + run.columns[1] - 1).collect();
    let picked: Vec<f32> = (0..d).flat_map(|c| lasts.iter().map(move |&at| x[c * t + at])).collect();
    let DecodeWeights { final_norm, .. } = &model.weights;
    let mut normed = vec![0.0; d * n];
    rms_norm(model, n).forward(&picked, final_norm, &mut normed, scratch);
    let mut logits = vec![0.0; v * n];
    let (to, normed) = (MatrixMut::new(&mut logits, v, n), Matrix::new(&normed[..], d, n));
    model.weights.classifier().multiply(model.kernels.device.info().math, to, normed, [v, d]);
    if let Some(limit) = model.cfg.variant.logit_cap {
        SoftCap { limit: limit as f32 }.apply(&mut logits);
    }
    if n == 1 {
        return vec![logits];
    }
    (0..n).map(|i| logits.iter().skip(i).step_by(n).copied().collect()).collect()
}
