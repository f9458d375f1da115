//! The bound of the global gradient norm.

/// The factor that brings a gradient of this norm down to at most `max_norm`; 1 if it is there already.
///
/// Without a bound (`max_norm` 0 or infinite) it is 1. A norm that is not finite has no such factor: leave the
/// step out.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 && norm > max_norm { max_norm / norm } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_only_shortens() {
        assert_eq!(clip_factor(4.0, 1.0), 0.25);
        assert_eq!(clip_factor(1.0, 1.0), 1.0);
        assert_eq!(clip_factor(0.0, 1.0), 1.0);
        assert_eq!(clip_factor(9.0, 0.0), 1.0);
        assert_eq!(clip_factor(9.0, f64::INFINITY), 1.0);
    }
}
