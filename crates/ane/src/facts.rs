//! What is known of the hardware: one table, each entry with its source.

use mil::TensorType;
use std::fmt;

/// A number about the hardware, and why we believe it.
#[derive(Clone, Copy, Debug)]
pub struct Fact<T> {
    /// The value to work with.
    pub value: T,
    /// What stands behind it.
    pub basis: Basis,
    /// How it can be measured again.
    pub remeasure: &'static str,
}

/// What stands behind a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Basis {
    /// Somebody says so.
    Reported { by: &'static str, on: &'static str, says: &'static str },
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Basis::Reported { by, on, says } = self;
        write!(f, "{by} ({on}): {says}")
    }
}

/// A limit that a surface does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What is so of the surface.
    pub breach: &'static str,
    /// The limit.
    pub limit: usize,
    /// What stands behind it.
    pub basis: Basis,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.breach, self.limit)
    }
}

/// The limits of real engines that a surface of type `ty` does not keep.
pub fn remarks(ty: &TensorType) -> Vec<Remark> {
    let width = ty.shape.last().copied().unwrap_or(0);
    let largest = ty.shape.iter().copied().max().unwrap_or(0);
    let bytes = ty.bytes().unwrap_or(0);
    let limits = [
        (!width.is_multiple_of(LAST_AXIS_MULTIPLE.value), "the width is no multiple of", LAST_AXIS_MULTIPLE),
        (width > MAX_INPUT_WIDTH.value, "the width is above", MAX_INPUT_WIDTH),
        (largest > MAX_AXIS.value, "an axis is above", MAX_AXIS),
        (bytes < MIN_SURFACE_BYTES.value, "the bytes are below", MIN_SURFACE_BYTES),
    ];
    let remark =
        |(_, breach, fact): (bool, _, Fact<usize>)| Remark { breach, limit: fact.value, basis: fact.basis };
    limits.into_iter().filter(|l| l.0).map(remark).collect()
}

/// The last axis of a surface's tensor is a multiple of this, in elements.
pub const LAST_AXIS_MULTIPLE: Fact<usize> = Fact {
    value: 32,
    basis: Basis::Reported {
        by: "h3 and rustane, projects that build on maderix/ANE",
        on: "M3 Ultra",
        says: "rows are padded to 64 bytes; a width that is not a multiple of 16 corrupts data or is slow",
    },
    remeasure: "write a ramp through an identity program of width 8, 16, 24, 32 and compare",
};

/// The last axis of what an engine reads and writes is a multiple of this, in elements, or it fails or loses elements.
pub const LAST_AXIS_STEP: Fact<usize> = Fact {
    value: 16,
    basis: Basis::Reported {
        by: "jmanhype/ane-lora-training; luengnat/rustane; h3",
        on: "M4; M3 Ultra",
        says: "4, 8, 12, 20, 24 and 28 compile and fail when evaluated, 16, 32, 64 and 2048 pass; rows that are not \
               multiples of 16 are rejected or lose their tail",
    },
    remeasure: "run `identity` of [1, 64, 1, N] for N = 4, 8, 12, 16, 24, 32 and compare",
};

/// The most queries or keys of `scaled_dot_product_attention` that come out right.
pub const SDPA_LONGEST: Fact<usize> = Fact {
    value: 2048,
    basis: Basis::Reported {
        by: "ANEForge",
        on: "M1 to M5",
        says: "the native operation is reliable up to 2048, if the shorter side is below 512",
    },
    remeasure: "compare the operation with its parts for rising lengths",
};

/// The shorter of queries and keys of `scaled_dot_product_attention` stays below this.
pub const SDPA_SHORTER_SIDE: Fact<usize> = Fact {
    value: 512,
    basis: SDPA_LONGEST.basis,
    remeasure: "compare the operation with its parts for rising lengths",
};

/// The largest size of one axis.
pub const MAX_AXIS: Fact<usize> = Fact {
    value: 65536,
    basis: Basis::Reported {
        by: "maderix/ANE, issue 26; ANEForge",
        on: "M4; A16 and later",
        says: "a vocabulary of 151936 had to be split; older families have smaller limits",
    },
    remeasure: "compile `identity` of [1, N, 1, 32] around N = 65536",
};

/// The widest last axis of an input.
pub const MAX_INPUT_WIDTH: Fact<usize> = Fact {
    value: 16384,
    basis: Basis::Reported {
        by: "rustane, issue 13",
        on: "M3 Ultra",
        says: "16384 passes, 17920 is refused",
    },
    remeasure: "compile `identity` of [1, 64, 1, N] around N = 16384",
};

/// The smallest surface, in bytes.
pub const MIN_SURFACE_BYTES: Fact<usize> = Fact {
    value: 49152,
    basis: Basis::Reported {
        by: "Orion; ane-train says 2048; maderix/ANE uses 64 channels or more",
        on: "M4 Max; M1",
        says: "smaller ones compile, but fail when evaluated",
    },
    remeasure: "run `identity` of [1, C, 1, 32] in fp16 for falling C",
};

#[cfg(test)]
mod tests {
    use super::*;
    use mil::ty::f16;

    #[test]
    fn each_limit_is_remarked_on_with_its_source() {
        assert!(remarks(&f16([1, 768, 1, 256])).is_empty());
        let said = |shape: [usize; 4]| {
            remarks(&f16(shape)).iter().map(|r| format!("{r}; {}", r.basis)).collect::<Vec<_>>().join("\n")
        };
        assert!(said([1, 768, 1, 100]).starts_with("the width is no multiple of 32; h3"));
        assert!(said([1, 4, 1, 32]).starts_with("the bytes are below 49152; Orion"));
        assert!(said([1, 70_000, 1, 32]).starts_with("an axis is above 65536; maderix/ANE"));
        assert!(said([1, 64, 1, 16_416]).starts_with("the width is above 16384; rustane"));
    }
}
