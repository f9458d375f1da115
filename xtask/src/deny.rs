//! `cargo xtask deny`: checks the dependencies against `deny.toml`.
//!
//! Checks licences, sources and duplicate versions with `cargo metadata` alone, so it needs neither network nor further
//! tools. The hosted workflow runs cargo-deny with the same file, for advisories too.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, ExitCode};

#[derive(Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    #[serde(default)]
    skip: Vec<Skip>,
}

/// A duplicate version that is allowed.
#[derive(Deserialize)]
struct Skip {
    /// `name@version`; the version may be a prefix.
    #[serde(rename = "crate")]
    spec: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// Its registry; `None` for the workspace's own packages.
    source: Option<String>,
}

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks the workspace at `root` and prints every violation.
pub fn run(root: &Path) -> ExitCode {
    match read(root).map(|(policy, packages)| problems(&policy, &packages)) {
        Ok(found) if found.is_empty() => {
            eprintln!("deny: licences, sources and versions are as deny.toml says");
            ExitCode::SUCCESS
        }
        Ok(found) => {
            found.iter().for_each(|problem| eprintln!("error: {problem}"));
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

fn read(root: &Path) -> Result<(Policy, Vec<Package>), String> {
    let path = root.join("deny.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let policy = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .current_dir(root)
        .output()
        .map_err(|e| format!("cannot start cargo metadata: {e}"))?;
    if !metadata.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&metadata.stderr)));
    }
    let metadata: Metadata =
        serde_json::from_slice(&metadata.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
    Ok((policy, metadata.packages))
}

fn problems(policy: &Policy, packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut unused: BTreeSet<&str> = policy.bans.skip.iter().map(|s| s.spec.as_str()).collect();
    for package in packages.iter().filter(|p| p.source.is_some()) {
        let Package { name, version, license, source } = package;
        if source.as_deref() != Some(REGISTRY) {
            found.push(format!(
                "{name} {version} comes from {}, not from crates.io",
                source.as_deref().unwrap_or("?")
            ));
        }
        if let Err(problem) = allowed(license.as_deref(), &policy.licenses.allow) {
            found.push(format!("{name} {version}: {problem}"));
        }
        match policy.bans.skip.iter().find(|skip| skip.matches(name, version)) {
            Some(skip) => _ = unused.remove(skip.spec.as_str()),
            None => _ = versions.entry(name).or_default().insert(version),
        }
    }
    for (name, versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
        let versions: Vec<&str> = versions.into_iter().collect();
        found.push(format!(
            "{name} is there in versions {}; use one, or add a `skip` with its reason",
            versions.join(", ")
        ));
    }
    found.extend(unused.into_iter().map(|spec| format!("deny.toml skips {spec}, which is not in the tree")));
    found
}

impl Skip {
    fn matches(&self, name: &str, version: &str) -> bool {
        let (its_name, its_version) = self.spec.split_once('@').unwrap_or((&self.spec, ""));
        let rest = version.strip_prefix(its_version);
        name == its_name
            && rest.is_some_and(|rest| its_version.is_empty() || rest.is_empty() || rest.starts_with('.'))
    }
}

/// Whether an SPDX expression can be satisfied with allowed licences only.
fn allowed(license: Option<&str>, allow: &[String]) -> Result<(), String> {
    let text = license.ok_or("states no licence")?;
    let expression = spdx::Expression::parse_mode(text, spdx::ParseMode::LAX)
        .map_err(|e| format!("`{text}` is no SPDX expression: {}", e.reason))?;
    match expression.evaluate(|requirement| allow.iter().any(|name| *name == requirement.to_string())) {
        true => Ok(()),
        false => Err(format!("licence `{text}` is not among those that deny.toml allows")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, license: &str, source: &str) -> Package {
        let [name, version] = [name, version].map(str::to_owned);
        Package { name, version, license: Some(license.to_owned()), source: Some(source.to_owned()) }
    }

    #[test]
    fn each_kind_of_breach_is_named() {
        let policy: Policy = toml::from_str(
            "licenses.allow = [\"MIT\"]\n[bans]\nskip = [{ crate = \"old@0.9\" }, { crate = \"gone@1\" }]",
        )
        .expect("a policy");
        let packages = [
            package("old", "0.9.5", "MIT", REGISTRY),
            package("old", "0.10.1", "MIT OR GPL-3.0", REGISTRY),
            package("two", "1.0.0", "Apache-2.0/MIT", REGISTRY),
            package("two", "2.0.0", "MIT", REGISTRY),
            package("viral", "1.0.0", "GPL-3.0", REGISTRY),
            package("fork", "1.0.0", "MIT", "git+https://example.org/fork"),
        ];
        let found = problems(&policy, &packages);
        for (at, words) in ["viral 1.0.0", "fork 1.0.0", "two is there", "gone@1"].iter().enumerate() {
            assert!(found[at].contains(words), "{found:#?}");
        }
        assert_eq!(found.len(), 4, "{found:#?}");
    }
}
