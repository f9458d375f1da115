//! This machine: its system and its processor.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

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

/// The processor's name as the system gives it, on Linux with its family and model: virtual machines shorten the name.
pub fn processor() -> String {
    named(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()).unwrap_or_else(chip)
}

/// The processor that `/proc/cpuinfo` names.
fn named(cpuinfo: &str) -> Option<String> {
    let field = |name: &str| {
        let values = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        values
            .map(|(key, value)| (key.trim(), value.trim()))
            .find(|(key, value)| *key == name && !value.is_empty())
    };
    let (_, name) = field("model name")?;
    Some(match (field("cpu family"), field("model")) {
        (Some((_, family)), Some((_, model))) => format!("{name} (family {family}, model {model})"),
        _ => name.to_owned(),
    })
}

/// The date in UTC: year, month and day.
pub fn date() -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    now.chars().take_while(|&c| c != 'T').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_named_with_family_and_model() {
        let text =
            "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\n";
        assert_eq!(named(text).as_deref(), Some("AMD EPYC (family 25, model 17)"));
        assert_eq!(named("model name\t: Cortex\n").as_deref(), Some("Cortex"));
        assert_eq!(named("processor\t: 0\nCPU part\t: 0xd0c\n"), None);
        assert!(!processor().is_empty());
    }

    #[test]
    fn a_date_has_no_time() {
        let parts: Vec<usize> = date().split('-').map(str::len).collect();
        assert_eq!(parts, [4, 2, 2]);
    }
}
