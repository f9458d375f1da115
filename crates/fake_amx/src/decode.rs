//! Decoding of the tile instructions: VEX, map 2, opcodes 49, 4B, 5C and 5E.

use crate::twin::Signs;
use crate::unit::Product;

/// A tile instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// LDTILECFG from memory.
    Configure(Address),
    /// TILERELEASE.
    Release,
    /// TILEZERO.
    Zero(usize),
    /// TILELOADD or TILELOADDT1: the rows of a tile are `stride` apart.
    Load(usize, Address),
    /// TILESTORED.
    Store(usize, Address),
    /// A product, and its tiles: the sum, the left side, the right side.
    Multiply(Product, [usize; 3]),
}

/// An address in memory; registers by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// `None`: relative to the next instruction if `is_relative`, else absolute.
    pub base: Option<usize>,
    /// The register, and what it is multiplied by. For loads and stores of tiles it is the distance of rows.
    pub index: Option<(usize, u8)>,
    pub displacement: i32,
    pub is_relative: bool,
}

/// The instruction at the beginning of `code`, and its length in bytes; `None` if it is no tile instruction.
pub fn decode(code: &[u8]) -> Option<(Instruction, usize)> {
    let [0xC4, first, second, opcode, modrm, rest @ ..] = code else { return None };
    // R, X and B are stored inverted, and so is the register vvvv.
    let extended = |bit: u8| usize::from(first >> bit & 1 ^ 1) << 3;
    let (r, x, b) = (extended(7), extended(6), extended(5));
    let (map, prefix, is_long) = (first & 0x1F, second & 3, second >> 2 & 1 == 1);
    let third = usize::from(!second >> 3 & 15);
    if map != 2 || is_long || second >> 7 == 1 {
        return None;
    }
    let (mode, reg, rm) = (modrm >> 6, usize::from(modrm >> 3 & 7), usize::from(modrm & 7));
    let tile = reg | r;
    let memory = || address((mode, rm), (x, b), rest);
    let no_third = third == 0;
    let (instruction, extra) = match (opcode, prefix, mode) {
        (0x49, 0, 3) if *modrm == 0xC0 && no_third => (Instruction::Release, 0),
        (0x49, 3, 3) if rm == 0 && no_third => (Instruction::Zero(tile), 0),
        (0x49, 0, _) if reg == 0 && no_third => {
            let (address, extra) = memory()?;
            (Instruction::Configure(address), extra)
        }
        // Only forms with a SIB byte.
        (0x4B, 1..=3, 0..=2) if rm == 4 && no_third => {
            let (address, extra) = memory()?;
            match prefix {
                2 => (Instruction::Store(tile, address), extra),
                _ => (Instruction::Load(tile, address), extra),
            }
        }
        (0x5C, 2, 3) => (Instruction::Multiply(Product::Bf16, [tile, rm | b, third]), 0),
        (0x5E, _, 3) => {
            let signs = Signs { a: prefix >= 2, b: prefix % 2 == 1 };
            (Instruction::Multiply(Product::Int8(signs), [tile, rm | b, third]), 0)
        }
        _ => return None,
    };
    Some((instruction, 5 + extra))
}

/// The memory operand of a ModRM byte, and how many bytes follow that byte.
fn address((mode, rm): (u8, usize), (x, b): (usize, usize), rest: &[u8]) -> Option<(Address, usize)> {
    let mut at = 0;
    let (mut base, mut index) = (Some(rm | b), None);
    if rm == 4 {
        let sib = *rest.first()?;
        at = 1;
        let register = usize::from(sib >> 3 & 7) | x;
        // Register 4 stands for none.
        index = (register != 4).then_some((register, 1 << (sib >> 6)));
        base = Some(usize::from(sib & 7) | b);
    }
    let is_far = mode == 0 && base.is_some_and(|base| base & 7 == 5);
    let is_relative = is_far && rm != 4;
    if is_far {
        base = None;
    }
    let bytes = match mode {
        0 if !is_far => 0,
        1 => 1,
        _ => 4,
    };
    let field = rest.get(at..at + bytes)?;
    let displacement = match *field {
        [] => 0,
        [near] => i32::from(near as i8),
        _ => i32::from_le_bytes(field.try_into().ok()?),
    };
    Some((Address { base, index, displacement, is_relative }, at + bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as GNU as writes them.
    #[test]
    fn the_forms_of_an_assembler_are_decoded() {
        let at = |base, index, displacement| Address { base, index, displacement, is_relative: false };
        let cases: [(&[u8], Instruction); 13] = [
            // ldtilecfg [rax]; [rsp + 8]; [rip + 16]
            (&[0xC4, 0xE2, 0x78, 0x49, 0x00], Instruction::Configure(at(Some(0), None, 0))),
            (&[0xC4, 0xE2, 0x78, 0x49, 0x44, 0x24, 0x08], Instruction::Configure(at(Some(4), None, 8))),
            (
                &[0xC4, 0xE2, 0x78, 0x49, 0x05, 0x10, 0, 0, 0],
                Instruction::Configure(Address { is_relative: true, ..at(None, None, 16) }),
            ),
            (&[0xC4, 0xE2, 0x78, 0x49, 0xC0], Instruction::Release),
            // tilezero tmm3
            (&[0xC4, 0xE2, 0x7B, 0x49, 0xD8], Instruction::Zero(3)),
            // tileloadd tmm4, [rdi + rcx*1]; tileloaddt1 tmm5, [r9 + r12*2 - 64]; tileloadd tmm6, [r13 + rax*1 + 1024]
            (&[0xC4, 0xE2, 0x7B, 0x4B, 0x24, 0x0F], Instruction::Load(4, at(Some(7), Some((1, 1)), 0))),
            (
                &[0xC4, 0x82, 0x79, 0x4B, 0x6C, 0x61, 0xC0],
                Instruction::Load(5, at(Some(9), Some((12, 2)), -64)),
            ),
            (
                &[0xC4, 0xC2, 0x7B, 0x4B, 0xB4, 0x05, 0, 4, 0, 0],
                Instruction::Load(6, at(Some(13), Some((0, 1)), 1024)),
            ),
            // tilestored [rdx + rcx*1 + 64], tmm1
            (
                &[0xC4, 0xE2, 0x7A, 0x4B, 0x4C, 0x0A, 0x40],
                Instruction::Store(1, at(Some(2), Some((1, 1)), 64)),
            ),
            // tdpbf16ps tmm0, tmm4, tmm6; tdpbssd, tdpbsud, tdpbuud tmm1, tmm2, tmm3
            (&[0xC4, 0xE2, 0x4A, 0x5C, 0xC4], Instruction::Multiply(Product::Bf16, [0, 4, 6])),
            (
                &[0xC4, 0xE2, 0x63, 0x5E, 0xCA],
                Instruction::Multiply(Product::Int8(Signs { a: true, b: true }), [1, 2, 3]),
            ),
            (
                &[0xC4, 0xE2, 0x62, 0x5E, 0xCA],
                Instruction::Multiply(Product::Int8(Signs { a: true, b: false }), [1, 2, 3]),
            ),
            (
                &[0xC4, 0xE2, 0x60, 0x5E, 0xCA],
                Instruction::Multiply(Product::Int8(Signs { a: false, b: false }), [1, 2, 3]),
            ),
        ];
        for (code, want) in cases {
            let mut padded = code.to_vec();
            padded.extend([0x90; 15]);
            assert_eq!(decode(&padded), Some((want, code.len())), "{code:02X?}");
        }
    }

    #[test]
    fn other_instructions_are_not_taken_for_tile_instructions() {
        let others: [&[u8]; 5] = [
            &[0x0F, 0x0B, 0, 0, 0, 0],             // ud2
            &[0xC4, 0xE2, 0x7D, 0x18, 0x00, 0],    // vbroadcastss
            &[0xC4, 0xE2, 0xF8, 0x49, 0x00, 0],    // W = 1
            &[0xC4, 0xE2, 0x7F, 0x49, 0xD8, 0],    // 256 bits
            &[0xC4, 0xE2, 0x7B, 0x4B, 0x20, 0x0F], // a load without a SIB byte
        ];
        for code in others {
            assert_eq!(decode(code), None, "{code:02X?}");
        }
        assert_eq!(decode(&[0xC4, 0xE2]), None);
    }
}
