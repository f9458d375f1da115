//! Case files: a program, `//! after`, the program that it becomes, `//! says`, and what is said, a line each.
//!
//! `//! rules ID…` at the top asks for these rules; without it, what is repaired by default is repaired.

use anelint::repair::Repaired;

pub struct Case {
    pub rules: Vec<String>,
    pub before: String,
}

impl Case {
    pub fn read(text: &str) -> Case {
        let before = text.split("//! after\n").next().unwrap_or_default();
        let (rules, before) = match before.strip_prefix("//! rules ") {
            Some(rest) => rest.split_once('\n').expect("a program follows"),
            None => ("", before),
        };
        Case { rules: rules.split_whitespace().map(str::to_owned).collect(), before: before.to_owned() }
    }

    /// The file as it should be.
    pub fn became(&self, repaired: &Repaired) -> String {
        let mut out = String::new();
        if !self.rules.is_empty() {
            out += &format!("//! rules {}\n", self.rules.join(" "));
        }
        out += self.before.trim_end();
        out += &format!("\n//! after\n{}\n//! says\n", mil::text::print(&repaired.program).trim_end());
        for applied in &repaired.applied {
            for change in &applied.changes {
                out += &format!("{}: {change}\n", applied.repair.name);
            }
        }
        for obstacle in &repaired.obstacles {
            out += &format!("cannot {}: {}\n", obstacle.repair.name, obstacle.reason);
        }
        for ports in &repaired.ports {
            let all = ports.inputs.iter().chain(&ports.outputs);
            for port in all.filter(|p| !p.is_unchanged()) {
                let piece =
                    |p: &anelint::repair::Piece| format!("`{}` {} from {}, {}", p.name, p.ty, p.start, p.len);
                let pieces: Vec<String> = port.pieces.iter().map(piece).collect();
                out += &format!("`{}` {}: {}\n", port.name, port.ty, pieces.join("; "));
            }
        }
        out
    }
}
