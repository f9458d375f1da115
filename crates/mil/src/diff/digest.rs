//! Elements of tensors, compared by digests.

use std::hash::{DefaultHasher, Hasher};

/// What elements are, in a few bytes: equal ones have equal digests, and others, in all likelihood, have not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u64; 2]);

/// Makes the digest of the elements of a tensor, as a weight file holds them.
#[derive(Clone, Debug)]
pub struct Digester([DefaultHasher; 2]);

impl Digester {
    /// Of no bytes yet.
    pub fn new() -> Digester {
        let (first, mut second) = (DefaultHasher::new(), DefaultHasher::new());
        second.write_u8(1);
        Digester([first, second])
    }

    /// Takes more of the bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|h| h.write(bytes));
    }

    /// The digest of all of them.
    pub fn finish(&self) -> Digest {
        Digest([self.0[0].finish(), self.0[1].finish()])
    }
}

impl Default for Digester {
    fn default() -> Digester {
        Digester::new()
    }
}
