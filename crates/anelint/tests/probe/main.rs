//! Probes: what a correct engine answers, and that an engine with a fault answers something else.

mod fake;
mod faults;
mod soft;

use ane::{Device, DeviceKind, SoftOptions, open};
use anelint::probe::{self, Finding, Prober};

/// The software engine.
fn soft_engine() -> Box<dyn Device> {
    open(DeviceKind::Soft, SoftOptions::threads(2).expect("threads")).expect("the software engine")
}

/// What probe `id` finds of `about`.
fn find(device: &dyn Device, id: &str, about: &str) -> Finding {
    let probe = probe::find(id).unwrap_or_else(|| panic!("no probe `{id}`"));
    let findings = probe.ask(&Prober::new(device));
    findings
        .into_iter()
        .find(|f| f.about == about)
        .unwrap_or_else(|| panic!("`{id}` says nothing of {about}"))
}
