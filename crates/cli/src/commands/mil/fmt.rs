//! `backpropane mil fmt`.

use super::program::Source;
use crate::error::CommandError;
use crate::ui::Ui;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use train::fs::write_atomically;

/// Lay MIL programs out as Apple's compiler does
///
/// Files are rewritten in place, all at once or not at all, and only if something changes. Nothing is lost: names,
/// attributes, comments and floats, to the bit, are as they were. A file that cannot be read as MIL is reported and
/// left alone; exit code 2.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane mil fmt model.mil kernels/*.mil
  backpropane mil fmt --check model.mil           exit code 1 if it is laid out otherwise
  backpropane mil fmt - < model.mil > pretty.mil
  backpropane mil fmt --stdout X.mlpackage        the text of what coremltools saved")]
pub struct FmtArgs {
    /// Programs to lay out; `-` reads stdin and writes stdout
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Change nothing; name the files that would change, and exit with 1 if there are any
    #[arg(long, conflicts_with = "stdout")]
    check: bool,

    /// Write to stdout instead of the file
    #[arg(long)]
    stdout: bool,
}

pub fn run(ui: &Ui, args: &FmtArgs) -> Result<(), CommandError> {
    let (mut unread, mut would_change) = (None, false);
    for path in &args.files {
        match file(ui, args, path) {
            Ok(changes) => would_change |= changes,
            Err(error) if error.is_failure() && args.files.len() > 1 => {
                ui.error(&error);
                unread = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match unread {
        Some(error) => Err(error.reported()),
        None if args.check && would_change => Err(CommandError::negative()),
        None => Ok(()),
    }
}

/// Formats one file; returns whether that changes it.
fn file(ui: &Ui, args: &FmtArgs, path: &Path) -> Result<bool, CommandError> {
    let piped = path == Path::new("-");
    let source = if piped { Source::stdin()? } else { Source::open(path)? };
    let read = mil::text::read(&source.text);
    if read.report.has_errors() {
        return Err(source.refuse(ui, &read.report));
    }
    let laid_out = mil::text::format(&read.tree);
    let changes = laid_out != source.text;
    if args.check {
        if changes {
            ui.result(&source.name)?;
        }
    } else if piped || args.stdout {
        print(ui, &laid_out)?;
    } else if source.model.is_some() {
        return Err(CommandError::input(
            format!("`{}` is a model file, which has no layout", source.name),
            "Use `--stdout`, or `backpropane mil convert` to write the text to a file.",
        ));
    } else if changes {
        replace(&source.path, laid_out.as_bytes())?;
    }
    Ok(changes)
}

/// The text as it is on stdout; a terminal gets the newline that the layout does not end with.
pub fn print(ui: &Ui, text: &str) -> Result<(), CommandError> {
    let mut out = ui.out();
    out.write_all(text.as_bytes())?;
    if out.is_terminal() {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Replaces the content of a file; follows links, and keeps permissions.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    let refuse = |e: std::io::Error| {
        let text = format!("cannot write `{}`: {e}", path.display());
        CommandError::input(text, "Allow writing there, or use `--stdout`.")
    };
    let target = path.canonicalize().map_err(refuse)?;
    let permissions = fs::metadata(&target).map_err(refuse)?.permissions();
    if permissions.readonly() {
        return Err(refuse(std::io::ErrorKind::PermissionDenied.into()));
    }
    write_atomically(&target, bytes)?;
    fs::set_permissions(&target, permissions).map_err(refuse)
}
