//! The state that the interpreter carries from step to step: the program, and the flag that ends the run.

use jaq_core::{DataT, Lut};

use super::budget::{Budget, Unfinished, budget};
use super::value::Value;

/// Our kind of jq: its values, its context.
#[derive(Debug)]
pub(super) enum Jq {}

impl DataT for Jq {
    type V<'a> = Value;
    type Data<'a> = Frame<'a>;
}

#[derive(Clone)]
pub(super) struct Frame<'a> {
    program: &'a Lut<Jq>,
    /// As many terms as the program has, each of which ends the run.
    exit: &'a Lut<Jq>,
    /// The interpreter copies the context for all that is still to be done.
    _unfinished: Unfinished,
}

impl<'a> Frame<'a> {
    pub(super) fn new(program: &'a Lut<Jq>, exit: &'a Lut<Jq>) -> Frame<'a> {
        Frame { program, exit, _unfinished: Unfinished::new() }
    }
}

impl<'a> jaq_core::data::HasLut<'a, Jq> for Frame<'a> {
    /// The interpreter looks every term up here before it runs it.
    #[inline]
    fn lut(&self) -> &'a Lut<Jq> {
        if budget(Budget::step) { self.program } else { self.exit }
    }
}
