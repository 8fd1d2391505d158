//! One record: decoded, and a message made of the bytes and read back.

pub fn check(bytes: &[u8]) {
    rowbridge::journal::fuzzing::decode_record(bytes);
}
