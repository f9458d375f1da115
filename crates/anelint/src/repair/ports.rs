//! The mapping of parameters and results: renamed, padded, split.

use mil::{Data, Function, Tensor, TensorType, ValueId};

/// The mapping of a function's parameters and results, in their order before the repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMap {
    /// The parameters.
    pub inputs: Vec<MovedPort>,
    /// The results.
    pub outputs: Vec<MovedPort>,
}

/// The mapping of one parameter or result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedPort {
    /// Its name before.
    pub name: String,
    /// Its type before.
    pub ty: TensorType,
    /// The ports that hold it now, in order along its last axis.
    pub pieces: Vec<Piece>,
}

/// A parameter or result of the repaired function, and the range of the original that it holds.
///
/// Its last axis begins with elements `start` to `start + len` of the original; the rest is padding, which parameters
/// ignore and which must be cropped from results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The position among the parameters, or the results, of the repaired function.
    pub at: usize,
    /// Its name there.
    pub name: String,
    /// Its type there.
    pub ty: TensorType,
    /// Where it begins along the last axis of the original; 0 for a scalar.
    pub start: usize,
    /// How many elements of that axis it holds; 1 for a scalar.
    pub len: usize,
}

/// The size of the last axis; 1 for a scalar.
pub(super) fn width(ty: &TensorType) -> usize {
    ty.shape.last().copied().unwrap_or(1)
}

impl Piece {
    /// The whole of the value `id`, at position `at`.
    pub(super) fn whole(function: &Function, at: usize, id: ValueId) -> Piece {
        let value = function.value(id);
        Piece { at, name: value.name.clone(), ty: value.ty.clone(), start: 0, len: width(&value.ty) }
    }
}

impl MovedPort {
    /// Whether name and type are unchanged.
    pub fn is_unchanged(&self) -> bool {
        matches!(&self.pieces[..], [p] if p.name == self.name && p.ty == self.ty)
    }

    fn then(&self, next: &[MovedPort]) -> MovedPort {
        let refine = |piece: &Piece| -> Vec<Piece> {
            let parts = next.get(piece.at).map_or(&[][..], |port| &port.pieces);
            // Elements past those of the original are padding.
            let within = |part: &Piece| Piece {
                start: piece.start + part.start,
                len: part.len.min(piece.len.saturating_sub(part.start)),
                ..part.clone()
            };
            parts.iter().map(within).collect()
        };
        MovedPort { pieces: self.pieces.iter().flat_map(refine).collect(), ..self.clone() }
    }

    /// Distributes `original` over its parts, with the position of each; `padding` gives a tensor that supplies the padding
    /// of a part.
    pub(super) fn scatter(
        &self,
        original: &Tensor,
        mut padding: impl FnMut(&TensorType) -> Tensor,
    ) -> Vec<(usize, Tensor)> {
        let lay = |piece: &Piece| {
            let mut tensor = padding(&piece.ty);
            copy_rows(original, piece.start, &mut tensor, 0, piece.len);
            (piece.at, tensor)
        };
        self.pieces.iter().map(lay).collect()
    }

    /// The original put together from `tensors`, all results of the repaired function.
    pub fn gather(&self, tensors: &[Tensor]) -> Tensor {
        let mut out = Tensor { ty: self.ty.clone(), data: Data::zeros(self.ty.dtype, self.ty.elements()) };
        for piece in &self.pieces {
            if let Some(tensor) = tensors.get(piece.at) {
                copy_rows(tensor, 0, &mut out, piece.start, piece.len);
            }
        }
        out
    }
}

impl PortMap {
    /// The identity mapping of a function.
    pub fn unchanged(function: &Function) -> PortMap {
        PortMap::moved(function, function)
    }

    /// The mapping to `after`, in the same order, without splits.
    pub(super) fn moved(before: &Function, after: &Function) -> PortMap {
        let ports = |old: &[ValueId], new: &[ValueId]| {
            let port = |(at, (&old, &new)): (usize, (&ValueId, &ValueId))| {
                let (value, mut piece) = (before.value(old), Piece::whole(after, at, new));
                piece.len = width(&value.ty);
                MovedPort { name: value.name.clone(), ty: value.ty.clone(), pieces: vec![piece] }
            };
            old.iter().zip(new).enumerate().map(port).collect()
        };
        PortMap {
            inputs: ports(&before.inputs, &after.inputs),
            outputs: ports(&before.outputs, &after.outputs),
        }
    }

    /// These, and then `next`.
    pub(super) fn then(&self, next: &PortMap) -> PortMap {
        PortMap {
            inputs: self.inputs.iter().map(|p| p.then(&next.inputs)).collect(),
            outputs: self.outputs.iter().map(|p| p.then(&next.outputs)).collect(),
        }
    }
}

/// Copies `len` elements of each row, from `start` in `from` to `begin` in `to`; as many as there are.
pub(super) fn copy_rows(from: &Tensor, start: usize, to: &mut Tensor, begin: usize, len: usize) {
    fn copy<T: Clone>(
        from: &[T],
        start: usize,
        to: &mut [T],
        begin: usize,
        len: usize,
        wide: (usize, usize),
    ) {
        if wide.0 == 0 || wide.1 == 0 {
            return;
        }
        for (source, target) in from.chunks(wide.0).zip(to.chunks_mut(wide.1)) {
            let source = source.get(start..).unwrap_or_default();
            let target = target.get_mut(begin..).unwrap_or_default();
            let n = len.min(source.len()).min(target.len());
            target[..n].clone_from_slice(&source[..n]);
        }
    }
    let wide = (width(&from.ty), width(&to.ty));
    match (&from.data, &mut to.data) {
        (Data::Float(f), Data::Float(t)) => copy(f, start, t, begin, len, wide),
        (Data::Int(f), Data::Int(t)) => copy(f, start, t, begin, len, wide),
        (Data::Bool(f), Data::Bool(t)) => copy(f, start, t, begin, len, wide),
        (Data::Str(f), Data::Str(t)) => copy(f, start, t, begin, len, wide),
        _ => {}
    }
}
