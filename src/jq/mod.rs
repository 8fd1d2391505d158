//! jq programs, bounded in time, memory and stack.
//!
//! The engine is jaq with our own value type ([`value`]): numbers keep their digits, and memory and depth are counted
//! when values are created. The interpreter finds each term through our own type ([`frame`]), which checks time and
//! stack. There are no functions that read anything but the message ([`functions`]), so a message that is mapped again
//! gives the same rows.
//!
//! ```text
//! text ─ syntax ─ compile → Program       input ─ read → interpreter → write ─ outputs
//! ```

mod access;
mod budget;
mod check;
mod compile;
mod frame;
mod functions;
mod number;
mod operators;
mod program;
mod read;
mod regex;
mod syntax;
mod value;
mod variables;
mod write;

#[cfg(test)]
pub(crate) use budget::spend_message_time;
pub use budget::{STACK_BYTES, begin_message, has_stack};
pub use check::Check;
pub use program::{Input, JqError, JqFault, Outputs, Program, Variables};
pub use variables::Variable;

/// Appends a JSON string.
pub fn write_string(text: &str, out: &mut String) {
    write::string(text, out).expect("a String takes everything");
}

/// CONTRACT.
pub const PROGRAM_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests;
