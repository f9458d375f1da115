//! Tile instructions in assembly, executed by the processor or by the emulator, against the unit's own functions.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(unsafe_code, reason = "inline assembly")]

use fake_amx::{Unit, has_real_unit, install};
use std::arch::asm;

/// A sum, a left side and a right side.
type Tiles = [[[u8; 64]; 16]; 3];

fn config() -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    for tile in 0..8 {
        (bytes[16 + 2 * tile], bytes[48 + tile]) = (64, 16);
    }
    bytes
}

/// Defines a function that adds a product to a sum by `$name`, with other registers than rax, and a displacement.
macro_rules! product {
    ($function:ident, $name:literal) => {
        fn $function(tiles: &Tiles) -> [[u8; 64]; 16] {
            let (mut out, config) = ([[0u8; 64]; 16], config());
            // SAFETY: every operand has 16 rows of 64 bytes; the tiles are released at the end.
            unsafe {
                asm!(
                    "ldtilecfg [{config}]",
                    "tilezero tmm7",
                    "tileloadd tmm7, [{tiles} + {stride}]",
                    "tileloadd tmm1, [{tiles} + {stride} + 1024]",
                    "tileloaddt1 tmm5, [{tiles} + {stride} + 2048]",
                    concat!($name, " tmm7, tmm1, tmm5"),
                    "tilestored [{out} + {stride}], tmm7",
                    "tilerelease",
                    config = in(reg) &raw const config,
                    tiles = in(reg) tiles.as_ptr(),
                    out = in(reg) out.as_mut_ptr(),
                    stride = in(reg) 64usize,
                    out("tmm1") _, out("tmm5") _, out("tmm7") _,
                    options(nostack),
                );
            }
            out
        }
    };
}

product!(bf16, "tdpbf16ps");
product!(ssd, "tdpbssd");
product!(sud, "tdpbsud");
product!(usd, "tdpbusd");
product!(uud, "tdpbuud");

/// Bytes of a hash; exponents of bf16 and f32 are moderate in every other case.
fn random(seed: u64) -> Tiles {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut tiles = [[[0; 64]; 16]; 3];
    for (t, tile) in tiles.iter_mut().enumerate() {
        for (i, byte) in tile.as_flattened_mut().iter_mut().enumerate() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let is_high = if t == 0 { i % 4 == 3 } else { i % 2 == 1 };
            *byte = (state >> 56) as u8;
            if is_high && seed.is_multiple_of(2) {
                *byte = 0x38 | *byte & 0x87;
            }
        }
    }
    tiles
}

fn by_the_unit(tiles: &Tiles, product: fake_amx::Product) -> [[u8; 64]; 16] {
    let (mut unit, mut out) = (Unit::new(), [[0; 64]; 16]);
    unit.configure(&config()).expect("a good configuration");
    for (t, tile) in tiles.iter().enumerate() {
        unit.load(t, |i, row| row.copy_from_slice(&tile[i])).expect("a tile");
    }
    unit.multiply(product, [0, 1, 2]).expect("tiles that fit");
    unit.store(0, |i, row| out[i].copy_from_slice(row)).expect("a tile");
    out
}

/// Whether words are equal; any NaN equals any other.
fn same(got: &[[u8; 64]; 16], want: &[[u8; 64]; 16], are_floats: bool) -> bool {
    let words = |x: &[[u8; 64]; 16]| x.as_flattened().as_chunks::<4>().0.to_vec();
    let is_nan = |x: [u8; 4]| f32::from_le_bytes(x).is_nan();
    words(got).into_iter().zip(words(want)).all(|(g, w)| g == w || are_floats && is_nan(g) && is_nan(w))
}

/// On a processor with the unit this compares the emulator with it; elsewhere the assembly runs through the emulator.
#[test]
fn assembly_computes_what_the_unit_does() {
    use fake_amx::{Product, twin::Signs};
    let by = if has_real_unit() { "the processor's unit" } else { "the emulator; not run: the real unit" };
    println!("assembly_computes_what_the_unit_does: executed by {by}");
    install();
    let signs = |a, b| Product::Int8(Signs { a, b });
    for seed in 0..2000 {
        let tiles = random(seed);
        for (name, got, product) in [
            ("bf16", bf16(&tiles), Product::Bf16),
            ("ssd", ssd(&tiles), signs(true, true)),
            ("sud", sud(&tiles), signs(true, false)),
            ("usd", usd(&tiles), signs(false, true)),
            ("uud", uud(&tiles), signs(false, false)),
        ] {
            let want = by_the_unit(&tiles, product);
            assert!(same(&got, &want, product == Product::Bf16), "{name}, case {seed}");
        }
    }
    assert!(has_real_unit() || fake_amx::executed() >= 2000 * 5 * 8, "the emulator has run");
}

/// Each thread has its own tiles.
#[test]
fn threads_do_not_share_tiles() {
    install();
    let all: Vec<Tiles> = (0..4).map(|i| random(2 * i)).collect();
    let alone: Vec<_> = all.iter().map(bf16).collect();
    std::thread::scope(|scope| {
        for (tiles, want) in all.iter().zip(&alone) {
            scope.spawn(move || (0..200).for_each(|_| assert!(same(&bf16(tiles), want, true))));
        }
    });
}

/// An instruction that no processor has still ends the process.
#[test]
fn other_faults_are_not_swallowed() {
    if std::env::args().any(|arg| arg == "--exact") && std::env::var_os("FAKE_AMX_FAULT").is_some() {
        install();
        // SAFETY: it ends the process.
        unsafe { asm!("ud2", options(noreturn)) }
    }
    let this = std::env::current_exe().expect("this test");
    let child = std::process::Command::new(this)
        .args(["--exact", "other_faults_are_not_swallowed"])
        .env("FAKE_AMX_FAULT", "1")
        .output()
        .expect("it starts");
    let signal = std::os::unix::process::ExitStatusExt::signal(&child.status);
    assert_eq!(signal, Some(4), "SIGILL: {child:?}");
}
