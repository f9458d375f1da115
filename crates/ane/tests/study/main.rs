//! Probes: what a correct engine answers, and that an engine with a fault answers something else.

mod fake;
mod faults;
mod soft;

use ane::study::{self, Finding, Lab};
use ane::{Choice, Device, SoftOptions, open};

/// The software engine.
fn soft_engine() -> Box<dyn Device> {
    open(Choice::Soft, SoftOptions::threads(2).expect("threads")).expect("the software engine")
}

/// What probe `id` finds of `about`.
fn find(device: &dyn Device, id: &str, about: &str) -> Finding {
    let probe = study::find(id).unwrap_or_else(|| panic!("no probe `{id}`"));
    let findings = probe.ask(&Lab::new(device));
    findings
        .into_iter()
        .find(|f| f.about == about)
        .unwrap_or_else(|| panic!("`{id}` says nothing of {about}"))
}
