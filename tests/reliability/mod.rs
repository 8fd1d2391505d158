//! The proof on the real binary (docs/reliability.md): killed at named points, refused by the disk, cut off by the
//! network, with the clock jumping. Each campaign is quick here; `scripts/prove` makes them long.

mod brokers;
mod clock;
mod cut;
mod dice;
mod full_disk;
mod fuzz_replay;
mod hostile_broker;
mod kills;
mod lane;
mod network;
mod random_kills;
mod small_disk;
mod soak;
mod soak_stage;
mod suspend;
mod syscalls;
mod vitals;
