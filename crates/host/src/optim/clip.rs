//! Clipping by the global gradient norm.

/// The factor that scales a gradient of this norm to at most `max_norm`; at most 1.
///
/// A `max_norm` of 0 or ∞ means no bound. `norm` must be finite: skip the step otherwise.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 && norm > max_norm { max_norm / norm } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_never_enlarges() {
        assert_eq!(clip_factor(4.0, 1.0), 0.25);
        assert_eq!(clip_factor(1.0, 1.0), 1.0);
        assert_eq!(clip_factor(0.0, 1.0), 1.0);
        assert_eq!(clip_factor(9.0, 0.0), 1.0);
        assert_eq!(clip_factor(9.0, f64::INFINITY), 1.0);
    }
}
