//! The programs that are compared, and how each is started.

use super::report::Model;
use super::result::Row;
use crate::child::Finished;
use crate::error::CommandError;
use crate::machine;
use ane::MatmulPrecision;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter of a Python environment.
const PYTHON: &str = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };

/// Where Linux distributions install OpenBLAS.
const OPENBLAS: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/libopenblas.so.0",
    "/usr/lib/aarch64-linux-gnu/libopenblas.so.0",
    "/usr/lib64/libopenblas.so.0",
    "/usr/lib/libopenblas.so.0",
    "/usr/lib/libopenblas.so",
];

/// A program that trains the models.
#[derive(Debug)]
pub struct Program {
    /// Its name in the table.
    pub name: String,
    /// Whether it is this program.
    pub ours: bool,
    /// Whether factors of matrix products are rounded to bf16.
    pub bf16: bool,
    executable: PathBuf,
    folder: PathBuf,
    /// The arguments before the model.
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

/// The programs of this machine.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that are set up; ours first.
    pub programs: Vec<Program>,
    /// The others: a sentence each.
    pub left_out: Vec<String>,
}

/// Finds the programs in `folder`, an absolute path, and adds this one with each of `maths`; `venvs` is the folder of the
/// Python environments, if not the usual one.
///
/// # Errors
/// If this program's own path is unknown.
pub fn find(folder: &Path, venvs: Option<&Path>, maths: &[MatmulPrecision]) -> Result<Found, CommandError> {
    let mut found = Found::default();
    let me = env::current_exe()
        .map_err(|e| CommandError::failure(format!("cannot start this program again: {e}")))?;
    for &math in maths {
        found.add_ours(&me, folder, math);
    }
    let usual = folder.join("venvs");
    let venvs = venvs.unwrap_or(&usual);
    found.add_torch(folder, venvs);
    if let Some(python) = found.python("JAX", &venvs.join("jax")) {
        found.programs.push(Program::new("JAX", &python, folder).script("peer_jax.py"));
    }
    found.add_mlx(folder, venvs);
    for name in ["candle", "burn"] {
        let executable = folder.join(format!("target/release/peer-{name}{}", env::consts::EXE_SUFFIX));
        if executable.is_file() {
            found.programs.push(Program::new(name, &executable, folder));
        } else {
            found.left_out.push(format!("{name}: there is no `{}`", executable.display()));
        }
    }
    Ok(found)
}

impl Found {
    fn add_ours(&mut self, me: &Path, folder: &Path, math: MatmulPrecision) {
        let name = format!("backpropane --math {}", math.name());
        let device = ane::DeviceOptions { math, ..ane::DeviceKind::Soft.into() };
        let opened = ane::SoftOptions::threads(1).and_then(|options| ane::open(device, options));
        if let Err(refused) = opened {
            return self.left_out.push(format!("{name}: {refused}"));
        }
        let mut program = Program::new(&name, me, folder);
        program.ours = true;
        program.bf16 = math == MatmulPrecision::Bf16;
        let arguments = ["bench", "step", "--line", "--device", "soft", "--math", math.name()];
        program.arguments = arguments.map(OsString::from).into();
        self.programs.push(program);
    }

    /// PyTorch as installed, and compiled in fp32 and bf16 with its matrix library at its best.
    fn add_torch(&mut self, folder: &Path, venvs: &Path) {
        let Some(python) = self.python("PyTorch", &venvs.join("torch")) else { return };
        let torch = |name: &str| Program::new(name, &python, folder).script("peer_torch.py");
        self.programs.push(torch("PyTorch, as installed"));
        let fix = folder.join("mklfix.so");
        let fixed = cfg!(target_os = "linux") && fix.is_file();
        if !fixed && machine::processor().contains("AMD") {
            let what = "PyTorch with MKL's AVX-512 kernels, compiled or not: there is no";
            self.left_out.push(format!("{what} `{}`", fix.display()));
        }
        for bf16 in [false, true] {
            let mut name = "PyTorch, compiled".to_owned();
            name.push_str(if fixed { ", mklfix" } else { "" });
            name.push_str(if bf16 { ", bf16" } else { "" });
            let mut program = torch(&name);
            program.bf16 = bf16;
            let dtype = if bf16 { "bf16" } else { "fp32" };
            program.arguments.extend(["--compile", "--dtype", dtype].map(OsString::from));
            if fixed {
                program.environment.push(("LD_PRELOAD", fix.clone().into()));
            }
            self.programs.push(program);
        }
    }

    /// MLX; on Linux with OpenBLAS, as it comes with a reference BLAS that takes seconds a step.
    fn add_mlx(&mut self, folder: &Path, venvs: &Path) {
        let Some(python) = self.python("MLX", &venvs.join("mlx")) else { return };
        let mlx = |name: &str| Program::new(name, &python, folder).script("peer_mlx.py");
        if !cfg!(target_os = "linux") {
            return self.programs.push(mlx("MLX"));
        }
        let Some(blas) = OPENBLAS.into_iter().find(|path| Path::new(path).is_file()) else {
            let last = OPENBLAS.join("`, `");
            return self.left_out.push(format!("MLX: it needs OpenBLAS, and there is none of `{last}`"));
        };
        let mut program = mlx("MLX, OpenBLAS");
        program.environment.push(("LD_PRELOAD", blas.into()));
        if softane::instruction_set().contains("AVX-512") {
            program.environment.push(("OPENBLAS_CORETYPE", "SKYLAKEX".into()));
        }
        self.programs.push(program);
    }

    /// The interpreter of an environment; noted as left out if there is none.
    fn python(&mut self, name: &str, venv: &Path) -> Option<PathBuf> {
        let python = venv.join(PYTHON);
        if python.is_file() {
            return Some(python);
        }
        self.left_out.push(format!("{name}: there is no `{}`", python.display()));
        None
    }
}

impl Program {
    fn new(name: &str, executable: &Path, folder: &Path) -> Program {
        Program {
            name: name.to_owned(),
            ours: false,
            bf16: false,
            executable: executable.to_owned(),
            folder: folder.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    fn script(mut self, name: &str) -> Program {
        self.arguments = vec!["-B".into(), name.into()];
        self
    }

    /// The command that times steps of `model`.
    pub fn command(&self, model: Model, threads: usize, samples: usize) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.folder).args(&self.arguments);
        match self.ours {
            true => command.args(["--model", model.name()]),
            false => command.arg(model.workload()),
        };
        command.args(["--threads", &threads.to_string(), "--samples", &samples.to_string()]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A row of the table without times.
    pub fn row(&self, model: Model) -> Row {
        Row {
            program: self.name.clone(),
            model: model.name().to_owned(),
            ours: self.ours,
            bf16: self.bf16,
            rounds: Vec::new(),
            problem: None,
        }
    }

    /// The line on standard error that says what went wrong: the first of ours, the last of Python's.
    pub fn complaint<'a>(&self, ended: &'a Finished) -> &'a str {
        if self.ours {
            return ended.complaint();
        }
        ended.stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message")
    }
}
