//! Reusable working memory.

/// A buffer that grows to the largest requested size and is reused.
#[derive(Debug, Default)]
pub struct Scratch(Vec<f32>);

impl Scratch {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first `len` values, with unspecified content.
    pub fn take(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() < len {
            self.0.resize(len, 0.0);
        }
        &mut self.0[..len]
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }
}
