//! Any bytes as a weight file.

use mil::blob::{BlobWriter, FIRST_ENTRY};
use mil::{DType, Tensor, TensorType, Weights};

const PATH: &str = "@model_path/weights/any.bin";

/// The first byte picks an element type; the rest is a file, of which every record is read or refused. What is read
/// returns when it is written.
pub fn try_bytes(bytes: &[u8]) {
    let Some((&first, file)) = bytes.split_first() else { return };
    let dtype = DType::ALL[usize::from(first) % DType::ALL.len()];
    let mut weights = Weights::new();
    weights.insert(PATH, file);
    let records = weights.records(PATH);
    let last = file.len() as u64 + 64;
    for offset in (0..=last).step_by(64).chain([1, u64::MAX, u64::MAX - 63]) {
        let Ok(entry) = weights.entry(PATH, offset) else { continue };
        let ty = TensorType::new(entry.dtype, [entry.elements]);
        let tensor = weights.read(PATH, offset, &ty).expect("an entry can be read");
        assert_eq!(tensor.data.len(), entry.elements);
        let other = TensorType::new(dtype, [entry.elements]);
        assert_eq!(weights.read(PATH, offset, &other).is_ok(), dtype == entry.dtype);
        returns(&tensor);
        let _ = weights.write_f32(PATH, offset, &vec![0.5; tensor.data.len()]);
    }
    if let Ok(records) = records {
        for offset in records {
            assert!(offset >= FIRST_ENTRY && weights.entry(PATH, offset).is_ok());
        }
    }
}

/// What was read, written and read again is the same.
fn returns(tensor: &Tensor) {
    let mut writer = BlobWriter::new(PATH);
    let offset = writer.add(tensor).expect("it was stored before");
    let mut weights = Weights::new();
    weights.insert(PATH, writer.finish());
    let again = weights.read(PATH, offset, &tensor.ty).expect("it was written just now");
    let (a, b) = (again.to_floats(), tensor.to_floats());
    assert!(a.iter().zip(&b).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())), "{a:?} {b:?}");
    assert_eq!(weights.records(PATH), Ok(vec![offset]));
}
