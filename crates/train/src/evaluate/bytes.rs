//! Bits per byte of text.

/// Bytes of the text of `tokens`; 0 if it is unknown.
pub(super) fn bytes_of(lengths: Option<&[u32]>, tokens: &[u32]) -> u64 {
    let length = |&t: &u32| u64::from(lengths.and_then(|l| l.get(t as usize)).copied().unwrap_or(0));
    tokens.iter().map(length).sum()
}

/// Bits per byte; `None` if there are no bytes.
pub(super) fn per_byte(nats: f64, bytes: u64) -> Option<f64> {
    (bytes > 0).then(|| nats / std::f64::consts::LN_2 / bytes as f64)
}
