//! A life of the journal on a faulty disk; each decision of the simulation is taken from the input.

pub fn check(bytes: &[u8]) {
    rowbridge::journal::fuzzing::run_script(bytes);
}
