//! Parameters of operations.

use crate::ty::{DType, Opset};

/// A parameter of an operation.
#[derive(Debug)]
pub struct Param {
    /// Its name in MIL text.
    pub name: &'static str,
    /// The kind of argument.
    pub role: Role,
    /// Accepted element types.
    pub dtypes: &'static [DType],
    /// The default.
    pub absent: Absent,
    /// The first opset that has it.
    pub since: Opset,
}

/// The kind of argument of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Any value.
    Tensor,
    /// A value defined by a `const` with inline elements.
    Const,
    /// A value whose elements the type rule reads. MIL allows computed values; here it must be constant after folding,
    /// or only the reference evaluator can run the operation.
    Known,
    /// A value of positions, such as the bounds of a slice. The type rule reads them if they are known; it
    /// refuses with `data-dependent` if it cannot do without.
    Bound,
    /// One or more values in brackets.
    Variadic,
    /// A literal in the attributes, as `val` of `const`.
    Attribute,
}

/// The default of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Absent {
    /// It must not be.
    Refused,
    /// It may be: the rules ask with [`Call::has`](super::Call::has).
    Allowed,
    /// This integer.
    Int(i64),
    /// This float.
    Float(f64),
    /// This boolean.
    Bool(bool),
    /// This string.
    Str(&'static str),
}

/// fp16 and fp32.
pub const FLOATS: &[DType] = &[DType::F16, DType::F32];
/// Floats and int32: the types of arithmetic.
pub const NUMBERS: &[DType] = &[DType::F16, DType::F32, DType::I32];
/// Every element type.
pub const ANY: &[DType] = &DType::ALL;
/// int32 only.
pub const I32: &[DType] = &[DType::I32];
/// Signed integers for sizes and indices, since iOS17 also narrow ones.
pub const INDEX: &[DType] = &[DType::I32, DType::I16, DType::I8];
/// bool only.
pub const BOOL: &[DType] = &[DType::Bool];
/// string only.
pub const STR: &[DType] = &[DType::Str];

const fn param(name: &'static str, role: Role, dtypes: &'static [DType]) -> Param {
    Param { name, role, dtypes, absent: Absent::Refused, since: Opset::Ios15 }
}

/// A parameter for any value.
pub const fn tensor(name: &'static str, dtypes: &'static [DType]) -> Param {
    param(name, Role::Tensor, dtypes)
}

/// A parameter that must be constant.
pub const fn constant(name: &'static str, dtypes: &'static [DType]) -> Param {
    param(name, Role::Const, dtypes)
}

/// A parameter whose elements the type rule reads, constant or computed.
pub const fn known(name: &'static str, dtypes: &'static [DType]) -> Param {
    param(name, Role::Known, dtypes)
}

/// A parameter of positions, constant or computed: the type rule reads them with `Call::data`.
pub const fn bound(name: &'static str, dtypes: &'static [DType]) -> Param {
    param(name, Role::Bound, dtypes)
}

/// A variadic parameter.
pub const fn variadic(name: &'static str, dtypes: &'static [DType]) -> Param {
    param(name, Role::Variadic, dtypes)
}

/// An attribute.
pub const fn attribute(name: &'static str, dtypes: &'static [DType]) -> Param {
    param(name, Role::Attribute, dtypes)
}

impl Param {
    /// Sets the default.
    pub const fn or(self, absent: Absent) -> Param {
        Param { name: self.name, role: self.role, dtypes: self.dtypes, absent, since: self.since }
    }

    /// Sets the opset that introduced it.
    pub const fn since(self, since: Opset) -> Param {
        Param { name: self.name, role: self.role, dtypes: self.dtypes, absent: self.absent, since }
    }

    /// Allows it to be absent.
    pub const fn optional(self) -> Param {
        self.or(Absent::Allowed)
    }
}
