//! The values of one side of a program, parameters or results, on surfaces.

use super::place;
use super::product::{RuntimeWeights, WeightForm};
use super::region::{PackError, SurfaceRegion};
use crate::facts;
use mil::{Function, TensorType, ValueId};

/// The layout of a value on a surface of some width.
#[derive(Clone, Copy)]
pub(super) enum SurfaceLayout {
    /// Unchanged: `[1, C, 1, S]`.
    Straight,
    /// Reshaped: its last axis is `S`.
    Flat,
    /// Transposed and reshaped: its second to last axis is `S`.
    Turned,
    /// A weight, next to the columns of activations.
    Weight(WeightForm),
}

/// Values on one surface, in their order, or on one each.
pub(super) struct PackedSide {
    pub slots: Vec<(SurfaceRegion, SurfaceLayout)>,
    pub types: Vec<TensorType>,
}

impl PackedSide {
    /// Gives each value its own surface.
    pub fn separate(mut self) -> PackedSide {
        let Some(dtype) = self.types.first().map(|ty| ty.dtype) else { return self };
        let own = |(i, (slot, _)): (usize, &mut (SurfaceRegion, SurfaceLayout))| {
            (slot.surface, slot.channel, slot.column) = (i, 0, 0);
            TensorType::new(dtype, [1, slot.channels, 1, slot.columns])
        };
        self.types = self.slots.iter_mut().enumerate().map(own).collect();
        self
    }
}

/// Gives each of `values` of `function` its own surface, as wide as its last axis; that of a weight is a multiple of what
/// engines take.
pub(super) fn apart(
    function: &Function,
    values: &[ValueId],
    weights: &RuntimeWeights<'_>,
) -> Result<PackedSide, PackError> {
    let Some(dtype) = values.first().map(|&v| function.ty(v).dtype) else { return Err(PackError::Nothing) };
    let mut slots = Vec::new();
    for &v in values {
        let width = function.ty(v).shape.last().copied().unwrap_or(1);
        slots.push(slot(function, v, width, weights)?);
    }
    // A weight's rows may be shorter than those of surfaces.
    let multiple = facts::LAST_AXIS_MULTIPLE.value;
    let own = |(i, (slot, layout)): (usize, &mut (SurfaceRegion, SurfaceLayout))| {
        slot.surface = i;
        let width = match layout {
            SurfaceLayout::Weight(_) => slot.columns.next_multiple_of(multiple),
            _ => slot.columns,
        };
        TensorType::new(dtype, [1, slot.channels, 1, width])
    };
    let types = slots.iter_mut().enumerate().map(own).collect();
    Ok(PackedSide { slots, types })
}

/// Places each of `values` of `function`: stacked, or, if there are weights, in blocks.
pub(super) fn side(
    function: &Function,
    values: &[ValueId],
    width: usize,
    weights: &RuntimeWeights<'_>,
) -> Result<PackedSide, PackError> {
    let dtype = function.ty(values[0]).dtype;
    let mut slots = Vec::new();
    for &v in values {
        let (name, ty) = (&function.value(v).name, function.ty(v));
        if ty.dtype != dtype {
            return Err(PackError::ElementType { name: name.clone(), ty: ty.clone(), want: dtype });
        }
        slots.push(slot(function, v, width, weights)?);
    }
    if !slots.iter().any(|(_, layout)| matches!(layout, SurfaceLayout::Weight(_))) {
        let mut channel = 0;
        for (slot, _) in &mut slots {
            slot.channel = channel;
            channel += slot.channels;
        }
        return Ok(PackedSide { slots, types: vec![TensorType::new(dtype, [1, channel, 1, width])] });
    }
    let block = |(slot, layout): &(SurfaceRegion, SurfaceLayout)| {
        let turn = match *layout {
            SurfaceLayout::Weight(WeightForm::Matrix { turn, .. }) => Some(turn),
            _ => None,
        };
        let first = !matches!(layout, SurfaceLayout::Weight(_));
        place::Rect { rows: slot.channels, columns: slot.columns, first, turn }
    };
    let blocks: Vec<place::Rect> = slots.iter().map(block).collect();
    let Some(layout) = place::place(&blocks) else { return Err(too_large(function, values, weights)) };
    for ((slot, _), spot) in slots.iter_mut().zip(layout.spots) {
        (slot.channel, slot.column, slot.transposed) = (spot.channel, spot.column, spot.transposed);
        if spot.transposed {
            (slot.channels, slot.columns) = (slot.columns, slot.channels);
        }
    }
    Ok(PackedSide { slots, types: vec![TensorType::new(dtype, [1, layout.channels, 1, layout.width])] })
}

/// The size and the layout of `v` on a surface of this width, in its corner.
fn slot(
    function: &Function,
    v: ValueId,
    width: usize,
    weights: &RuntimeWeights<'_>,
) -> Result<(SurfaceRegion, SurfaceLayout), PackError> {
    let (name, ty) = (function.value(v).name.clone(), function.ty(v));
    let layout = match (weights.of(v), &*ty.shape) {
        (Some(form), _) => SurfaceLayout::Weight(form),
        (None, [1, _, 1, w]) if *w == width => SurfaceLayout::Straight,
        (None, [.., w]) if *w == width => SurfaceLayout::Flat,
        (None, [1, _, w, _]) if *w == width => SurfaceLayout::Turned,
        _ => return Err(PackError::NoWidth { name, ty: ty.clone(), width }),
    };
    let (channels, columns) = match layout {
        SurfaceLayout::Weight(WeightForm::Matrix { rows, columns, .. }) => (rows, columns),
        SurfaceLayout::Weight(WeightForm::Vector { rows }) => (rows, 1),
        _ => (ty.elements() / width, width),
    };
    let region =
        SurfaceRegion { name, surface: 0, channel: 0, channels, column: 0, columns, transposed: false };
    Ok((region, layout))
}

fn too_large(function: &Function, values: &[ValueId], weights: &RuntimeWeights<'_>) -> PackError {
    let found = values.iter().filter(|&&v| weights.of(v).is_some());
    match found.max_by_key(|&&v| function.ty(v).elements()) {
        Some(&v) => PackError::TooLarge {
            name: function.value(v).name.clone(),
            ty: function.ty(v).clone(),
            highest: facts::MAX_AXIS.value,
            widest: facts::MAX_INPUT_WIDTH.value,
        },
        None => PackError::Nothing,
    }
}
