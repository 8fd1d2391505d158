//! The source of a simulation's decisions: a seed, or the bytes that a fuzzer chose.

/// Decisions, one after the other.
pub(in crate::journal) struct Choices {
    state: u64,
    /// What is left of it, the next byte last.
    script: Option<Vec<u8>>,
}

impl Choices {
    /// Without end, from a seed.
    pub(in crate::journal) fn seeded(seed: u64) -> Choices {
        Choices { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, script: None }
    }

    /// From bytes: small decisions take one, others eight; behind the end all are 0.
    pub(in crate::journal) fn scripted(script: &[u8]) -> Choices {
        Choices { state: 1, script: Some(script.iter().rev().copied().collect()) }
    }

    /// Whether the script is at its end.
    pub(in crate::journal) fn is_exhausted(&self) -> bool {
        self.script.as_ref().is_some_and(Vec::is_empty)
    }

    /// A number below `bound`.
    pub(in crate::journal) fn below(&mut self, bound: u64) -> u64 {
        if let Some(script) = &mut self.script {
            let count = if bound <= 256 { 1 } else { 8 };
            let rest = script.split_off(script.len().saturating_sub(count));
            return rest.iter().rev().fold(0, |number: u64, &byte| number << 8 | u64::from(byte)) % bound;
        }
        // Xorshift.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % bound
    }

    /// One of `options`.
    pub(in crate::journal) fn one_of<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len() as u64) as usize]
    }

    /// True once in `of` times.
    pub(in crate::journal) fn once_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}
