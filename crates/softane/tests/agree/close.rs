//! How close results have to be.

use half::f16;
use mil::{DType, Data, Tensor};
use softane::{Arena, Buffer, Executable, Slice, SliceMut};

/// Runs `executable` on `inputs`.
pub fn run(executable: &Executable, inputs: &[Tensor], outputs: &[mil::TensorType]) -> Vec<Tensor> {
    let sources: Vec<Buffer> = inputs.iter().map(to_buffer).collect();
    let mut sinks: Vec<Buffer> = outputs.iter().map(|ty| Buffer::zeroed(ty.bytes().unwrap_or(0))).collect();
    let from: Vec<Slice<'_>> =
        inputs.iter().zip(&sources).map(|(t, b)| Slice::of(t.ty.dtype, b.bytes())).collect();
    let mut to: Vec<SliceMut<'_>> =
        outputs.iter().zip(&mut sinks).map(|(ty, b)| SliceMut::of(ty.dtype, b.bytes_mut())).collect();
    executable.run(&from, &mut to, &mut Arena::default()).expect("runs");
    drop(to);
    outputs.iter().zip(&sinks).map(|(ty, b)| to_tensor(ty, b)).collect()
}

fn to_buffer(tensor: &Tensor) -> Buffer {
    let bytes: Vec<u8> = match (&tensor.data, tensor.ty.dtype) {
        (Data::Float(v), DType::F16) => v.iter().flat_map(|&x| f16::from_f64(x).to_le_bytes()).collect(),
        (Data::Float(v), _) => v.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect(),
        (Data::Bool(v), _) => v.iter().map(|&x| u8::from(x)).collect(),
        (Data::Int(v), d) => {
            v.iter().flat_map(|x| x.to_le_bytes()[..d.size().unwrap_or(8)].to_vec()).collect()
        }
        (Data::Str(_), _) => Vec::new(),
    };
    let mut buffer = Buffer::zeroed(bytes.len());
    buffer.bytes_mut().copy_from_slice(&bytes);
    buffer
}

fn to_tensor(ty: &mil::TensorType, buffer: &Buffer) -> Tensor {
    let data = match Slice::of(ty.dtype, buffer.bytes()) {
        Slice::F16(v) => Data::Float(v.iter().map(|x| x.to_f64()).collect()),
        Slice::F32(v) => Data::Float(v.iter().map(|&x| f64::from(x)).collect()),
        Slice::Quant(_) => unreachable!("bytes are not codes"),
        Slice::Other(DType::Bool, v) => Data::Bool(v.iter().map(|&x| x != 0).collect()),
        Slice::Other(d, v) => {
            let int = |b: &[u8]| {
                let mut all = [if d != DType::U8 && b[b.len() - 1] > 127 { 255 } else { 0 }; 8];
                all[..b.len()].copy_from_slice(b);
                i64::from_le_bytes(all)
            };
            Data::Int(v.chunks_exact(d.size().unwrap_or(1)).map(int).collect())
        }
    };
    Tensor { ty: ty.clone(), data }
}

/// The distance from `x` to the next number of `dtype`.
pub fn ulp(x: f64, dtype: DType) -> f64 {
    let (digits, smallest) = if dtype == DType::F16 { (10, -24) } else { (23, -149) };
    let exponent = x.abs().max(f64::MIN_POSITIVE).log2().floor() as i32;
    2f64.powi((exponent - digits).max(smallest))
}

/// Compares with what the reference meaning says.
///
/// Both round once, so an fp16 result may be one neighbour off where the f32 arithmetic in between crosses a tie, and
/// is given two. fp32 results are as good as the functions of `softane::math`: 4 units in their last place, some of
/// which are composed of two. Whatever is summed may besides be wrong by 1e-6 of the sum of the terms' sizes (`terms`),
/// which is 16 roundings in f32: the longest sums of these tests take 10, as they are kept in lanes.
pub fn assert_close(got: &Tensor, want: &Tensor, terms: Option<&Tensor>, what: &str) {
    assert_eq!(got.ty, want.ty, "{what}");
    if !got.ty.dtype.is_float() {
        assert_eq!(got.data, want.data, "{what}");
        return;
    }
    let units = if got.ty.dtype == DType::F16 { 2.0 } else { 10.0 };
    for (i, (&g, &w)) in got.as_floats().iter().zip(want.as_floats()).enumerate() {
        let sum = terms.map_or(0.0, |t| t.as_floats()[i].abs());
        let allowed = units * ulp(w, got.ty.dtype) + 1e-6 * sum;
        assert!(
            (g - w).abs() <= allowed || g == w,
            "{what}: [{i}] is {g}, not {w} ± {allowed:e}, terms {sum}"
        );
    }
}

/// `inputs` without signs: on them a sum is the sum of the sizes of its terms.
pub fn sizes(inputs: &[Tensor]) -> Vec<Tensor> {
    let size = |t: &Tensor| match &t.data {
        Data::Float(v) => Tensor { ty: t.ty.clone(), data: Data::Float(v.iter().map(|x| x.abs()).collect()) },
        _ => t.clone(),
    };
    inputs.iter().map(size).collect()
}
