//! Lists the framework's classes and methods as the Objective-C runtime describes them.

use super::framework::{FRAMEWORK, encoding, library, text};
use crate::apple::ClassInfo;
use crate::error::DeviceError;
use objc2::runtime::AnyClass;

/// A substring of the names of the framework's classes.
const PREFIX: &str = "ANE";

/// The classes whose names contain `ANE` and `filter`, by name. Calls none of their methods.
///
/// # Errors
/// `Unavailable`, if the framework cannot be opened.
pub fn classes(filter: &str) -> Result<Vec<ClassInfo>, DeviceError> {
    library(FRAMEWORK).map_err(|e| DeviceError::Unavailable { missing: format!("{FRAMEWORK}: {e}") })?;
    let all = AnyClass::classes();
    let ours = all.iter().filter(|c| {
        let name = text(c.name());
        name.contains(PREFIX) && name.contains(filter)
    });
    let mut found: Vec<ClassInfo> = ours.map(|class| describe(class)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn describe(class: &AnyClass) -> ClassInfo {
    let name = text(class.name());
    let mut methods = Vec::new();
    for (sign, class) in [('+', class.metaclass()), ('-', class)] {
        let list = class.instance_methods();
        let mut side: Vec<(String, String)> = list
            .iter()
            .map(|m| {
                let selector = text(m.name().name());
                (format!("{sign}[{name} {selector}]"), encoding(m).unwrap_or_default())
            })
            .collect();
        side.sort();
        methods.extend(side);
    }
    ClassInfo { superclass: class.superclass().map(|s| text(s.name())), methods, name }
}
