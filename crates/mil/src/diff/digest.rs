//! Elements of tensors, compared by digests.

use std::hash::{DefaultHasher, Hasher};

/// A digest of elements: equal elements have equal digests; different ones almost certainly do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u64; 2]);

/// Computes the digest of the elements of a tensor, as stored in a weight file.
#[derive(Clone, Debug)]
pub struct Digester([DefaultHasher; 2]);

impl Digester {
    /// Of no bytes yet.
    pub fn new() -> Digester {
        let (first, mut second) = (DefaultHasher::new(), DefaultHasher::new());
        second.write_u8(1);
        Digester([first, second])
    }

    /// Adds more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|h| h.write(bytes));
    }

    /// The digest of all added bytes.
    pub fn finish(&self) -> Digest {
        Digest([self.0[0].finish(), self.0[1].finish()])
    }
}

impl Default for Digester {
    fn default() -> Digester {
        Digester::new()
    }
}
