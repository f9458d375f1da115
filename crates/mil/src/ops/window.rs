//! Windows over the spatial axes of `[N, C, *D]`, shared by convolutions and pools.

use crate::build::{Input, Var};
use crate::diag::Reject;
use crate::op::Call;
use crate::ty::Shape;

/// Sizes up to this keep the arithmetic of windows within 64 bits.
const LONGEST_AXIS: usize = i32::MAX as usize;

/// One spatial axis with the windows on it.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Elements that the windows move over, without padding.
    pub len: usize,
    /// Elements of a window.
    pub size: usize,
    /// From one element of a window to the next.
    pub dilation: usize,
    /// From one window to the next.
    pub stride: usize,
    /// Padding before the first element.
    pub before: usize,
    /// Padding after the last element.
    pub after: usize,
    /// The number of windows.
    pub count: usize,
}

impl Axis {
    /// The extent of a window, with dilation.
    fn reach(&self) -> usize {
        (self.size - 1) * self.dilation + 1
    }

    /// The extent of all windows together.
    fn span(&self) -> usize {
        (self.count - 1) * self.stride + self.reach()
    }

    /// The padding after the last element that windows cover: less than `after` if some of it is unused,
    /// more where the number of windows was rounded up.
    pub fn reached_after(&self) -> usize {
        self.span().saturating_sub(self.before + self.len)
    }

    /// Which element is number `tap` of window `at`; `None` in the padding.
    pub fn place(&self, at: usize, tap: usize) -> Option<usize> {
        (at * self.stride + tap * self.dilation).checked_sub(self.before).filter(|&p| p < self.len)
    }

    /// Elements of window `at`, including padding, excluding those beyond it.
    pub fn padded_size(&self, at: usize) -> usize {
        (self.before + self.len + self.after).saturating_sub(at * self.stride).min(self.size)
    }

    /// The same windows without elements that are always padding; for windows without dilation.
    pub fn trimmed(&self) -> Axis {
        let first = self.before.saturating_sub((self.count - 1) * self.stride);
        let behind = self.size.min(self.before + self.len);
        Axis { size: behind - first, before: self.before - first, ..self.clone() }
    }
}

/// How ends are padded.
enum Padding {
    Same,
    SameLower,
    /// Before and after each axis.
    Given(Vec<usize>),
}

/// Window parameters, before the number of windows is known.
struct Plan {
    stride: Vec<usize>,
    dilation: Vec<usize>,
    padding: Padding,
}

impl Plan {
    fn of(a: &Call<'_>, axes: usize, paddings: &[&str]) -> Result<Plan, Reject> {
        let given = list(a, "pad", 2 * axes, 0)?;
        let kind = a.str("pad_type").to_ascii_lowercase();
        let padding = match kind.as_str() {
            kind if !paddings.contains(&kind) => {
                let known = paddings.iter().map(|p| format!("`{p}`")).collect::<Vec<_>>().join(", ");
                let text = format!("`{}` has no padding `{}`", a.op.name(), a.str("pad_type"));
                return Err(Reject::new("pad-type", text).help(format!("use one of {known}")));
            }
            "same" => Padding::Same,
            "same_lower" => Padding::SameLower,
            "custom" => Padding::Given(given),
            _ => Padding::Given(vec![0; 2 * axes]),
        };
        let dilation = match a.op.param("dilations") {
            Some(_) => list(a, "dilations", axes, 1)?,
            None => vec![1; axes],
        };
        Ok(Plan { stride: list(a, "strides", axes, 1)?, dilation, padding })
    }

    /// Axis `i` of length `len`, without its number of windows.
    fn axis(&self, i: usize, len: usize, size: usize) -> Axis {
        let (stride, dilation) = (self.stride[i], self.dilation[i]);
        let mut axis = Axis { len, size, dilation, stride, before: 0, after: 0, count: 1 };
        // So much that there is a window for each `stride` elements.
        let total = ((len.div_ceil(stride).max(1) - 1) * stride + axis.reach()).saturating_sub(len);
        let (small, large) = (total / 2, total - total / 2);
        (axis.before, axis.after) = match &self.padding {
            Padding::Same => (small, large),
            Padding::SameLower => (large, small),
            Padding::Given(pad) => (pad[2 * i], pad[2 * i + 1]),
        };
        axis
    }
}

/// The `n` numbers of parameter `name`, all at least `least`, which is also the default.
fn list(a: &Call<'_>, name: &'static str, n: usize, least: usize) -> Result<Vec<usize>, Reject> {
    if !a.has(name) {
        return Ok(vec![least; n]);
    }
    let v: Option<Vec<usize>> = a.ints(name).iter().map(|&d| usize::try_from(d).ok()).collect();
    v.filter(|v| v.len() == n && v.iter().all(|d| (least..=LONGEST_AXIS).contains(d))).ok_or_else(|| {
        let text = format!("`{name}` of `{}` needs {n} numbers from {least} up", a.op.name());
        Reject::new("window-list", text).label(name, format!("{:?}", a.ints(name)))
    })
}

/// The window sizes in parameter `name`.
pub(super) fn sizes(a: &Call<'_>, name: &'static str, axes: usize) -> Result<Vec<usize>, Reject> {
    list(a, name, axes, 1)
}

/// Refuses a `name` that is not `[N, C, *D]` with one to three spatial axes, or has an axis that is empty or too long.
pub(super) fn check_image(a: &Call<'_>, name: &'static str) -> Result<(), Reject> {
    let (op, shape) = (a.op.name(), &a.ty(name).shape);
    if !(3..=5).contains(&shape.len()) {
        let text = format!("`{op}` needs `{name}` of 3 to 5 axes, the first two for batch and channels");
        return Err(Reject::new("rank", text).label(name, Shape(shape).to_string()));
    }
    if shape.iter().any(|&d| d == 0 || d > LONGEST_AXIS) {
        let text = format!("`{op}` needs axes of sizes from 1 to 2³¹ − 1");
        return Err(Reject::new("axis-size", text).label(name, Shape(shape).to_string()));
    }
    Ok(())
}

/// Whether the last window may reach beyond the padding.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Rest {
    /// No: the remainder of an axis is ignored.
    LeftOut,
    /// Yes, as long as it starts before the padding at the end.
    Seen,
}

/// Windows of `sizes` over `x`.
pub(super) fn windows(a: &Call<'_>, sizes: &[usize], rest: Rest) -> Result<Vec<Axis>, Reject> {
    let spatial = &a.ty("x").shape[2..];
    let plan = Plan::of(a, spatial.len(), &["valid", "same", "same_lower", "custom"])?;
    let of = |(i, (&len, &size)): (usize, (&usize, &usize))| {
        let mut axis = plan.axis(i, len, size);
        let padded = len + axis.before + axis.after;
        let Some(room) = padded.checked_sub(axis.reach()) else {
            let text = format!("the window of `{}` is larger than the padded `x`", a.op.name());
            return Err(Reject::new("window", text)
                .label("x", format!("{padded} elements with padding along axis {}", i + 2))
                .help(format!("the window needs {} elements", axis.reach())));
        };
        axis.count = match rest {
            Rest::LeftOut => room / axis.stride + 1,
            Rest::Seen => room.div_ceil(axis.stride) + 1,
        };
        let last = (axis.count - 1) * axis.stride;
        if rest == Rest::Seen && last >= len + axis.before && axis.before + axis.after > 0 {
            axis.count -= 1;
        }
        Ok(axis)
    };
    spatial.iter().zip(sizes).enumerate().map(of).collect()
}

/// Windows of `sizes` that a transposed convolution writes, one for each element of `x`; `len` is the result's length.
pub(super) fn written_windows(
    a: &Call<'_>,
    sizes: &[usize],
    given: Option<&[usize]>,
) -> Result<Vec<Axis>, Reject> {
    let spatial = &a.ty("x").shape[2..];
    let plan = Plan::of(a, spatial.len(), &["valid", "same", "custom"])?;
    let of = |(i, (&count, &size)): (usize, (&usize, &usize))| {
        let bare = Axis { count, ..plan.axis(i, 1, size) };
        let len = match (given, &plan.padding) {
            (Some(given), _) => given[i],
            (None, Padding::Given(_)) => bare.span().saturating_sub(bare.before + bare.after),
            (None, _) => count.saturating_mul(bare.stride),
        };
        let refuse = |text: &str| {
            Err(Reject::new("output-size", format!("`conv_transpose` {text}"))
                .label("x", format!("{count} elements along axis {}", i + 2))
                .help(format!(
                    "with these windows the result has {} elements before `pad` is removed",
                    bare.span()
                )))
        };
        if len == 0 || len > LONGEST_AXIS {
            return refuse("has an empty or too large result along an axis");
        }
        let axis = Axis { count, ..plan.axis(i, len, size) };
        let room = (len + axis.before + axis.after).checked_sub(axis.reach());
        if room.map(|room| room / axis.stride + 1) != Some(count) {
            return refuse(
                "cannot produce this `output_shape`: `conv` would not map it back to the shape of `x`",
            );
        }
        Ok(axis)
    };
    spatial.iter().zip(sizes).enumerate().map(of).collect()
}

/// Operation `op`, a convolution or its transpose, with the windows of `axes`, for gradient rules.
pub(super) fn convolved<'b>(
    op: &str,
    x: Var<'b>,
    weight: Var<'b>,
    axes: &[Axis],
    groups: usize,
    output_shape: Option<&[usize]>,
) -> Var<'b> {
    let ints = |f: fn(&Axis) -> usize| -> Input<'b> {
        axes.iter().map(|axis| f(axis) as i64).collect::<Vec<_>>().into()
    };
    let pad: Vec<i64> = axes.iter().flat_map(|a| [a.before as i64, a.reached_after() as i64]).collect();
    let mut args = vec![
        ("x", x.into()),
        ("weight", weight.into()),
        ("strides", ints(|axis| axis.stride)),
        ("pad_type", "custom".into()),
        ("pad", pad.into()),
        ("dilations", ints(|axis| axis.dilation)),
        ("groups", (groups as i64).into()),
    ];
    if let Some(shape) = output_shape {
        args.push(("output_shape", shape.iter().map(|&d| d as i64).collect::<Vec<_>>().into()));
    }
    x.builder().op(op, args)
}
