//! A compiled program and its runs.

use std::fmt;
use std::sync::Arc;

use jaq_core::{Ctx, Exn, Filter, Vars};
use thiserror::Error;

use super::Variable;
use super::budget::{Bound, STACK_BYTES, TIME_MAX, budget, has_stack};
use super::check::Check;
use super::compile::{Compiled, compile};
use super::frame::{Frame, Jq};
use super::read::{HALF_PAIR, NO_TEXT_OF_JQ, ReadFault, read};
use super::value::Value;
use super::write;

/// CONTRACT.
const OUTPUTS_MAX: usize = 100_000;
const OUTPUT_BYTES_MAX: usize = 16 << 20;
const INPUT_BYTES_MAX: usize = 16 << 20;

/// Why a text is no program, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message} (line {line}, column {column} of the program)")]
pub struct JqError {
    pub message: String,
    /// Both from 1.
    pub line: usize,
    pub column: usize,
}

impl JqError {
    /// `place` is a part of `text`.
    pub(super) fn at(text: &str, place: &str, message: String) -> JqError {
        let byte = (place.as_ptr().addr().saturating_sub(text.as_ptr().addr())).min(text.len());
        let before = &text[..byte];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        JqError { message, line, column }
    }
}

/// Why a run gave nothing. Never holds a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JqFault {
    /// A dead letter's short code: parse, value, size.
    pub reason: &'static str,
    /// The rest of a sentence that begins with the program.
    pub message: String,
}

impl JqFault {
    pub(super) fn value(message: impl Into<String>) -> JqFault {
        JqFault { reason: "value", message: message.into() }
    }

    fn of(bound: Bound) -> JqFault {
        let (reason, message) = match bound {
            Bound::Time => ("size", format!("runs longer than {} s", TIME_MAX.as_secs())),
            Bound::Memory => ("size", "needs more than 64 MiB of memory, or a string of more than 16 MiB".to_owned()),
            Bound::Recursion => ("size", "calls itself too deeply".to_owned()),
            Bound::Nesting => {
                ("size", "meets or makes arrays and objects that are nested more than 256 deep".to_owned())
            }
            Bound::Outputs => ("size", format!("gives more than {OUTPUTS_MAX} outputs")),
            Bound::OutputBytes => ("size", format!("gives more than {} MiB", OUTPUT_BYTES_MAX >> 20)),
        };
        JqFault { reason, message }
    }
}

/// The outputs of a run, each as JSON text.
#[derive(Debug, Default)]
pub struct Outputs {
    text: String,
    ends: Vec<usize>,
}

impl Outputs {
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let start = |at: usize| if at == 0 { 0 } else { self.ends[at - 1] };
        (0..self.ends.len()).map(move |at| &self.text[start(at)..self.ends[at]])
    }
}

/// What `.` is.
#[derive(Debug, Clone, Copy)]
pub enum Input<'i> {
    /// JSON text.
    Json(&'i str),
    /// The string itself.
    Text(&'i str),
}

/// Writes the JSON text of a variable; null where the message has none.
pub type Variables<'v> = dyn Fn(Variable, &mut String) + 'v;

pub struct Program {
    text: Box<str>,
    filter: Filter<Jq>,
    exit: Arc<Filter<Jq>>,
    variables: Box<[Variable]>,
    check: Option<Check>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({:?})", self.text)
    }
}

/// Programs of one text do the same.
impl PartialEq for Program {
    fn eq(&self, other: &Program) -> bool {
        self.text == other.text
    }
}

impl Eq for Program {}

impl std::hash::Hash for Program {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// How much of its outputs is wanted.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    All,
    /// Whether one is neither false nor null.
    Truth,
    /// The only one.
    One,
}

impl Program {
    pub fn parse(text: &str) -> Result<Program, JqError> {
        let Compiled { filter, exit, variables, check } = compile(text)?;
        Ok(Program { text: text.into(), filter, exit, variables, check })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// What answers it as a predicate without the interpreter, if it is that simple.
    pub fn check(&self) -> Option<&Check> {
        self.check.as_ref()
    }

    /// The variables that it uses: no others are asked for.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Appends all outputs to the existing ones; none after a fault.
    pub fn run(&self, input: Input<'_>, variables: &Variables<'_>, outputs: &mut Outputs) -> Result<(), JqFault> {
        let before = (outputs.text.len(), outputs.ends.len());
        let result = self.run_for(Wanted::All, input, variables, outputs);
        if result.is_err() {
            outputs.text.truncate(before.0);
            outputs.ends.truncate(before.1);
        }
        result.map(|_| ())
    }

    /// Whether any output is neither false nor null, as in jq's `select`.
    pub fn is_true(&self, input: Input<'_>, variables: &Variables<'_>) -> Result<bool, JqFault> {
        self.run_for(Wanted::Truth, input, variables, &mut Outputs::default())
    }

    /// The only output; false if there is none. More than one are a fault: which is meant is not ours to say.
    pub fn value(&self, input: Input<'_>, variables: &Variables<'_>, outputs: &mut Outputs) -> Result<bool, JqFault> {
        outputs.clear();
        self.run_for(Wanted::One, input, variables, outputs)
    }

    fn run_for(
        &self,
        wanted: Wanted,
        input: Input<'_>,
        variables: &Variables<'_>,
        outputs: &mut Outputs,
    ) -> Result<bool, JqFault> {
        let texts: Vec<String> = self
            .variables
            .iter()
            .map(|variable| {
                let mut text = String::new();
                variables(*variable, &mut text);
                text
            })
            .collect();
        if budget(|budget| budget.knows_stack()) {
            return self.run_here(wanted, input, &texts, outputs);
        }
        std::thread::scope(|scope| {
            let run = || {
                has_stack();
                self.run_here(wanted, input, &texts, outputs)
            };
            let spawned = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run);
            match spawned.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(_) => Err(JqFault { reason: "size", message: "finds no thread to run in".to_owned() }),
            }
        })
    }

    /// On a thread that has [`STACK_BYTES`].
    fn run_here(
        &self,
        wanted: Wanted,
        input: Input<'_>,
        variables: &[String],
        outputs: &mut Outputs,
    ) -> Result<bool, JqFault> {
        budget(|budget| budget.begin());
        let result = self.interpret(wanted, input, variables, outputs);
        budget(|budget| budget.finish());
        // Whatever the interpreter made of it: once a bound is exceeded, what it gives means nothing.
        match budget(|budget| budget.ended()) {
            Some(bound) => Err(JqFault::of(bound)),
            None => result,
        }
    }

    fn interpret(
        &self,
        wanted: Wanted,
        input: Input<'_>,
        variables: &[String],
        outputs: &mut Outputs,
    ) -> Result<bool, JqFault> {
        let input = match input {
            Input::Json(text) | Input::Text(text) if text.len() > INPUT_BYTES_MAX => {
                return Err(JqFault::of(Bound::Memory));
            }
            Input::Json(text) => read(text).map_err(|ReadFault { what, byte }| JqFault {
                reason: "parse",
                message: match what {
                    HALF_PAIR => format!("cannot read the payload: {what} (byte {byte}), {NO_TEXT_OF_JQ}"),
                    _ => format!("cannot read the payload, which is not JSON: {what} (byte {byte})"),
                },
            })?,
            Input::Text(text) => Value::text(text),
        };
        let variables = variables.iter().map(|text| read(text).unwrap_or(Value::NULL));
        let context = Ctx::<Jq>::new(Frame::new(&self.filter.lut, &self.exit.lut), Vars::new(variables));
        let mut is_any = false;
        for output in self.filter.id.run((context, input)) {
            let output = output.map_err(|error| self.failed(error))?;
            if let Some(bound) = budget(|budget| budget.ended()) {
                return Err(JqFault::of(bound));
            }
            match wanted {
                Wanted::Truth if output.is_true() => return Ok(true),
                Wanted::Truth => {}
                Wanted::One if is_any => {
                    return Err(JqFault::value("gives more than one output; write `[…]` for an array or `first(…)`"));
                }
                Wanted::One | Wanted::All => {
                    outputs.add(&output)?;
                    is_any = true;
                }
            }
        }
        Ok(is_any)
    }

    /// An error that the program did not catch, in words. jaq's own errors show only the type of a value. The program's
    /// own text is shown only if it is a constant of the program, because it may contain the payload.
    fn failed(&self, error: Exn<'_, Value>) -> JqFault {
        let Ok(error) = error.get_err() else {
            // Only a bound ends a run so, and that is looked at first.
            return JqFault::value("was ended");
        };
        budget(|budget| budget.show_kinds(true));
        let shown = error.to_string();
        let value = error.into_val();
        budget(|budget| budget.show_kinds(false));
        let Value::Text(own) = &value else {
            return JqFault::value(format!("ends with an error of its own, {}", value.kind()));
        };
        match own.as_str() {
            own if own == shown => JqFault::value(format!("fails: {shown}")),
            own if self.text.contains(own) || OWN_MESSAGES.contains(&own) => JqFault::value(format!("fails: {own}")),
            _ => JqFault::value("ends with an error of its own, a string"),
        }
    }
}

/// Errors without values in them.
const OWN_MESSAGES: [&str; 12] = [
    "cannot parse as number",
    "cannot parse as boolean",
    "split input and separator must be strings",
    "@csv and @tsv take numbers, strings, true, false and null",
    "@csv and @tsv take an array",
    "NaN is no time",
    "index out of bounds",
    "cannot be divided because the divisor is zero",
    "integers of more than 38 digits cannot be calculated with",
    "regular expressions take strings of at most 1 MiB",
    "a flag of a regular expression is none of g i l m n p s x",
    "a regular expression is invalid, or too large for its text",
];

impl Outputs {
    fn add(&mut self, value: &Value) -> Result<(), JqFault> {
        if !write::is_json(value) {
            return Err(JqFault::value("gives a number that JSON has no form for: infinite, or none at all"));
        }
        if self.ends.len() == OUTPUTS_MAX {
            return Err(JqFault::of(Bound::Outputs));
        }
        // A String takes all that is written to it.
        let _ = write::value(value, &mut self.text);
        if self.text.len() > OUTPUT_BYTES_MAX {
            return Err(JqFault::of(Bound::OutputBytes));
        }
        self.ends.push(self.text.len());
        Ok(())
    }
}
