//! How close two tensors must be.

use half::f16;
use mil::tensor::unflatten;
use mil::{Data, Tensor};

/// A tolerance with its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Close {
    /// Equal values; all NaNs are equal, and so are both zeros.
    Exact,
    /// At most this many units in the last place of fp16.
    Ulp16(u32),
    /// At most this many units in the last place of fp32.
    Ulp32(u32),
    /// At most this absolute difference.
    Absolute(f64),
}

impl Close {
    pub fn parse(text: &str) -> Result<Close, String> {
        let wrong = || format!("`close={text}` is none of exact, ulp16:N, ulp32:N, abs:X");
        match text.split_once(':') {
            None if text == "exact" => Ok(Close::Exact),
            Some(("ulp16", n)) => n.parse().map(Close::Ulp16).map_err(|_| wrong()),
            Some(("ulp32", n)) => n.parse().map(Close::Ulp32).map_err(|_| wrong()),
            Some(("abs", x)) => match x.parse() {
                Ok(x) if (0.0..f64::INFINITY).contains(&x) => Ok(Close::Absolute(x)),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }

    /// The deviation of `got` from `want`, if it exceeds the tolerance.
    fn apart(self, got: f64, want: f64) -> Option<String> {
        if got == want || got.is_nan() && want.is_nan() {
            return None;
        }
        if got.is_nan() || want.is_nan() {
            return Some("one is NaN".into());
        }
        let (steps, allowed, unit) = match self {
            Close::Exact => return Some("they must be equal".into()),
            Close::Absolute(x) => {
                let distance = (got - want).abs();
                return (distance > x).then(|| format!("{distance:e} apart, {x:e} allowed"));
            }
            Close::Ulp16(n) => {
                let order = |x| ordered(f16::from_f64(x).to_bits() as i16, i16::MIN);
                (order(got).abs_diff(order(want)), n, "fp16")
            }
            Close::Ulp32(n) => {
                let order = |x: f64| ordered((x as f32).to_bits() as i32, i32::MIN);
                (order(got).abs_diff(order(want)), n, "fp32")
            }
        };
        (steps > u64::from(allowed)).then(|| format!("{steps} steps of {unit} apart, {allowed} allowed"))
    }

    /// The first element of `got` outside the tolerance; `None` if there is none.
    pub fn difference(self, got: &Tensor, want: &Tensor) -> Option<String> {
        if got.ty != want.ty || got.data.len() != want.data.len() {
            return Some(format!("{} elements of {}, expected {}", got.data.len(), got.ty, want.ty));
        }
        let (Data::Float(g), Data::Float(w)) = (&got.data, &want.data) else {
            return (got.data != want.data).then(|| format!("{:?}, expected {:?}", got.data, want.data));
        };
        let pairs = g.iter().zip(w).enumerate();
        let mut wrong = pairs.filter_map(|(i, (&g, &w))| Some((i, g, w, self.apart(g, w)?)));
        let (i, g, w, why) = wrong.next()?;
        let mut index = vec![0; got.ty.rank()];
        unflatten(i, &got.ty.shape, &mut index);
        let more = match wrong.count() {
            0 => String::new(),
            n => format!("; {n} more are wrong"),
        };
        Some(format!("{g} at {index:?}, expected {w}: {why}{more}"))
    }
}

/// Maps the bits of a float to an ordered integer; both zeros map to 0.
fn ordered<T: Into<i64>>(bits: T, lowest: T) -> i64 {
    let bits: i64 = bits.into();
    if bits < 0 { lowest.into() - bits } else { bits }
}

#[cfg(test)]
mod tests {
    use super::Close;
    use mil::{DType, Tensor, TensorType};

    fn differs(close: &str, got: f64, want: f64) -> bool {
        let tensor = |x| Tensor::floats(TensorType::new(DType::F32, [1]), [x]);
        Close::parse(close).expect(close).difference(&tensor(got), &tensor(want)).is_some()
    }

    #[test]
    fn a_tolerance_allows_what_it_says_and_no_more() {
        let ulp = 2f64.powi(-10);
        assert!(!differs("ulp16:2", 1.0 + 2.0 * ulp, 1.0) && differs("ulp16:2", 1.0 + 3.0 * ulp, 1.0));
        assert!(!differs("ulp16:2", -6e-8, 6e-8) && differs("ulp16:1", -6e-8, 6e-8));
        assert!(!differs("ulp32:1", 1.0 + f64::from(f32::EPSILON), 1.0));
        assert!(differs("ulp32:1", 1.0 + 2.0 * f64::from(f32::EPSILON), 1.0));
        assert!(!differs("abs:1e-3", 1.0005, 1.0) && differs("abs:1e-3", 1.002, 1.0));
        assert!(!differs("exact", -0.0, 0.0) && differs("exact", 1.0, 1.0 + 1e-6));
        for close in ["exact", "ulp16:9", "ulp32:9", "abs:1e9"] {
            assert!(!differs(close, f64::NAN, f64::NAN) && differs(close, f64::NAN, 1.0), "{close}");
            assert!(!differs(close, f64::INFINITY, f64::INFINITY), "{close}");
        }
        for wrong in ["", "ulp16", "ulp16:-1", "ulp8:1", "abs:nan", "abs:-1", "exact:1"] {
            assert!(Close::parse(wrong).is_err(), "{wrong}");
        }
    }
}
