//! Random numbers: every event in a world follows from its seed.

/// xorshift64*: small, fast, and the same on every machine.
#[derive(Clone)]
pub(super) struct Random(u64);

impl Random {
    /// `purpose` keeps the parts of a world apart: what one draws does not change what another one gets.
    pub(super) fn new(seed: u64, purpose: u64) -> Random {
        let mut random =
            Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ purpose.wrapping_mul(0xD1B5_4A32_D192_ED03) | 1);
        // Seeds that differ in one bit would begin alike.
        (0..4).for_each(|_| _ = random.below(2));
        random
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % bound
    }

    /// True once in `bound` times.
    pub(super) fn once_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
