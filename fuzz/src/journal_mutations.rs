//! A mostly sound journal with local changes, read by the product and by an independent slow parser.

pub fn check(bytes: &[u8]) {
    rowbridge::journal::fuzzing::mutate_and_compare(bytes);
}
