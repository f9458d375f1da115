//! The state of a thread's tile unit, and what its instructions do to it.

use crate::twin::{Signs, flushed, widened};

/// Tiles of palette 1.
pub const TILES: usize = 8;

/// The most rows of a tile.
pub const ROWS: usize = 16;

/// The most bytes of a row.
pub const ROW_BYTES: usize = 64;

/// Why the processor would raise an exception at an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No configuration is loaded.
    Unconfigured,
    /// The configuration breaks a rule of palette 1.
    BadConfig,
    /// A tile does not exist, has no rows, or its size does not suit the others of the product.
    BadTile,
}

/// Sizes of tiles, as LDTILECFG loads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    rows: [u8; TILES],
    row_bytes: [u8; TILES],
}

impl Config {
    /// The configuration in the 64 bytes of LDTILECFG's operand; `None` for palette 0, which releases the tiles.
    ///
    /// # Errors
    /// `BadConfig`, as the instruction raises #GP.
    pub fn read(bytes: &[u8; 64]) -> Result<Option<Config>, Fault> {
        let reserved = bytes[2..16].iter().chain(&bytes[32..48]).chain(&bytes[56..]);
        match bytes[0] {
            0 => return Ok(None),
            1 if bytes[1] == 0 && reserved.into_iter().all(|&b| b == 0) => {}
            _ => return Err(Fault::BadConfig),
        }
        let mut config = Config { rows: [0; TILES], row_bytes: [0; TILES] };
        for tile in 0..TILES {
            let (rows, high) = (bytes[48 + tile], bytes[17 + 2 * tile]);
            let row_bytes = bytes[16 + 2 * tile];
            let is_whole = rows as usize <= ROWS && row_bytes as usize <= ROW_BYTES && high == 0;
            if !is_whole || (rows == 0) != (row_bytes == 0) {
                return Err(Fault::BadConfig);
            }
            (config.rows[tile], config.row_bytes[tile]) = (rows, row_bytes);
        }
        Ok(Some(config))
    }
}

/// The kind of a product of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// TDPBF16PS.
    Bf16,
    /// TDPBSSD and its like.
    Int8(Signs),
}

/// The tiles of one thread.
#[derive(Clone, Debug)]
pub struct Unit {
    config: Option<Config>,
    tiles: [[[u8; ROW_BYTES]; ROWS]; TILES],
}

impl Default for Unit {
    fn default() -> Unit {
        Unit::new()
    }
}

impl Unit {
    /// A unit that is not configured.
    pub const fn new() -> Unit {
        Unit { config: None, tiles: [[[0; ROW_BYTES]; ROWS]; TILES] }
    }

    /// LDTILECFG: all tiles become 0.
    ///
    /// # Errors
    /// `BadConfig`.
    pub fn configure(&mut self, bytes: &[u8; 64]) -> Result<(), Fault> {
        *self = Unit { config: Config::read(bytes)?, ..Unit::new() };
        Ok(())
    }

    /// TILERELEASE.
    pub fn release(&mut self) {
        *self = Unit::new();
    }

    /// Rows of a tile, and bytes of each.
    fn size(&self, tile: usize) -> Result<(usize, usize), Fault> {
        let config = self.config.ok_or(Fault::Unconfigured)?;
        match config.rows.get(tile) {
            None | Some(0) => Err(Fault::BadTile),
            Some(&rows) => Ok((rows.into(), config.row_bytes[tile].into())),
        }
    }

    /// TILEZERO.
    ///
    /// # Errors
    /// If there is no such tile.
    pub fn zero(&mut self, tile: usize) -> Result<(), Fault> {
        self.size(tile)?;
        self.tiles[tile] = [[0; ROW_BYTES]; ROWS];
        Ok(())
    }

    /// TILELOADD: `read` fills each row, by its number. What is outside of the tile becomes 0.
    ///
    /// # Errors
    /// If there is no such tile.
    pub fn load(&mut self, tile: usize, mut read: impl FnMut(usize, &mut [u8])) -> Result<(), Fault> {
        let (rows, bytes) = self.size(tile)?;
        self.zero(tile)?;
        for (i, row) in self.tiles[tile].iter_mut().enumerate().take(rows) {
            read(i, &mut row[..bytes]);
        }
        Ok(())
    }

    /// TILESTORED: `write` receives each row, by its number.
    ///
    /// # Errors
    /// If there is no such tile.
    pub fn store(&self, tile: usize, mut write: impl FnMut(usize, &[u8])) -> Result<(), Fault> {
        let (rows, bytes) = self.size(tile)?;
        for (i, row) in self.tiles[tile].iter().enumerate().take(rows) {
            write(i, &row[..bytes]);
        }
        Ok(())
    }

    /// Adds the product of tiles `a` and `b` to tile `c`.
    ///
    /// # Errors
    /// If two of them are the same, or their sizes do not fit.
    pub fn multiply(&mut self, product: Product, [c, a, b]: [usize; 3]) -> Result<(), Fault> {
        let ((m, n), (a_rows, k), (b_rows, b_bytes)) = (self.size(c)?, self.size(a)?, self.size(b)?);
        // Bytes of a row are whole words of four.
        let fits = m == a_rows && n == b_bytes && k == 4 * b_rows && n % 4 == 0;
        if !fits || c == a || a == b || b == c {
            return Err(Fault::BadTile);
        }
        let (left, right) = (self.tiles[a], self.tiles[b]);
        let out = &mut self.tiles[c];
        match product {
            Product::Bf16 => multiply_bf16(&mut out[..m], &left[..m], &right[..b_rows], n / 4),
            Product::Int8(signs) => {
                multiply_int8(&mut out[..m], &left[..m], &right[..b_rows], (n / 4, signs))
            }
        }
        Ok(())
    }
}

type Row = [u8; ROW_BYTES];

/// `c += a·b` with the two chains of the twin, compiled for fused multiply-adds if the processor has them.
fn multiply_bf16(c: &mut [Row], a: &[Row], b: &[Row], columns: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("fma") && std::is_x86_feature_detected!("avx2") {
        #[target_feature(enable = "avx2,fma")]
        fn fused(c: &mut [Row], a: &[Row], b: &[Row], columns: usize) {
            bf16_rows(c, a, b, columns);
        }
        #[expect(unsafe_code, reason = "a function for instructions that not every processor has")]
        // SAFETY: the instructions exist.
        return unsafe { fused(c, a, b, columns) };
    }
    bf16_rows(c, a, b, columns);
}

#[inline(always)]
fn bf16_rows(c: &mut [Row], a: &[Row], b: &[Row], columns: usize) {
    let half = |row: &Row, i: usize| widened(u16::from_le_bytes([row[2 * i], row[2 * i + 1]]));
    // Even and odd elements of each step of the right side.
    let mut right = [[[0.0f32; ROWS]; 2]; ROWS];
    for (step, row) in right.iter_mut().zip(b) {
        let [even, odd] = step;
        for (j, (even, odd)) in even.iter_mut().zip(odd).enumerate().take(columns) {
            (*even, *odd) = (half(row, 2 * j), half(row, 2 * j + 1));
        }
    }
    for (c, a) in c.iter_mut().zip(a) {
        let mut sums = [[0.0f32; ROWS]; 2];
        for (k, step) in right.iter().enumerate().take(b.len()) {
            for (parity, sums) in sums.iter_mut().enumerate() {
                let x = half(a, 2 * k + parity);
                for (sum, y) in sums.iter_mut().zip(&step[parity]) {
                    *sum = flushed(x.mul_add(*y, *sum));
                }
            }
        }
        for (j, c) in c.as_chunks_mut::<4>().0.iter_mut().enumerate().take(columns) {
            let sum = flushed(flushed(f32::from_le_bytes(*c)) + flushed(sums[0][j] + sums[1][j]));
            *c = sum.to_le_bytes();
        }
    }
}

fn multiply_int8(c: &mut [Row], a: &[Row], b: &[Row], (columns, signs): (usize, Signs)) {
    for (c, a) in c.iter_mut().zip(a) {
        for (j, c) in c.as_chunks_mut::<4>().0.iter_mut().enumerate().take(columns) {
            let sum = b.iter().enumerate().fold(i32::from_le_bytes(*c), |sum, (k, row)| {
                crate::twin::dot_int8(sum, &a[4 * k..4 * k + 4], &row[4 * j..4 * j + 4], signs)
            });
            *c = sum.to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Palette 1 with these rows and bytes a row.
    fn config(sizes: &[(u8, u8)]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        for (i, &(rows, row_bytes)) in sizes.iter().enumerate() {
            (bytes[16 + 2 * i], bytes[48 + i]) = (row_bytes, rows);
        }
        bytes
    }

    #[test]
    fn configurations_that_the_processor_refuses_are_refused() {
        let good = config(&[(16, 64); 8]);
        assert!(matches!(Config::read(&good), Ok(Some(_))));
        assert_eq!(Config::read(&[0; 64]), Ok(None));
        for (at, value) in [(0, 2), (1, 1), (5, 1), (16, 65), (17, 1), (40, 1), (48, 17), (48, 0), (63, 1)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Config::read(&bad), Err(Fault::BadConfig), "byte {at} is {value}");
        }
    }

    #[test]
    fn instructions_without_a_configuration_or_with_tiles_that_do_not_fit_fault() {
        let mut unit = Unit::new();
        assert_eq!(unit.zero(0), Err(Fault::Unconfigured));
        unit.configure(&config(&[(4, 12), (4, 8), (2, 12), (3, 12)])).expect("a good one");
        assert_eq!(unit.zero(7), Err(Fault::BadTile), "it has no rows");
        assert_eq!(unit.multiply(Product::Bf16, [0, 1, 2]), Ok(()));
        for tiles in [[0, 0, 2], [0, 1, 3], [0, 2, 1], [0, 1, 1], [0, 1, 9]] {
            assert_eq!(unit.multiply(Product::Bf16, tiles), Err(Fault::BadTile), "{tiles:?}");
        }
        unit.release();
        assert_eq!(unit.multiply(Product::Bf16, [0, 1, 2]), Err(Fault::Unconfigured));
    }

    /// Random tiles, subnormal numbers, infinities and NaN among them.
    #[test]
    fn products_of_tiles_are_those_of_the_twin() {
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let (m, k, n) = (5usize, 24usize, 7usize);
        for round in 0..200 {
            let mut unit = Unit::new();
            let sizes = [(m as u8, 4 * n as u8), (m as u8, 2 * k as u8), (k as u8 / 2, 4 * n as u8)];
            unit.configure(&config(&sizes)).expect("a good one");
            for tile in 0..3 {
                // Every other round exponents are moderate, so that sums are finite.
                unit.load(tile, |_, row| {
                    for (i, b) in row.iter_mut().enumerate() {
                        let is_high = if tile == 0 { i % 4 == 3 } else { i % 2 == 1 };
                        *b = if is_high && round % 2 == 0 { 0x38 | random() & 0x87 } else { random() };
                    }
                })
                .expect("it is there");
            }
            let before = unit.clone();
            let half = |t: usize, row: usize, i: usize| {
                u16::from_le_bytes([before.tiles[t][row][2 * i], before.tiles[t][row][2 * i + 1]])
            };
            unit.multiply(Product::Bf16, [0, 1, 2]).expect("they fit");
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let word = |u: &Unit| f32::from_le_bytes(u.tiles[0][i].as_chunks().0[j]);
                let a: Vec<u16> = (0..k).map(|l| half(1, i, l)).collect();
                let b: Vec<u16> = (0..k).map(|l| half(2, l / 2, 2 * j + l % 2)).collect();
                let (got, want) = (word(&unit), crate::twin::dot_bf16(word(&before), &a, &b));
                assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{got} {want}");
            }
        }
    }
}
