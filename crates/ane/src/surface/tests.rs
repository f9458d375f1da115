use super::*;
use mil::DType;

fn surface(name: &str, dtype: DType) -> Surface {
    Surface::host(name, &TensorType::new(dtype, [1, 4, 1, 3])).unwrap()
}

#[test]
fn writes_are_narrowed_and_read_back_from_their_channel() {
    let s = surface("s", DType::F16);
    s.write(2, &[1.0, 1.0 / 3.0, 65520.0, -2.5]).unwrap();
    let mut out = [0.0; 12];
    s.read(0, &mut out).unwrap();
    let third = half::f16::from_f32(1.0 / 3.0).to_f32();
    assert_eq!(out, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, third, f32::INFINITY, -2.5, 0.0, 0.0]);
    assert_eq!(s.bytes(), 24);
    let second = |v: Elements<'_>| matches!(v, Elements::F16([_, x, ..]) if x.to_f32() == third);
    assert!(s.with(2, 4, second).unwrap());
    assert!(s.with(3, 4, |_| ()).is_err());
}

#[test]
fn copies_move_whole_channels() {
    let (a, b) = (surface("a", DType::F32), surface("b", DType::F32));
    a.write(0, &std::array::from_fn::<f32, 12, _>(|i| i as f32)).unwrap();
    b.copy_from(1, &a, 2, 2).unwrap();
    let mut out = [0.0; 12];
    b.read(0, &mut out).unwrap();
    assert_eq!(out, [0.0, 0.0, 0.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 0.0, 0.0, 0.0]);
    a.copy_from(0, &a, 1, 3).unwrap();
    a.read(0, &mut out).unwrap();
    assert_eq!(out, [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 9.0, 10.0, 11.0]);
}

#[test]
fn blocks_leave_what_is_beside_them() {
    let (half, single) = (surface("half", DType::F16), surface("single", DType::F32));
    let block = SurfaceBlock { channel: 1, channels: 2, column: 1, columns: 2 };
    let read = |s: &Surface| {
        let mut out = [0.0; 12];
        s.read(0, &mut out).unwrap();
        out
    };
    for s in [&half, &single] {
        s.write(0, &[9.0; 12]).unwrap();
        s.write_block(&block, &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(read(s), [9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 9.0, 3.0, 4.0, 9.0, 9.0, 9.0]);
        s.write_block_transposed(&block, &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(read(s), [9.0, 9.0, 9.0, 9.0, 1.0, 3.0, 9.0, 2.0, 4.0, 9.0, 9.0, 9.0]);
    }
    let narrow = Surface::host("narrow", &TensorType::new(DType::F32, [1, 4, 1, 2])).unwrap();
    narrow.write(0, &std::array::from_fn::<f32, 8, _>(|i| i as f32)).unwrap();
    single.copy_block(&block, &narrow, 2).unwrap();
    assert_eq!(read(&single), [9.0, 9.0, 9.0, 9.0, 4.0, 5.0, 9.0, 6.0, 7.0, 9.0, 9.0, 9.0]);
    single
        .copy_columns([2, 0], &narrow, &SurfaceBlock { channel: 3, channels: 1, column: 1, columns: 1 })
        .unwrap();
    assert_eq!(read(&single)[6], 7.0);
    assert!(single.copy_columns([3, 2], &narrow, &block).is_err());
    let outside = SurfaceBlock { column: 2, ..block };
    let error = single.write_block(&outside, &[0.0; 4]).unwrap_err().to_string();
    assert_eq!(
        error,
        "surface `single` has 4 channels of 3 elements; 4 elements do not fill channels 1 to 2, columns 2 to 3"
    );
    assert!(matches!(single.write_block(&block, &[0.0; 3]), Err(DeviceError::SurfaceBlock { .. })));
    assert!(matches!(half.copy_block(&block, &narrow, 0), Err(DeviceError::SurfaceCopy { .. })));
    assert!(matches!(single.copy_block(&block, &narrow, 3), Err(DeviceError::SurfaceRange { .. })));
}

#[test]
fn what_reaches_outside_is_refused_with_both_sides() {
    let (a, b) = (surface("a", DType::F16), surface("b", DType::F32));
    let error = a.write(3, &[0.0; 4]).unwrap_err().to_string();
    assert_eq!(error, "surface `a` has 4 channels of 3 elements; 4 elements at channel 3 are out of range");
    assert!(matches!(a.read(usize::MAX, &mut [0.0]), Err(DeviceError::SurfaceRange { .. })));
    assert!(matches!(a.copy_from(0, &a, 2, 3), Err(DeviceError::SurfaceRange { .. })));
    assert!(matches!(a.copy_from(0, &b, 0, 1), Err(DeviceError::SurfaceCopy { .. })));
    let words = TensorType::new(DType::I32, [1, 4, 1, 3]);
    assert!(matches!(Surface::host("w", &words), Err(DeviceError::SurfaceUnfit { .. })));
}

/// Quantised weights have the size of their codes; the host neither reads nor writes them.
#[test]
fn quantised_weights_are_for_kernels_only() {
    let matrix = || {
        let coding = softane::quant::Coding { levels: None, group: 32 };
        QuantMatrix::new(coding, [2, 32], vec![1; 64], vec![[0.5, -0.0]; 2]).unwrap()
    };
    let ty = TensorType::new(DType::F16, [1, 2, 1, 32]);
    let s = Surface::quant("w", &ty, matrix()).unwrap();
    assert_eq!(s.bytes(), 64 + 16);
    let error = s.read(0, &mut [0.0; 64]).unwrap_err().to_string();
    assert_eq!(error, "surface `w` holds quantised weights, which only kernels read");
    assert!(s.write(0, &[0.0; 64]).is_err() && s.with(0, 64, |_| ()).is_err());
    let other = Surface::host("s", &ty).unwrap();
    assert!(other.copy_from(0, &s, 0, 2).is_err() && s.copy_from(0, &other, 0, 2).is_err());
    for (dtype, shape) in
        [(DType::F32, [1, 2, 1, 32]), (DType::F16, [1, 32, 1, 2]), (DType::F16, [1, 3, 1, 32])]
    {
        assert!(Surface::quant("w", &TensorType::new(dtype, shape), matrix()).is_none());
    }
}
