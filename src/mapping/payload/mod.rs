//! Payload formats, one file each: from a payload to the values that a rule's paths lead to.

mod foreign;
mod json;

pub(super) use json::{Path, PathTree, Slot, not_utf8};
