//! Parameters of operations.

use crate::ty::{DType, Opset};

/// A parameter of an operation.
#[derive(Debug)]
pub struct Param {
    /// Its name in MIL text.
    pub name: &'static str,
    /// What can be given.
    pub role: Role,
    /// Element types it takes.
    pub dtypes: &'static [DType],
    /// What holds when it is absent.
    pub absent: Absent,
    /// The first opset that has it.
    pub since: Opset,
}

/// What can be given for a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Any value.
    Tensor,
    /// A value that a `const` defines, with its elements in the program.
    Const,
    /// A value whose elements the type rule reads. MIL lets it be computed; here it is constant once constants are
    /// folded, or the operation runs in the reference engine alone, which knows every value.
    Known,
    /// A value whose elements say where, as the bounds of a slice do. The type rule reads them if they are known; it
    /// refuses with `data-dependent` if it cannot do without.
    Bound,
    /// One or more values in brackets.
    Variadic,
    /// A literal in the attributes, as `val` of `const`.
    Attribute,
}

/// What holds when a parameter is absent.
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
/// Floats and int32: what arithmetic takes.
pub const NUMBERS: &[DType] = &[DType::F16, DType::F32, DType::I32];
/// Every element type.
pub const ANY: &[DType] = &DType::ALL;
/// int32 alone.
pub const I32: &[DType] = &[DType::I32];
/// The signed integers that name sizes and places, since iOS17 also narrow ones.
pub const INDEX: &[DType] = &[DType::I32, DType::I16, DType::I8];
/// bool alone.
pub const BOOL: &[DType] = &[DType::Bool];
/// string alone.
pub const STR: &[DType] = &[DType::Str];

const fn param(name: &'static str, role: Role, dtypes: &'static [DType]) -> Param {
    Param { name, role, dtypes, absent: Absent::Refused, since: Opset::Ios15 }
}

/// A parameter that takes any value.
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

/// A parameter whose elements say where, constant or computed: the type rule asks with [`Call::data`] for them.
pub const fn bound(name: &'static str, dtypes: &'static [DType]) -> Param {
    param(name, Role::Bound, dtypes)
}

/// A parameter that takes several values.
pub const fn variadic(name: &'static str, dtypes: &'static [DType]) -> Param {
    param(name, Role::Variadic, dtypes)
}

/// A parameter that stands among the attributes.
pub const fn attribute(name: &'static str, dtypes: &'static [DType]) -> Param {
    param(name, Role::Attribute, dtypes)
}

impl Param {
    /// Gives what holds when it is absent.
    pub const fn or(self, absent: Absent) -> Param {
        Param { name: self.name, role: self.role, dtypes: self.dtypes, absent, since: self.since }
    }

    /// Says which opset brought it.
    pub const fn since(self, since: Opset) -> Param {
        Param { name: self.name, role: self.role, dtypes: self.dtypes, absent: self.absent, since }
    }

    /// Allows it to be absent.
    pub const fn optional(self) -> Param {
        self.or(Absent::Allowed)
    }
}
