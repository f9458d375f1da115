//! `backpropane explore`.

use crate::error::CommandError;
use crate::output::print_json;
use crate::ui::Ui;
use serde::Serialize;
use std::fmt::Write;

/// List the classes of the Neural Engine's framework, or the methods of some
///
/// The framework is private and differs from system to system: this shows what the running one has, with the types of
/// each method as the runtime keeps them. Nothing is called.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane explore                     every class
  backpropane explore _ANEInMemoryModel   the methods of classes with that in their names")]
pub struct ExploreArgs {
    /// A part of the names of classes; their methods are listed too
    #[arg(value_name = "CLASS")]
    class: Option<String>,

    /// Print JSON, methods included
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Class {
    name: String,
    superclass: Option<String>,
    methods: Vec<Method>,
}

#[derive(Debug, Serialize)]
struct Method {
    name: String,
    encoding: String,
}

pub fn run(ui: &Ui, args: &ExploreArgs) -> Result<(), CommandError> {
    let filter = args.class.as_deref().unwrap_or_default();
    let found = ane::apple::classes(filter).map_err(|e| CommandError::failure(e.to_string()))?;
    if found.is_empty() {
        let hint = "Leave the name out for a list of all.";
        return Err(CommandError::input(
            format!("no class of the framework has `{filter}` in its name"),
            hint,
        ));
    }
    let class = |c: ane::apple::ClassInfo| Class {
        name: c.name,
        superclass: c.superclass,
        methods: c.methods.into_iter().map(|(name, encoding)| Method { name, encoding }).collect(),
    };
    let classes: Vec<Class> = found.into_iter().map(class).collect();
    if args.json {
        return print_json(ui, &classes);
    }
    let mut out = String::new();
    for class in &classes {
        let parent = class.superclass.as_deref().map(|s| format!(" : {s}")).unwrap_or_default();
        let _ = writeln!(out, "{}{parent}", class.name);
        for method in class.methods.iter().filter(|_| args.class.is_some()) {
            let _ = writeln!(out, "  {}  {}", method.name, method.encoding);
        }
    }
    ui.result(out.trim_end())
}
