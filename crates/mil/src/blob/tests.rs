use super::{BlobError, BlobWriter, FIRST_ENTRY, Weights};
use crate::tensor::{Data, Tensor};
use crate::ty::{DType, TensorType, f16 as fp16};
use half::f16;
use proptest::prelude::*;

const PATH: &str = "@model_path/weights/w.bin";

fn ints(dtype: DType, values: &[i64]) -> Tensor {
    Tensor::new(TensorType::new(dtype, [values.len()]), Data::Int(values.to_vec())).expect("in range")
}

#[test]
fn one_tensor_lies_as_engines_expect_it() {
    let mut weights = Weights::new();
    weights.add_tensor(PATH, &Tensor::floats(fp16([3]), [1.0, -2.0, 0.5])).expect("storable");
    let (path, bytes) = weights.files().next().expect("one file");
    assert_eq!(path, PATH);
    let mut want = vec![0; 134];
    want[0] = 1; // count
    want[4] = 2; // version
    want[64..68].copy_from_slice(&[0xEF, 0xBE, 0xAD, 0xDE]);
    want[68] = 1; // fp16
    want[72] = 6; // bytes
    want[80] = 128; // where the data is
    want[128..].copy_from_slice(&[0x00, 0x3C, 0x00, 0xC0, 0x00, 0x38]);
    assert_eq!(bytes, want);
}

#[test]
fn every_stored_type_is_read_back() {
    let tensors = [
        Tensor::floats(fp16([2, 2]), [1.0, -65504.0, f64::INFINITY, 6e-8]),
        Tensor::floats(TensorType::new(DType::F32, [3]), [1.0, 1e-45, -3.4e38]),
        ints(DType::I8, &[-128, 127, -1]),
        ints(DType::U8, &[0, 255]),
        ints(DType::I16, &[-32768, 32767]),
        ints(DType::U16, &[0, 65535]),
        ints(DType::I32, &[i64::from(i32::MIN), i64::from(i32::MAX)]),
        ints(DType::U32, &[0, i64::from(u32::MAX)]),
        Tensor::floats(fp16([0]), []),
    ];
    let mut writer = BlobWriter::new(PATH);
    let offsets: Vec<u64> = tensors.iter().map(|t| writer.add(t).expect("storable")).collect();
    assert_eq!(offsets[..3], [64, 192, 320]);
    let bytes = writer.finish();
    assert_eq!(bytes[0], 9);
    let mut weights = Weights::new();
    weights.insert(PATH, bytes);
    for (tensor, offset) in tensors.iter().zip(offsets) {
        assert_eq!(weights.read(PATH, offset, &tensor.ty).as_ref(), Ok(tensor));
    }
}

#[test]
fn what_blob_storage_does_not_have_is_refused() {
    let mut weights = Weights::new();
    for dtype in [DType::Bool, DType::Str, DType::I64, DType::U64] {
        let ty = TensorType::new(dtype, [2]);
        let path = PATH.to_owned();
        assert_eq!(weights.add_zeros(PATH, &ty), Err(BlobError::Unstorable { path, ty }));
    }
    let huge = fp16([usize::MAX / 2, 16]);
    let too_large = BlobError::TooLarge { path: PATH.into(), ty: huge.clone() };
    assert_eq!(weights.add_zeros(PATH, &huge), Err(too_large));
    let wrong = Tensor { ty: fp16([3]), data: Data::Float(vec![0.0; 2]) };
    assert!(matches!(weights.add_tensor(PATH, &wrong), Err(BlobError::Elements { elements: 2, .. })));
    let mut writer = BlobWriter::new(PATH);
    assert!(matches!(writer.add_raw(&fp16([3]), &[0; 4]), Err(BlobError::Elements { elements: 2, .. })));
    assert!(weights.is_empty());
}

/// The error of reading a valid file of two fp16 numbers after `change`.
fn broken(change: impl FnOnce(&mut Vec<u8>)) -> BlobError {
    let mut writer = BlobWriter::new(PATH);
    writer.add(&Tensor::floats(fp16([2]), [1.0, 2.0])).expect("storable");
    let mut bytes = writer.finish();
    change(&mut bytes);
    let mut weights = Weights::new();
    weights.insert(PATH, bytes);
    weights.read(PATH, FIRST_ENTRY, &fp16([2])).expect_err("broken")
}

#[test]
fn each_broken_field_is_named() {
    let path = || PATH.to_owned();
    let offset = FIRST_ENTRY;
    assert_eq!(broken(|b| b[4] = 1), BlobError::Version { path: path(), got: 1, want: 2 });
    let sentinel = BlobError::Sentinel { path: path(), offset, got: 0xDEAD_BE00, want: 0xDEAD_BEEF };
    assert_eq!(broken(|b| b[64] = 0), sentinel);
    assert_eq!(
        broken(|b| b[68] = 2),
        BlobError::ElementType { path: path(), offset, got: DType::F32, want: DType::F16 }
    );
    let got = "99".to_owned();
    assert_eq!(broken(|b| b[68] = 99), BlobError::Unsupported { path: path(), offset, got });
    let bf16 = BlobError::ElementType { path: path(), offset, got: DType::BF16, want: DType::F16 };
    assert_eq!(broken(|b| b[68] = 5), bf16);
    assert_eq!(broken(|b| b[72] = 3), BlobError::Size { path: path(), offset, got: 3, want: 2 });
    assert_eq!(broken(|b| b[72] = 2), BlobError::Size { path: path(), offset, got: 2, want: 4 });
    assert_eq!(broken(|b| b[80] = 129), BlobError::Alignment { path: path(), offset, got: 129 });
    let bounds = |from, to| BlobError::Bounds { path: path(), offset, from, to, got: 132 };
    assert_eq!(broken(|b| b[72] = 6), bounds(128, 134));
    assert_eq!(broken(|b| b[80] = 192), bounds(192, 196));
    let wraps = |b: &mut Vec<u8>| {
        b[72..80].fill(0xFF);
        b[72] = 0xFE;
    };
    assert_eq!(broken(wraps), bounds(128, u64::MAX));
    assert_eq!(
        broken(|b| b.truncate(131)),
        BlobError::Bounds { path: path(), offset, from: 128, to: 132, got: 131 }
    );
    for length in 0..128 {
        let want = BlobError::Truncated { path: path(), offset, got: length as u64, want: 128 };
        assert_eq!(broken(|b| b.truncate(length)), want);
    }
}

/// Writers before coremltools 8 left the reserved fields of a record uninitialised (ios15 to ios17), the one at +24 among
/// them. Source: coremltools 8.0b1, `MILBlob/Blob/StorageFormat.hpp`; Apple's reader looks at it for elements of less than
/// a byte alone.
#[test]
fn rubbish_in_reserved_fields_is_not_read() {
    let tensors = [
        Tensor::floats(fp16([2]), [1.0, -2.0]),
        Tensor::floats(TensorType::new(DType::F32, [3]), [1.0, 0.5, -3.0]),
        ints(DType::I8, &[-128, 127, -1]),
        ints(DType::U16, &[0, 65535]),
    ];
    for tensor in tensors {
        for rubbish in [1, 7, 0xAA, 0xFF] {
            let mut writer = BlobWriter::new(PATH);
            writer.add(&tensor).expect("storable");
            let mut bytes = writer.finish();
            bytes[88..128].fill(rubbish);
            let mut weights = Weights::new();
            weights.insert(PATH, bytes);
            assert_eq!(weights.read(PATH, FIRST_ENTRY, &tensor.ty).as_ref(), Ok(&tensor), "{rubbish}");
        }
    }
}

#[test]
fn padding_bits_of_small_elements_are_read() {
    let tensor = ints(DType::I4, &[-8, 7, 1]);
    let padded = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut writer = BlobWriter::new(PATH);
        writer.add(&tensor).expect("storable");
        let mut bytes = writer.finish();
        change(&mut bytes);
        let mut weights = Weights::new();
        weights.insert(PATH, bytes);
        weights.read(PATH, FIRST_ENTRY, &tensor.ty)
    };
    assert_eq!(padded(&|b| assert_eq!(b[88], 4)).as_ref(), Ok(&tensor));
    assert_eq!(padded(&|b| b[96..128].fill(0xAA)).as_ref(), Ok(&tensor));
    let refused = BlobError::Padding { path: PATH.into(), offset: 64, got: 8, want: 7 };
    assert_eq!(padded(&|b| b[88] = 8), Err(refused));
    assert!(matches!(padded(&|b| b[88] = 0), Err(BlobError::Count { got: 4, want: 3, .. })));
}

#[test]
fn offsets_that_name_no_record_are_refused() {
    let mut weights = Weights::new();
    assert_eq!(weights.entry(PATH, 64).expect_err("no file"), BlobError::Missing { path: PATH.into() });
    weights.add_zeros(PATH, &fp16([2])).expect("storable");
    for offset in [0, 1, 65, u64::MAX] {
        let refused = BlobError::Offset { path: PATH.into(), offset };
        assert_eq!(weights.entry(PATH, offset).expect_err("no record"), refused);
    }
    let offset = u64::MAX - 63;
    assert!(matches!(weights.entry(PATH, offset), Err(BlobError::Truncated { got: 132, .. })));
}

#[test]
fn numbers_are_narrowed_to_nearest_even() {
    let mut weights = Weights::new();
    weights.add_zeros(PATH, &fp16([5])).expect("storable");
    // 1 + 2⁻¹¹ is a tie between 1 and its neighbour; so is 1 + 3·2⁻¹¹, above an odd one.
    let values = [1.0 + 2f32.powi(-11), 1.0 + 3.0 * 2f32.powi(-11), 65520.0, -1e-8, f32::NAN];
    weights.write_f32(PATH, FIRST_ENTRY, &values).expect("fits");
    let bytes = weights.entry(PATH, FIRST_ENTRY).expect("there").bytes.to_vec();
    let bits: Vec<u16> = bytes.chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    assert_eq!(bits[..4], [0x3C00, 0x3C02, 0x7C00, 0x8000]);
    assert!(f16::from_bits(bits[4]).is_nan());
}

#[test]
fn rewriting_needs_floats_of_the_same_number() {
    let mut weights = Weights::new();
    weights.add_tensor(PATH, &ints(DType::I8, &[1, 2])).expect("storable");
    let refused = weights.write_f32(PATH, FIRST_ENTRY, &[0.0; 2]).expect_err("integers");
    assert_eq!(refused, BlobError::NotFloat { path: PATH.into(), offset: 64, got: DType::I8 });
    weights.add_zeros(PATH, &fp16([2, 3])).expect("storable");
    let size = |want| Err(BlobError::Size { path: PATH.into(), offset: 64, got: 12, want });
    assert_eq!(weights.write_f32(PATH, FIRST_ENTRY, &[0.0; 5]), size(10));
    assert_eq!(weights.write_f32_transposed(PATH, FIRST_ENTRY, 3, 3, &[0.0; 6]), size(18));
    assert_eq!(weights.write_f32_transposed(PATH, FIRST_ENTRY, 3, 2, &[0.0; 7]), size(14));
}

proptest! {
    #[test]
    fn transposed_writing_is_writing_the_transpose(
        rows in 1usize..150,
        cols in 1usize..70,
        dtype in prop_oneof![Just(DType::F16), Just(DType::F32)],
    ) {
        let values: Vec<f32> = (0..rows * cols).map(|n| (n as f32).sin()).collect();
        let transposed: Vec<f32> =
            (0..rows * cols).map(|n| values[n % rows * cols + n / rows]).collect();
        let mut weights = Weights::new();
        let ty = TensorType::new(dtype, [cols, rows]);
        for path in ["a", "b"] {
            weights.add_zeros(path, &ty).expect("storable");
        }
        weights.write_f32_transposed("a", FIRST_ENTRY, rows, cols, &values).expect("fits");
        weights.write_f32("b", FIRST_ENTRY, &transposed).expect("fits");
        prop_assert_eq!(weights.entry("a", FIRST_ENTRY), weights.entry("b", FIRST_ENTRY));
        let read = weights.read("a", FIRST_ENTRY, &ty).expect("there");
        let want = Tensor::floats(ty, transposed.iter().map(|&x| f64::from(x)));
        prop_assert_eq!(read, want);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        offset in prop_oneof![Just(64), Just(128), any::<u64>()],
    ) {
        let mut weights = Weights::new();
        weights.insert(PATH, bytes);
        let _ = weights.read(PATH, offset, &fp16([2]));
    }

    #[test]
    fn a_changed_header_is_read_or_refused(
        at in 0usize..128,
        byte: u8,
        length in 0usize..=132,
    ) {
        let mut writer = BlobWriter::new(PATH);
        writer.add(&Tensor::floats(fp16([2]), [1.0, 2.0])).expect("storable");
        let mut bytes = writer.finish();
        bytes[at] = byte;
        bytes.truncate(length.max(at + 1));
        let whole = bytes.len() == 132;
        let mut weights = Weights::new();
        weights.insert(PATH, bytes);
        if let Ok(tensor) = weights.read(PATH, FIRST_ENTRY, &fp16([2])) {
            // Reserved bytes and the count may be anything; the data may be read from nowhere else.
            prop_assert!(whole || (80..88).contains(&at));
            prop_assert_eq!(tensor.data.len(), 2);
        }
    }
}
