//! Hadamard matrices: all elements are ±1, and `H·Hᵀ = n·I`. They are dense, and products with them are known.

/// A matrix of ±1 whose rows are orthogonal.
#[derive(Clone, Debug)]
pub(crate) struct Hadamard {
    /// Rows and columns: those of `small` times a power of two.
    n: usize,
    small: Vec<bool>,
    side: usize,
}

impl Hadamard {
    /// One of `n` rows, if `n` is a power of two, or 12 or 20 times one.
    pub(crate) fn new(n: usize) -> Option<Hadamard> {
        for prime in [0usize, 11, 19] {
            let side = prime + 1;
            if n.is_multiple_of(side) && (n / side).is_power_of_two() {
                return Some(Hadamard { n, small: paley(prime), side });
            }
        }
        None
    }

    /// Rows and columns.
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Whether the element is −1.
    pub(crate) fn is_negative(&self, row: usize, column: usize) -> bool {
        let block = self.n / self.side;
        let (i, j) = (row / block, column / block);
        // Sylvester's matrix inside, Paley's outside.
        let inside = ((row % block) & (column % block)).count_ones() % 2 == 1;
        self.small[i * self.side + j] != inside
    }
}

/// Paley's construction for a prime that is 3 modulo 4, true for −1; for 0 the matrix of a single 1.
fn paley(prime: usize) -> Vec<bool> {
    let side = prime + 1;
    let square = |k: usize| (1..prime).any(|x| x * x % prime == k);
    let mut negative = vec![false; side * side];
    for i in 1..side {
        negative[i * side] = true;
        for j in 1..side {
            negative[i * side + j] = i != j && !square((i + prime - j) % prime);
        }
    }
    negative
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_orthogonal() {
        for n in [1, 2, 12, 16, 20, 48, 160, 384] {
            let h = Hadamard::new(n).unwrap();
            assert_eq!(h.n(), n);
            let sign = |i, j| if h.is_negative(i, j) { -1i64 } else { 1 };
            for a in 0..n {
                for b in 0..n {
                    let dot: i64 = (0..n).map(|j| sign(a, j) * sign(b, j)).sum();
                    assert_eq!(dot, if a == b { n as i64 } else { 0 }, "rows {a} and {b} of {n}");
                }
            }
        }
        assert!(Hadamard::new(28).is_none() && Hadamard::new(0).is_none());
    }
}
