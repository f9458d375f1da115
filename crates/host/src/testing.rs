//! What the tests of several modules share: seeded noise, pools, finite differences in f64, recorded tensors.

use safetensors::{Dtype, SafeTensors};

/// Noise in −1..1, the same for the same seed on every machine.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Runs `f` on a pool of `threads` threads.
pub(crate) fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// The bits of every value, for exact comparison.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// The gradient of `f` at `x` by central differences in f64: an error near 1e-9 for smooth `f` around 1.
pub(crate) fn finite_differences(x: &[f32], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    (0..x.len())
        .map(|i| {
            let (here, h) = (x[i], 1e-5);
            x[i] = here + h;
            let above = f(&x);
            x[i] = here - h;
            let below = f(&x);
            x[i] = here;
            (above - below) / (2.0 * h)
        })
        .collect()
}

/// Asserts that every element is within `tolerance` of what is wanted, relative to the largest wanted.
pub(crate) fn assert_close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(g) - w).abs() <= tolerance * largest, "element {i} is {g}, not {w}");
    }
}

/// The tensors of a file of `tests/fixtures`.
pub(crate) struct Recorded(Vec<u8>);

impl Recorded {
    /// The file with this name, without its ending.
    pub(crate) fn open(name: &str) -> Recorded {
        let path = format!("{}/../../tests/fixtures/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        Recorded(std::fs::read(path).expect("recorded"))
    }

    /// A tensor of f32, which must have this shape.
    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.0).expect("recorded");
        let tensor = file.tensor(name).expect("recorded");
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, shape), "{name}");
        tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }
}
