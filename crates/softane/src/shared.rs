//! Constants that several programs have in common.

use crate::buffer::Buffer;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Weak};

/// Constants with fewer bytes are not worth a look.
const SMALLEST: usize = 16 << 10;

/// Bytes that are looked at in one place, to recognise a constant.
const SAMPLE: usize = 16;

/// Places that are looked at.
const PLACES: usize = 64;

/// The constants of programs, to keep equal ones once.
#[derive(Debug, Default)]
pub struct SharedConstants(HashMap<u64, Vec<Weak<Buffer>>>);

impl SharedConstants {
    /// Replaces `constant` by an equal one, if there is one; else it is found later.
    pub(crate) fn unify(&mut self, constant: &mut Arc<Buffer>) {
        if constant.len() < SMALLEST {
            return;
        }
        let alike = self.0.entry(key(constant.bytes())).or_default();
        alike.retain(|other| other.strong_count() > 0);
        let equal = alike.iter().filter_map(Weak::upgrade).find(|other| other.bytes() == constant.bytes());
        match equal {
            Some(equal) => *constant = equal,
            None => alike.push(Arc::downgrade(constant)),
        }
    }
}

/// A hash of some of the bytes.
fn key(bytes: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    hash.write_usize(bytes.len());
    for part in bytes.chunks(bytes.len().div_ceil(PLACES)) {
        hash.write(&part[..part.len().min(SAMPLE)]);
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_constants_are_kept_once_until_one_is_written() {
        let mut shared = SharedConstants::default();
        let constant = |last: u8| {
            let mut buffer = Buffer::zeroed(SMALLEST);
            buffer.bytes_mut()[SMALLEST - 1] = last;
            Arc::new(buffer)
        };
        let (mut a, mut b, mut c) = (constant(1), constant(1), constant(2));
        [&mut a, &mut b, &mut c].into_iter().for_each(|x| shared.unify(x));
        assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &c));
        Arc::make_mut(&mut b).bytes_mut()[0] = 9;
        assert_eq!([a.bytes()[0], b.bytes()[0]], [0, 9]);
        assert_eq!([a.bytes()[SMALLEST - 1], c.bytes()[SMALLEST - 1]], [1, 2]);
    }
}
