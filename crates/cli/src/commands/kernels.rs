//! `backpropane kernels`.

mod kinds;

use super::engine::{ModelArgs, positive};
use crate::error::CommandError;
use crate::ladder::Ladder;
use crate::output::{model_help, print_json};
use crate::ui::Ui;
use crate::units;
use ane::SoftOptions;
use ane::pack::SurfaceRegion;
use kinds::Kind;
use mil::TensorType;
use mil::pass::Provider;
use serde::Serialize;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use train::config::{ModelConfig, init_params};
use train::demand::{self, Use};
use train::error::TrainError;
use train::fs::write_atomically;
use train::model::{KernelSpec, Layer};
use train::run::{RunError, Settings};
use train::step::Build;

/// The prefix of weight files' paths in a program.
const MODEL_PATH: &str = "@model_path/";

/// List the kernels of a model's layer
///
/// For each kernel: its operations, multiplications and weights, the surface it reads and the surface it writes, and
/// the values that these hold. `--emit` writes the programs as MIL text with their weight files. With `--weights
/// dynamic` the surfaces hold the weights too, and one set of kernels serves all layers of a kind. Kinds of layers differ
/// in windows and RoPE; their kernels differ in constants alone.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane kernels --model layer768
  backpropane kernels --model stories110m --seq 512 --json
  backpropane kernels --model stories110m --weights dynamic
  backpropane kernels --model tiny --emit tiny    tiny/<kernel>/model.mil and weights/*.bin")]
pub struct KernelsArgs {
    #[arg(long, value_name = "PRESET", help = model_help("A preset (tiny, shakespeare, layer768, stories15m, \
        stories42m, stories110m), a configuration file, a model's folder"))]
    model: String,

    /// Tokens of a window, instead of the model's
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    seq: Option<usize>,

    #[command(flatten)]
    on: ModelArgs,

    /// Write each kernel with the initial weights of layer 0 into this new folder; of several kinds of layers, with those
    /// of the first layer of each, into folders of their own
    #[arg(long, value_name = "DIR")]
    emit: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(ui: &Ui, args: &KernelsArgs) -> Result<(), CommandError> {
    let mut cfg = ModelConfig::find(&args.model)?;
    cfg.seq = args.seq.unwrap_or(cfg.seq);
    cfg.validate()?;
    demand::check(&cfg, Use::Kernels)?;
    if let Some(dir) = &args.emit {
        refuse_occupied(dir)?;
    }
    let storage = args.on.storage();
    let options = SoftOptions::threads(args.on.engine.threads).map_err(RunError::from)?;
    // The engine decides what `auto` means.
    let build = Build::train(storage).on(args.on.device());
    let wanted = build.wanted(args.on.device(), cfg.layers);
    let engine = ane::open(wanted, options).map_err(RunError::from)?.info().engine;
    let build = build.rung(args.on.start(Ladder::here().known()).rung(engine), &cfg);
    let kinds = Kind::all(&cfg);
    let kernels_of = |layer: usize| -> Result<Vec<KernelSpec>, CommandError> {
        let layer = Layer::of_kind(&cfg, cfg.layer_kind(layer), storage)?;
        Ok(build.kernels(&layer, engine)?.kernels)
    };
    let kernels = kernels_of(0)?;
    if let Some(dir) = &args.emit {
        for layer in kinds.iter().filter_map(|kind| kind.layers.first().copied()) {
            let dir = if kinds.len() == 1 { dir.clone() } else { dir.join(format!("layer-{layer}")) };
            emit(&dir, &cfg, layer, &kernels_of(layer)?)?;
        }
        ui.say(format!("programs and weights are in `{}`", dir.display()));
    }
    let listing = Listing { kinds, ..Listing::new(&args.model, &cfg, &kernels) };
    if args.json { print_json(ui, &listing) } else { ui.result(&listing.text(ui)) }
}

/// [`Value::from`] of a weight.
const WEIGHTS: &str = "weights";

/// The kernels of a layer, as they are printed.
#[derive(Debug, Serialize)]
struct Listing {
    model: String,
    layers: usize,
    dim: usize,
    seq: usize,
    /// The kinds of layers; each has kernels of its own, with the same operations and sizes.
    kinds: Vec<Kind>,
    kernels: Vec<Kernel>,
    /// Sums over the layer.
    total: Total,
    /// Reported limits of real engines that the surfaces exceed.
    limits: Vec<Limit>,
}

/// A reported limit of real engines, and the surfaces that exceed it.
#[derive(Debug, Serialize)]
struct Limit {
    breach: String,
    source: String,
    surfaces: Vec<String>,
}

/// The limits that the kernels' surfaces exceed, each once.
fn limits(specs: &[KernelSpec]) -> Vec<Limit> {
    let mut limits: Vec<Limit> = Vec::new();
    for k in specs {
        let reads = k.packed.reads().map(|ty| ("in", ty));
        for (side, ty) in reads.chain([("out", &k.packed.output)]) {
            for remark in anelint::facts::remarks(ty) {
                let (breach, surface) = (remark.to_string(), format!("{}.{side}", k.name));
                match limits.iter_mut().find(|l| l.breach == breach) {
                    Some(limit) if limit.surfaces.contains(&surface) => {}
                    Some(limit) => limit.surfaces.push(surface),
                    None => {
                        let source = remark.basis.to_string();
                        limits.push(Limit { breach, source, surfaces: vec![surface] });
                    }
                }
            }
        }
    }
    limits
}

#[derive(Debug, Serialize)]
struct Kernel {
    name: String,
    ops: usize,
    /// Two for each multiply-add of matrix products and convolutions.
    flops: u64,
    /// Bytes of its weight files.
    weight_bytes: u64,
    weight_files: usize,
    input: Surface,
    output: Surface,
}

#[derive(Debug, Serialize)]
struct Surface {
    shape: Vec<usize>,
    dtype: String,
    /// Bytes, summed over all surfaces if there are several.
    bytes: usize,
    /// The shapes of further surfaces, if each value has its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<Vec<usize>>,
    values: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct Value {
    name: String,
    channel: usize,
    channels: usize,
    column: usize,
    columns: usize,
    /// The kernel that provides it, `host`, or `weights`; of outputs, this kernel.
    from: String,
    /// Whether it is a matrix stored as its transpose.
    #[serde(rename = "turned")]
    transposed: bool,
}

#[derive(Debug, Default, Serialize)]
struct Total {
    kernels: usize,
    ops: usize,
    flops: u64,
    weight_bytes: u64,
    surface_bytes: usize,
}

impl Listing {
    fn new(model: &str, cfg: &ModelConfig, specs: &[KernelSpec]) -> Listing {
        let name = |from: Provider| match from {
            Provider::Host => "host".to_owned(),
            Provider::Part(i) => specs.get(i).map_or_else(String::new, |k| k.name.clone()),
        };
        let value = |slot: &SurfaceRegion, from: String| Value {
            name: slot.name.clone(),
            channel: slot.channel,
            channels: slot.channels,
            column: slot.column,
            columns: slot.columns,
            from,
            transposed: slot.transposed,
        };
        let surface = |ty: &TensorType, others: &[TensorType], values: Vec<Value>| Surface {
            shape: ty.shape.to_vec(),
            dtype: ty.dtype.to_string(),
            bytes: others.iter().chain([ty]).filter_map(TensorType::bytes).sum(),
            others: others.iter().map(|ty| ty.shape.to_vec()).collect(),
            values,
        };
        let inputs = |k: &KernelSpec| {
            let values = k.inputs.iter().map(|l| value(&l.region, name(l.from)));
            values.chain(k.input_weights.iter().map(|c| value(&c.region, WEIGHTS.to_owned()))).collect()
        };
        let outputs = |k: &KernelSpec| k.outputs.iter().map(|l| value(&l.region, name(l.from))).collect();
        let kernels: Vec<Kernel> = specs
            .iter()
            .map(|k| Kernel {
                name: k.name.clone(),
                ops: k.stats.ops,
                flops: k.stats.flops,
                weight_bytes: k.stats.constant_bytes,
                weight_files: k.const_weights.len() + k.packed.constants.len(),
                input: surface(&k.packed.input, &k.packed.others, inputs(k)),
                output: surface(&k.packed.output, &[], outputs(k)),
            })
            .collect();
        let mut total = Total { kernels: kernels.len(), ..Total::default() };
        for k in &kernels {
            total.ops += k.ops;
            total.flops += k.flops;
            total.weight_bytes += k.weight_bytes;
            total.surface_bytes += k.input.bytes + k.output.bytes;
        }
        let (layers, dim, seq) = (cfg.layers, cfg.dim, cfg.seq);
        Listing {
            model: model.to_owned(),
            layers,
            dim,
            seq,
            kinds: Vec::new(),
            kernels,
            total,
            limits: limits(specs),
        }
    }

    fn text(&self, ui: &Ui) -> String {
        let mut out = format!(
            "{}: {}, dim {}, windows of {}\n\n",
            self.model,
            units::plural(self.layers, "layer"),
            self.dim,
            units::plural(self.seq, "token"),
        );
        let row = |out: &mut String, cells: [&str; 6]| {
            let [name, ops, gflop, weights, input, output] = cells;
            let line = format!("{name:<10}{ops:>5}{gflop:>9}{weights:>11}   {input:<30}{output}");
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}", line.trim_end());
        };
        row(&mut out, ["kernel", "ops", "GFLOP", "weights", "reads", "writes"]);
        let gflop = |flops: u64| format!("{:.3}", flops as f64 / 1e9);
        for k in &self.kernels {
            let size = |s: &Surface| match s.others.len() {
                0 => format!("{:?} {}", s.shape, units::bytes(s.bytes as u64)),
                n => format!("{} surfaces {}", n + 1, units::bytes(s.bytes as u64)),
            };
            row(
                &mut out,
                [
                    &k.name,
                    &k.ops.to_string(),
                    &gflop(k.flops),
                    &units::bytes(k.weight_bytes),
                    &size(&k.input),
                    &size(&k.output),
                ],
            );
        }
        let t = &self.total;
        let each = units::plural(t.kernels, "kernel");
        row(
            &mut out,
            [
                "a layer",
                &t.ops.to_string(),
                &gflop(t.flops),
                &units::bytes(t.weight_bytes),
                &each,
                &format!("surfaces {}", units::bytes(t.surface_bytes as u64)),
            ],
        );
        if self.kinds.len() > 1 {
            let _ = writeln!(
                out,
                "\nKinds of layers; their kernels differ in the constants of mask and RoPE alone:"
            );
            for kind in &self.kinds {
                let _ = writeln!(out, "  {kind}");
            }
        }
        let has_weights = self.kernels.iter().any(|k| k.input.values.iter().any(|v| v.from == WEIGHTS));
        let weights =
            if has_weights { "; weights with channels × columns, and their first ones" } else { "" };
        let _ = writeln!(out, "\nValues on the surfaces, with channels{weights}:");
        for k in &self.kernels {
            let _ = writeln!(out, "\n{}", ui.bold(&k.name));
            let (weights, values): (Vec<&Value>, Vec<&Value>) =
                k.input.values.iter().partition(|v| v.from == WEIGHTS);
            let reads = values.iter().map(|v| format!("{} {} ({})", v.name, v.channels, v.from));
            let writes = k.output.values.iter().map(|v| format!("{} {}", v.name, v.channels));
            wrap(&mut out, "  reads   ", reads);
            let at = |v: &&Value| {
                let transposed = if v.transposed { " transposed" } else { "" };
                format!("{} {}×{}{transposed} at {}, {}", v.name, v.channels, v.columns, v.channel, v.column)
            };
            if !weights.is_empty() {
                wrap(&mut out, "  weights ", weights.iter().map(at));
            }
            wrap(&mut out, "  writes  ", writes);
        }
        for limit in &self.limits {
            let _ = writeln!(out, "\nA real engine may refuse these surfaces: {}", limit.breach);
            wrap(&mut out, "  they are  ", limit.surfaces.iter().cloned());
            let _ = writeln!(out, "  source    {}", limit.source);
        }
        out.trim_end().to_owned()
    }
}

/// Writes items with commas, in lines of at most 100 columns.
fn wrap(out: &mut String, lead: &str, items: impl Iterator<Item = String>) {
    let mut line = lead.to_owned();
    let mut items = items.peekable();
    while let Some(mut item) = items.next() {
        if items.peek().is_some() {
            item.push(',');
        }
        if line.len() + item.len() > 100 && line.len() > lead.len() {
            let _ = writeln!(out, "{}", line.trim_end());
            line = " ".repeat(lead.len());
        }
        line.push_str(&item);
        line.push(' ');
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

/// Refuses a path that is not an empty or new folder.
fn refuse_occupied(dir: &Path) -> Result<(), CommandError> {
    let mut entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(TrainError::Io { doing: "read", path: dir.to_owned(), source }.into()),
    };
    match entries.next() {
        Some(_) => Err(CommandError::input(
            format!("the folder `{}` is not empty", dir.display()),
            "Name a new folder with `--emit`.",
        )),
        None => Ok(()),
    }
}

/// Writes `DIR/<kernel>/model.mil` and its weight files, with initial weights of `layer`.
fn emit(dir: &Path, cfg: &ModelConfig, layer: usize, kernels: &[KernelSpec]) -> Result<(), CommandError> {
    demand::check(cfg, Use::Weights)?;
    let theta = init_params(cfg, Settings::for_model(cfg, true).seed);
    let specs = cfg.params();
    for kernel in kernels {
        let folder = dir.join(&kernel.name);
        let weights = kernel
            .weights(&specs, layer, &theta)
            .map_err(|e| CommandError::failure(format!("weights of kernel `{}`: {e}", kernel.name)))?;
        let mut files =
            vec![(folder.join("model.mil"), mil::text::print(&kernel.packed.program).into_bytes())];
        for (path, bytes) in weights.files() {
            files.push((folder.join(path.strip_prefix(MODEL_PATH).unwrap_or(path)), bytes.to_vec()));
        }
        for (path, bytes) in files {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(|source| TrainError::Io {
                    doing: "create",
                    path: parent.to_owned(),
                    source,
                })?;
            }
            write_atomically(&path, &bytes)?;
        }
    }
    Ok(())
}
