//! Views: strided tensors over buffers.

use mil::tensor::strides;

/// A strided view of a buffer: element `i` is at `offset + Σ i·strides`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// Which buffer.
    pub buffer: usize,
    /// The index of the first element.
    pub offset: usize,
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// The step of each axis, in elements; 0 along broadcast axes.
    pub strides: Vec<usize>,
}

impl View {
    /// All of `buffer`, row-major.
    pub fn packed(buffer: usize, shape: &[usize]) -> View {
        View { buffer, offset: 0, shape: shape.to_vec(), strides: strides(shape) }
    }

    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the elements are contiguous, row-major.
    pub fn is_packed(&self) -> bool {
        let mut step = 1;
        for (&d, &s) in self.shape.iter().zip(&self.strides).rev() {
            if d != 1 && s != step {
                return false;
            }
            step *= d;
        }
        true
    }

    /// The axes in another order: axis `i` of the result is axis `perm[i]`.
    pub fn permuted(&self, perm: &[usize]) -> View {
        View {
            shape: perm.iter().map(|&p| self.shape[p]).collect(),
            strides: perm.iter().map(|&p| self.strides[p]).collect(),
            ..*self
        }
    }

    /// The slice from `begin` on with steps `step` and shape `shape`.
    pub fn part(&self, begin: &[usize], step: &[usize], shape: &[usize]) -> View {
        let within = begin.iter().zip(&self.strides).map(|(b, s)| b * s).sum::<usize>();
        // An empty part may begin at the end of the buffer, which is no valid offset.
        let offset = self.offset + if shape.contains(&0) { 0 } else { within };
        let strides = self.strides.iter().zip(step).map(|(s, n)| s * n).collect();
        View { buffer: self.buffer, offset, shape: shape.to_vec(), strides }
    }

    /// Broadcast to `shape` by NumPy's rules.
    pub fn broadcast(&self, shape: &[usize]) -> View {
        let lead = shape.len() - self.shape.len();
        let step = |i: usize| match i.checked_sub(lead) {
            Some(j) if self.shape[j] == shape[i] => self.strides[j],
            _ => 0,
        };
        let strides = (0..shape.len()).map(step).collect();
        View { buffer: self.buffer, offset: self.offset, shape: shape.to_vec(), strides }
    }

    /// The same elements in row-major order as `shape`; `None` if that needs a copy.
    pub fn reshaped(&self, shape: &[usize]) -> Option<View> {
        // Axes of size 1 have no step that matters; runs of old axes are matched with runs of new ones of equal size.
        let old: Vec<(usize, usize)> = self.axes().filter(|a| a.0 != 1).collect();
        let mut out = vec![0; shape.len()];
        let (mut o, mut n) = (0, 0);
        while n < shape.len() {
            if shape[n] == 1 {
                n += 1;
                continue;
            }
            let (first_old, first_new) = (o, n);
            let (mut have, mut want) = (1, 1);
            loop {
                if have < want || o == first_old {
                    have *= old.get(o)?.0;
                    o += 1;
                } else if want < have || n == first_new {
                    want *= shape.get(n)?;
                    n += 1;
                } else {
                    break;
                }
            }
            let run = &old[first_old..o];
            if run.windows(2).any(|w| w[0].1 != w[1].1 * w[1].0) {
                return None;
            }
            let mut step = run.last()?.1;
            for i in (first_new..n).rev() {
                out[i] = step;
                step *= shape[i];
            }
        }
        Some(View { buffer: self.buffer, offset: self.offset, shape: shape.to_vec(), strides: out })
    }

    fn axes(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.shape.iter().copied().zip(self.strides.iter().copied())
    }
}

/// How several tensors of one shape are walked together: as few axes as their strides allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    /// The sizes of the axes; at least one.
    pub dims: Vec<usize>,
    /// For each tensor, the step of each axis.
    pub steps: Vec<Vec<usize>>,
}

impl Walk {
    /// Walks tensors of `shape`. The last `keep` axes are merged only among themselves.
    pub fn new(shape: &[usize], tensors: &[&[usize]], keep: usize) -> Walk {
        let border = shape.len() - keep.min(shape.len());
        let mut dims: Vec<usize> = Vec::new();
        let mut steps = vec![Vec::new(); tensors.len()];
        // How many of `dims` precede the border.
        let mut before = 0;
        for (axis, &d) in shape.iter().enumerate() {
            let fits =
                |at: usize| tensors.iter().zip(&steps).all(|(t, s): (_, &Vec<usize>)| s[at] == t[axis] * d);
            match dims.len().checked_sub(1) {
                _ if d == 1 => continue,
                Some(last) if (axis < border || last >= before) && fits(last) => {
                    dims[last] *= d;
                    for (s, t) in steps.iter_mut().zip(tensors) {
                        s[last] = t[axis];
                    }
                }
                _ => {
                    dims.push(d);
                    before += usize::from(axis < border);
                    for (s, t) in steps.iter_mut().zip(tensors) {
                        s.push(t[axis]);
                    }
                }
            }
        }
        if keep > 0 && shape[border..].iter().all(|&d| d == 1) || dims.is_empty() {
            dims.push(1);
            for s in &mut steps {
                s.push(0);
            }
        }
        Walk { dims, steps }
    }

    /// The size of the last axis.
    pub fn inner(&self) -> usize {
        self.dims[self.dims.len() - 1]
    }

    /// Where row `row` of tensor `t` begins, rows being all axes but the last.
    pub fn row(&self, t: usize, mut row: usize) -> usize {
        let last = self.dims.len() - 1;
        let mut at = 0;
        for (&d, &s) in self.dims[..last].iter().zip(&self.steps[t][..last]).rev() {
            at += row % d * s;
            row /= d;
        }
        at
    }

    /// The step of tensor `t` along the last axis.
    pub fn inner_step(&self, t: usize) -> usize {
        self.steps[t][self.dims.len() - 1]
    }

    /// Whether tensor `t` is row-major without gaps.
    pub fn is_packed(&self, t: usize) -> bool {
        let mut step = 1;
        self.dims.iter().zip(&self.steps[t]).rev().all(|(&d, &s)| {
            let follows = s == step;
            step = step.saturating_mul(d); // Large only where another axis is empty.
            follows
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshapes_alias_where_strides_allow_it() {
        let v = View::packed(0, &[1, 12, 64, 32]);
        assert_eq!(v.reshaped(&[1, 768, 1, 32]).unwrap().strides, [0, 32, 0, 1]);
        let t = v.permuted(&[0, 1, 3, 2]);
        assert_eq!(t.strides, [24576, 2048, 1, 32]);
        assert_eq!(t.reshaped(&[12, 32, 8, 8]).unwrap().strides, [2048, 1, 256, 32]);
        assert!(t.reshaped(&[1, 384, 64]).is_none(), "12 and 32 do not merge");
        let part = v.part(&[0, 2, 0, 0], &[1; 4], &[1, 3, 64, 32]);
        assert!(part.is_packed() && part.offset == 4096);
        assert_eq!(part.reshaped(&[192, 32]).unwrap().offset, 4096);
        let half = v.part(&[0, 0, 0, 0], &[1; 4], &[1, 12, 64, 16]);
        assert!(!half.is_packed());
        assert_eq!(half.reshaped(&[768, 4, 4]).unwrap().strides, [32, 4, 1]);
        assert!(half.reshaped(&[768 * 16]).is_none());
        assert_eq!(View::packed(0, &[2, 0]).part(&[1, 0], &[1; 2], &[1, 0]).offset, 0);
        assert_eq!(v.part(&[0, 12, 0, 0], &[1; 4], &[1, 0, 64, 32]).offset, 0);
    }

    #[test]
    fn walks_merge_what_all_tensors_allow() {
        let shape = [1, 12, 8, 16];
        let (all, row, scalar) = (strides(&shape), vec![0, 0, 16, 1], vec![0; 4]);
        assert_eq!(Walk::new(&shape, &[&all, &all, &scalar], 0).dims, [12 * 8 * 16]);
        let w = Walk::new(&shape, &[&all, &row], 0);
        assert_eq!(w.dims, [12, 128]);
        assert_eq!((w.row(0, 3), w.row(1, 3), w.is_packed(0), w.is_packed(1)), (384, 0, true, false));
        assert_eq!(Walk::new(&shape, &[&all], 1).dims, [96, 16]);
        assert_eq!(Walk::new(&[5, 1], &[&[1, 1]], 1).dims, [5, 1]);
        assert_eq!(Walk::new(&[6, 1, 8], &[&[8, 8, 1]], 2).dims, [6, 8]);
        assert_eq!(Walk::new(&[6, 2, 8], &[&[16, 8, 1]], 2).dims, [6, 16]);
        assert_eq!(Walk::new(&[], &[&[]], 0).dims, [1]);
    }
}
