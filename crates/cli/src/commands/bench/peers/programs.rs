//! The programs that are compared, and how each is started.

use super::report::Model;
use super::result::{COMPILED, Row};
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
    folder: PathBuf,
    venvs: PathBuf,
    avx2: bool,
}

/// Finds the programs in `folder`, and adds this one with each of `maths`; `venvs` is the folder of the Python environments.
/// Both are absolute paths. With `avx2`, programs use no instructions beyond; those that cannot be told so are left out.
///
/// # Errors
/// If this program's own path is unknown.
pub fn find(
    folder: PathBuf,
    venvs: PathBuf,
    avx2: bool,
    maths: &[MatmulPrecision],
) -> Result<Found, CommandError> {
    let mut found = Found { folder, venvs, avx2, ..Found::default() };
    let me = env::current_exe()
        .map_err(|e| CommandError::failure(format!("cannot start this program again: {e}")))?;
    for &math in maths {
        found.add_ours(&me, math);
    }
    found.add_torch();
    if let Some(python) = found.python("JAX", "jax") {
        let mut jax = found.script("JAX", &python, "peer_jax.py");
        if avx2 {
            jax.environment.push(("XLA_FLAGS", "--xla_cpu_max_isa=AVX2".into()));
        }
        found.programs.push(jax);
    }
    found.add_mlx();
    for name in ["candle", "burn"] {
        let executable = found.folder.join(format!("target/release/peer-{name}{}", env::consts::EXE_SUFFIX));
        if !executable.is_file() {
            found.left_out.push(format!("{name}: there is no `{}`", executable.display()));
        } else if avx2 {
            found.left_out.push(format!("{name}: it cannot be restricted to AVX2"));
        } else {
            found.programs.push(Program::new(name, &executable, &found.folder));
        }
    }
    Ok(found)
}

impl Found {
    fn add_ours(&mut self, me: &Path, math: MatmulPrecision) {
        let name = format!("backpropane --math {}", math.name());
        let device = ane::DeviceOptions { math, ..ane::DeviceKind::Soft.into() };
        let opened = ane::SoftOptions::threads(1).and_then(|options| ane::open(device, options));
        if let Err(refused) = opened {
            return self.left_out.push(format!("{name}: {refused}"));
        }
        if self.avx2 && math.needs() != MatmulPrecision::F32.needs() {
            return self.left_out.push(format!("{name}: it needs {}", math.needs()));
        }
        let mut program = Program::new(&name, me, &self.folder);
        program.ours = true;
        program.bf16 = math == MatmulPrecision::Bf16;
        let mut arguments = vec!["bench", "step", "--line", "--device", "soft", "--math", math.name()];
        arguments.extend(if self.avx2 { &["--isa", "avx2"][..] } else { &[] });
        program.arguments = arguments.into_iter().map(OsString::from).collect();
        self.programs.push(program);
    }

    /// PyTorch as installed, and compiled in fp32 and bf16 with its matrix library at its best.
    fn add_torch(&mut self) {
        let Some(python) = self.python("PyTorch", "torch") else { return };
        let torch = |found: &Found, name: &str| {
            let mut program = found.script(name, &python, "peer_torch.py");
            if found.avx2 {
                let limits = ["ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"];
                let values = ["avx2", "AVX2", "AVX2"].map(OsString::from);
                program.environment.extend(limits.into_iter().zip(values));
            }
            program
        };
        let installed = torch(self, "PyTorch, as installed");
        self.programs.push(installed);
        let fix = self.folder.join("mklfix.so");
        // With AVX2 alone the fixed library would still choose AVX-512.
        let fixed = cfg!(target_os = "linux") && !self.avx2 && fix.is_file();
        if !fixed && !self.avx2 && machine::processor().contains("AMD") {
            let what = "PyTorch with MKL's kernels for Intel's processors: there is no";
            self.left_out.push(format!("{what} `{}`", fix.display()));
        }
        for bf16 in [false, true] {
            let mut name = COMPILED.to_owned();
            name.push_str(if fixed { ", mklfix" } else { "" });
            name.push_str(if bf16 { ", bf16" } else { "" });
            let mut program = torch(self, &name);
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
    fn add_mlx(&mut self) {
        let Some(python) = self.python("MLX", "mlx") else { return };
        if !cfg!(target_os = "linux") {
            let program = self.script("MLX", &python, "peer_mlx.py");
            return self.programs.push(program);
        }
        let Some(blas) = OPENBLAS.into_iter().find(|path| Path::new(path).is_file()) else {
            let places = OPENBLAS.join("`, `");
            return self.left_out.push(format!("MLX: it needs OpenBLAS, and there is none of `{places}`"));
        };
        let mut program = self.script("MLX, OpenBLAS", &python, "peer_mlx.py");
        program.environment.push(("LD_PRELOAD", blas.into()));
        if self.avx2 {
            program.environment.push(("OPENBLAS_CORETYPE", "HASWELL".into()));
        } else if softane::instruction_set().contains("AVX-512") {
            program.environment.push(("OPENBLAS_CORETYPE", "SKYLAKEX".into()));
        }
        self.programs.push(program);
    }

    fn script(&self, name: &str, python: &Path, script: &str) -> Program {
        let mut program = Program::new(name, python, &self.folder);
        program.arguments = vec!["-B".into(), script.into()];
        program
    }

    /// The interpreter of an environment; noted as left out if there is none.
    fn python(&mut self, name: &str, environment: &str) -> Option<PathBuf> {
        let python = self.venvs.join(environment).join(PYTHON);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The arguments and the environment of each program, if all are set up.
    fn commands(avx2: bool) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["venvs/torch", "venvs/jax"] {
            let python = folder.path().join(name).join(PYTHON);
            fs::create_dir_all(python.parent().unwrap()).unwrap();
            fs::write(python, "").unwrap();
        }
        let (path, venvs) = (folder.path().to_owned(), folder.path().join("venvs"));
        let found = find(path, venvs, avx2, &[MatmulPrecision::F32, MatmulPrecision::Int16]).unwrap();
        let shown = |program: &Program| {
            let command = program.command(Model::Stories15m, 2, 7);
            let arguments = command.get_args().map(|a| a.to_string_lossy().into_owned());
            let environment = command
                .get_envs()
                .map(|(name, value)| format!("{}={}", name.display(), value.unwrap_or_default().display()));
            (program.name.clone(), environment.chain(arguments).collect::<Vec<_>>().join(" "))
        };
        found.programs.iter().map(shown).collect()
    }

    fn command<'a>(all: &'a [(String, String)], name: &str) -> Option<&'a str> {
        all.iter().find(|(program, _)| program == name).map(|(_, command)| command.as_str())
    }

    #[test]
    fn each_program_gets_the_model_in_its_own_words() {
        let all = commands(false);
        let ours = "bench step --line --device soft --math f32 --model stories15m --threads 2 --samples 7";
        assert_eq!(command(&all, "backpropane --math f32"), Some(ours));
        let bf16 = "-B peer_torch.py --compile --dtype bf16 C --threads 2 --samples 7";
        assert_eq!(command(&all, "PyTorch, compiled, bf16"), Some(bf16));
        assert_eq!(command(&all, "JAX"), Some("-B peer_jax.py C --threads 2 --samples 7"));
    }

    #[test]
    fn all_that_run_are_restricted_to_avx2() {
        let all = commands(true);
        assert_eq!(command(&all, "backpropane --math int16"), None);
        let ours = command(&all, "backpropane --math f32").unwrap();
        assert!(ours.contains(" --math f32 --isa avx2 "), "{ours}");
        for (name, limit) in [
            (
                "PyTorch, as installed",
                "ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 ",
            ),
            (
                "PyTorch, compiled",
                "ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 ",
            ),
            ("JAX", "XLA_FLAGS=--xla_cpu_max_isa=AVX2 "),
        ] {
            let shown = command(&all, name).unwrap();
            assert!(shown.starts_with(limit), "{name}: {shown}");
        }
    }
}
