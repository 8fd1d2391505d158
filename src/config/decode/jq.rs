//! jq programs: `where` and `transform` of a rule, `jq` of a column.

use std::sync::Arc;

use super::alike::Alike;
use super::table::Table;
use super::value::Value;
use crate::config::Shaping;
use crate::jq::{Program, Variable};

const FORMS: &str = "a jq program, such as '.temp > 20'";

pub(super) fn shaping(table: &Table<'_>, alike: &mut Alike) -> Shaping {
    let mut program = |key| {
        let value = table.get(key)?;
        let program = program(&value, alike)?;
        check_elements(&program, &value, 0);
        Some(program)
    };
    Shaping { roots: Vec::new(), predicate: program("where"), transform: program("transform") }
}

pub(super) fn program(value: &Value<'_>, alike: &mut Alike) -> Option<Arc<Program>> {
    let text = value.text()?;
    match alike.program(&text) {
        Ok(program) => Some(program),
        Err(error) if value.may_be_quoted() => {
            value.refuse(error.to_string(), FORMS);
            None
        }
        Err(_) => {
            value.refuse("is no jq program with its variables filled in", FORMS);
            None
        }
    }
}

/// The variables that `for_each` gives, where there is none; `levels` is how many there are.
pub(super) fn check_elements(program: &Program, value: &Value<'_>, levels: usize) {
    let is_of_elements = |variable: &&Variable| matches!(variable, Variable::Item | Variable::Index | Variable::Key);
    if levels == 0
        && let Some(variable) = program.variables().iter().find(is_of_elements)
    {
        let problem = format!("uses `{}`, and there is no element here", variable.name());
        value.refuse(problem, "`$item`, `$index` and `$key` in columns of a rule with `for_each`");
    }
}
