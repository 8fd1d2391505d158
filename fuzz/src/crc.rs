//! CRC-32C, bit by bit: an input whose checksums are right, made without the code under test.

const POLYNOMIAL: u32 = 0x82F6_3B78;

/// The checksum of `bytes` after something with the checksum `before`.
pub fn of(before: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!before, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 })
    })
}
