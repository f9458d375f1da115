//! Any bytes as a NumPy array.

#[path = "../../crates/cli/src/commands/mil/npy.rs"]
mod array;

use array::Array;

/// The array is refused with a reason, or read; what is read returns when it is written.
pub fn try_bytes(bytes: &[u8]) {
    let read = |mut rest: &[u8]| {
        let length = rest.len() as u64;
        let array = Array::open(&mut rest, length)?;
        let tensor = array.elements(&mut rest).expect("the length was compared");
        assert!(rest.is_empty() && tensor.data.len() == tensor.ty.elements());
        Ok::<_, String>(tensor)
    };
    let tensor = match read(bytes) {
        Ok(tensor) => tensor,
        Err(why) => return assert!(!why.is_empty() && why.len() < 1000, "{why}"),
    };
    let file = array::file(&tensor).expect("an array without strings");
    let again = read(&file).expect("it was written just now");
    assert_eq!(again.ty, tensor.ty);
    let (a, b) = (again.to_floats(), tensor.to_floats());
    assert!(a.iter().zip(&b).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())), "{a:?} {b:?}");
}
