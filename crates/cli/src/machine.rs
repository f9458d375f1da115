//! This machine: its system and its processor.

use std::process::Command;

/// The output of a system program, on one line.
fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty() && !text.contains('\n')).then_some(text)
}

/// The system with its version.
pub fn system() -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let version = || {
        let version = ask("sw_vers", &["-productVersion"])?;
        let build = ask("sw_vers", &["-buildVersion"])?;
        Some(format!("macOS {version} ({build})"))
    };
    let known = if os == "macos" { version() } else { None };
    known.unwrap_or_else(|| format!("{os} on {arch}"))
}

/// The processor.
pub fn chip() -> String {
    let brand =
        if cfg!(target_os = "macos") { ask("sysctl", &["-n", "machdep.cpu.brand_string"]) } else { None };
    brand.unwrap_or_else(softane::instruction_set)
}
