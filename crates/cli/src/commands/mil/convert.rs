//! `backpropane mil convert`.

mod folder;

use self::folder::{NewFolder, beside};
use super::program::Source;
use super::weights::Folder;
use crate::error::CommandError;
use crate::ui::Ui;
use crate::units;
use coreml::package;
use mil::TensorType;
use mil::text::tree::{ArgValue, BlockNode, Item, Literal, Tree, Type, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use train::fs::write_atomically;

/// The prefix of paths in a program.
const MODEL_PATH: &str = "@model_path/";
/// The folder of weight files, beside the program.
const WEIGHTS: &str = "weights";

/// Write a MIL program in another format, weights included
///
/// The name of OUT says which: X.mlpackage, as coremltools saves and Core ML compiles; X.mlmodelc, a folder with the text
/// and its weights, without what Core ML itself keeps there; X.mlmodel, a model file alone, of programs without weight
/// files; X.mil, the text, with its weights in a folder `weights` beside it. Every record of a weight file is checked first. A file or folder that is there already is
/// not replaced.
///
/// A text that becomes a model file comes back the same to the last letter, as `mil fmt` lays it out; comments are left
/// out. What a model file has besides a program (images, default values, author) is named, and not in a text.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane mil convert X.mlpackage x.mil             the text of what coremltools saved
  backpropane mil convert x.mil X.mlpackage             for Core ML
  backpropane mil convert X.mlmodelc Y.mlpackage
  backpropane mil convert x.mil Y.mlpackage --weights blobs/")]
pub struct ConvertArgs {
    /// A MIL text, .mlmodelc, .mlpackage or .mlmodel
    #[arg(value_name = "IN")]
    program: PathBuf,

    /// What to write: .mlpackage, .mlmodelc, .mlmodel or .mil
    #[arg(value_name = "OUT")]
    out: PathBuf,

    /// Where the weight files are [default: where the program says, beside it]
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
}

/// A format to write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Package,
    Compiled,
    Model,
    Text,
}

impl Format {
    fn of(path: &Path) -> Result<Format, CommandError> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("mlpackage") => Ok(Format::Package),
            Some("mlmodelc") => Ok(Format::Compiled),
            Some("mlmodel") => Ok(Format::Model),
            Some("mil") => Ok(Format::Text),
            _ => Err(CommandError::input(
                format!("`{}` does not say which format to write", path.display()),
                "End its name with .mlpackage, .mlmodelc, .mlmodel or .mil.",
            )),
        }
    }
}

pub fn run(ui: &Ui, args: &ConvertArgs) -> Result<(), CommandError> {
    let format = Format::of(&args.out)?;
    let source = Source::open(&args.program)?;
    let read = mil::text::read(&source.text);
    source.check(ui, &read)?;
    if fs::symlink_metadata(&args.out).is_ok() {
        return Err(CommandError::input(
            format!("`{}` is there already", args.out.display()),
            "Remove it, or name another.",
        ));
    }
    let mut folder = Folder::new(&source.folder, args.weights.as_deref());
    let files = weight_files(&read.tree, &mut folder)?;
    let moved = moved(files.iter().map(String::as_str));
    let mut tree = read.tree.clone();
    let weights: BTreeMap<&str, &str> =
        files.iter().zip(&moved).map(|(from, to)| (from.as_str(), to.as_str())).collect();
    tree.functions.iter_mut().for_each(|f| rename(&mut f.block, &weights));
    if format != Format::Text && format != Format::Compiled {
        // What the compiler of Core ML would refuse has no place in a model file.
        tree.comments.clear();
    }
    let bytes = match format {
        Format::Text | Format::Compiled => mil::text::format(&tree).into_bytes(),
        Format::Model | Format::Package => model_file(ui, &source, &tree)?,
    };
    let total = match format {
        Format::Package => {
            let mut new = NewFolder::create(&args.out)?;
            let data = Path::new(package::DATA);
            new.write(&data.join(package::MODEL), &bytes)?;
            let model = Path::new(package::MODEL).parent().unwrap_or(Path::new(""));
            let total = new.copy_all(&data.join(model), &weights, &mut folder)?;
            let manifest = package::manifest(&bytes, !weights.is_empty());
            new.write(Path::new(package::MANIFEST), manifest.as_bytes())?;
            new.finish()?;
            total
        }
        Format::Compiled => {
            let mut new = NewFolder::create(&args.out)?;
            new.write(Path::new("model.mil"), &bytes)?;
            let total = new.copy_all(Path::new(""), &weights, &mut folder)?;
            new.finish()?;
            total
        }
        Format::Text => {
            let total = beside(&args.out, &weights, &mut folder)?;
            write_atomically(&args.out, &bytes)?;
            total
        }
        Format::Model if !weights.is_empty() => {
            return Err(CommandError::input(
                format!("`{}` has weight files, and a .mlmodel is one file", source.name),
                "Write an .mlpackage.",
            ));
        }
        Format::Model => {
            write_atomically(&args.out, &bytes)?;
            0
        }
    };
    tell(ui, &source, &read.tree, format);
    let out = args.out.display();
    let operations = read.tree.statements().filter(|s| s.op.text != "const").count();
    let operations = units::plural(operations, "operation");
    ui.result(&match total {
        0 => format!("`{out}`: {operations}"),
        total => format!("`{out}`: {operations}, {} of weights", units::bytes(total)),
    })
}

/// Names what the written file lacks of the source.
fn tell(ui: &Ui, source: &Source, tree: &Tree<'_>, format: Format) {
    for lost in source.model.iter().flatten() {
        ui.say(format!("note: not kept: {lost}"));
    }
    if format != Format::Text && format != Format::Compiled && !tree.comments.is_empty() {
        ui.say(format!("note: not kept: {}", units::plural(tree.comments.len(), "comment")));
    }
}

fn model_file(ui: &Ui, source: &Source, tree: &Tree<'_>) -> Result<Vec<u8>, CommandError> {
    let file = coreml::write(tree).map_err(|report| {
        source.explain(ui, &report);
        CommandError::input(
            format!("`{}` has a part that model files do not have", source.name),
            "Change the place that is shown as the help below it says.",
        )
    })?;
    for input in &file.any_size {
        ui.say(format!("note: `{input}` may have any sizes, as the program names no default for them"));
    }
    Ok(file.bytes)
}

/// The weight files that the program names, in order; each record has been checked.
fn weight_files(tree: &Tree<'_>, folder: &mut Folder) -> Result<BTreeSet<String>, CommandError> {
    let mut files = BTreeSet::new();
    for literal in tree.statements().flat_map(|s| s.literals()) {
        let (Value::Blob { path, offset }, Type::Tensor { dtype, dims }) = (&literal.value, &literal.ty)
        else {
            continue;
        };
        match dims.iter().copied().collect::<Option<Vec<usize>>>() {
            Some(shape) => folder.check(path, *offset, &TensorType::new(*dtype, shape))?,
            None => folder.record(path, *offset)?,
        };
        files.insert(path.clone().into_owned());
    }
    Ok(files)
}

/// The target of each weight file, relative to the program's folder: files in `weights` keep their place, others move there.
fn moved<'f>(files: impl Iterator<Item = &'f str> + Clone) -> Vec<String> {
    let inside = |path: &str| {
        let below = Path::new(path.strip_prefix(MODEL_PATH).unwrap_or(path));
        let plain = below.components().all(|c| matches!(c, Component::Normal(_)));
        (plain && below.starts_with(WEIGHTS) && below.components().count() > 1).then(|| path_text(below))
    };
    let mut taken: BTreeSet<String> = files.clone().filter_map(inside).collect();
    let place = |path: &str| {
        inside(path).unwrap_or_else(|| {
            let name = Path::new(path).file_name().and_then(|n| n.to_str()).unwrap_or("weight.bin");
            let numbered = (1..).map(|n| match n {
                1 => format!("{WEIGHTS}/{name}"),
                n => format!("{WEIGHTS}/{n}-{name}"),
            });
            let free = numbered.into_iter().find(|to| !taken.contains(to)).unwrap_or_default();
            taken.insert(free.clone());
            free
        })
    };
    files.map(place).collect()
}

fn path_text(path: &Path) -> String {
    path.components().filter_map(|c| c.as_os_str().to_str()).collect::<Vec<_>>().join("/")
}

/// Lets the literals of a block name the weight files where they are going.
fn rename(block: &mut BlockNode<'_>, weights: &BTreeMap<&str, &str>) {
    let to = |literal: &mut Literal<'_>| {
        if let Value::Blob { path, .. } = &mut literal.value
            && let Some(to) = weights.get(&**path)
        {
            *path = Cow::Owned(format!("{MODEL_PATH}{to}"));
        }
    };
    for statement in &mut block.statements {
        for arg in &mut statement.args {
            let items = match &mut arg.value {
                ArgValue::One(item) => std::slice::from_mut(item),
                ArgValue::List(items) => items,
            };
            for item in items {
                if let Item::Literal(literal) = item {
                    to(literal);
                }
            }
        }
        statement.attrs.iter_mut().for_each(|attr| to(&mut attr.literal));
        statement.blocks.iter_mut().for_each(|nested| rename(&mut nested.block, weights));
    }
}

#[cfg(test)]
mod tests {
    use super::moved;

    #[test]
    fn weight_files_go_to_one_folder_and_keep_apart() {
        let files = [
            "@model_path/weights/weight.bin",
            "@model_path/weights/a/b.bin",
            "@model_path/weight.bin",
            "@model_path/../weights/weight.bin",
            "@model_path/weights/../x.bin",
            "/abs/y.bin",
        ];
        let want = [
            "weights/weight.bin",
            "weights/a/b.bin",
            "weights/2-weight.bin",
            "weights/3-weight.bin",
            "weights/x.bin",
            "weights/y.bin",
        ];
        assert_eq!(moved(files.into_iter()), want);
    }
}
