//! `where` and `transform`: which values of a payload are taken, and which values replace them before columns see them.
//!
//! A predicate that only compares fields with constants is evaluated on the slots of the walk that the columns need
//! anyway ([`jq::Check`]). Other predicates, and `transform`, take the whole value.

use std::sync::Arc;

use super::payload::{Document, Path, PathTree, Slot};
use super::programs::{Names, Scope, programs};
use super::route::Match;
use super::sharing::Parts;
use crate::config::{self, Rule};
use crate::jq::{self, JqFault, Program};
use crate::message::Message;
use crate::rule::Step;

#[derive(Debug)]
pub(super) struct Shaping {
    pub(super) predicate: Option<Predicate>,
    pub(super) transform: Option<Transform>,
    pub(super) names: Arc<Names>,
    /// The slot of the whole value, if a program takes it.
    pub(super) whole: Option<usize>,
    /// Slots that no column reads: rows are judged by those of columns alone.
    pub(super) hidden: Box<[usize]>,
}

#[derive(Debug)]
pub(super) struct Predicate {
    pub(super) program: Arc<Program>,
    /// Of each path of its [`jq::Check`]; empty if it has none, or if the interpreter is to run.
    pub(super) slots: Box<[usize]>,
}

#[derive(Debug)]
pub(super) struct Transform {
    pub(super) program: Arc<Program>,
    /// The paths of its outputs.
    pub(super) tree: Arc<PathTree>,
}

/// Memory reused from message to message.
#[derive(Debug, Default)]
pub(super) struct ShapingMemory {
    slots: Vec<Slot>,
    outputs: jq::Outputs,
}

/// Why there is no value: a dead letter's reason and a sentence.
pub(super) struct ShapingFault(pub(super) &'static str, pub(super) String);

impl ShapingFault {
    #[cold]
    fn new(key: &str, line: Option<usize>, fault: JqFault) -> ShapingFault {
        let place = line.map_or(String::new(), |line| format!("line {line}: "));
        ShapingFault(fault.reason, format!("{place}`{key}`: the program {}", fault.message))
    }
}

impl Shaping {
    /// Calls `each` with what the value becomes: itself, nothing, or each output. `text` is the whole value where it is no
    /// JSON.
    pub(super) fn run<E: From<ShapingFault>>(
        &self,
        document: Document<'_>,
        text: Option<&str>,
        (message, matched): (&Message<'_>, &Match),
        memory: &mut ShapingMemory,
        each: &mut dyn FnMut(Document<'_>, jq::Input<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let part = |slot: usize| document.slots[slot].map(|(start, end)| &document.text[start as usize..end as usize]);
        let input = match (text, self.whole) {
            (Some(text), _) => jq::Input::Text(text),
            (None, Some(slot)) => jq::Input::Json(part(slot).unwrap_or("null")),
            (None, None) => jq::Input::Json("null"),
        };
        let scope = Scope { names: &self.names, message, matched, payload: input, item: None };
        let variables = |variable, text: &mut String| scope.write(variable, text);
        if let Some(predicate) = &self.predicate {
            let is_true = match predicate.program.check() {
                Some(check) if text.is_none() && !predicate.slots.is_empty() => {
                    check.is_true(&|path| part(predicate.slots[path]))
                }
                _ => predicate.program.is_true(input, &variables),
            };
            if !is_true.map_err(|fault| ShapingFault::new("where", document.line, fault))? {
                return Ok(());
            }
        }
        let ShapingMemory { slots, outputs } = memory;
        let Some(Transform { program, tree }) = &self.transform else {
            if text.is_some() {
                return each(document, input);
            }
            slots.clear();
            slots.extend_from_slice(document.slots);
            self.hidden.iter().for_each(|slot| slots[*slot] = None);
            return each(document.with_slots(slots), input);
        };
        outputs.clear();
        program
            .run(input, &variables, outputs)
            .map_err(|fault| ShapingFault::new("transform", document.line, fault))?;
        for output in outputs.iter() {
            let picked = tree.pick(output.as_bytes(), slots);
            let text = picked.map_err(|fault| ShapingFault("parse", format!("`transform`: {}", fault.0)))?;
            let mut made = Document::of_json(text, slots);
            made.line = document.line;
            each(made, jq::Input::Json(output))?;
        }
        Ok(())
    }
}

/// What programs take of the payload, while a rule is compiled: indexes into its paths.
pub(super) struct Wanted {
    /// How many paths columns take.
    columns: usize,
    /// Those of columns, under `transform`: they are paths of its outputs.
    outputs: Vec<Path>,
    check: Vec<usize>,
    whole: Option<usize>,
    is_shaped: bool,
}

impl Wanted {
    /// Adds the paths of programs to those of columns; under `transform`, replaces them.
    pub(super) fn place(rule: &Rule, is_shaped: bool, paths: &mut Vec<Path>) -> Wanted {
        let config::Shaping { predicate, transform, .. } = &rule.shaping;
        let outputs = if transform.is_some() { std::mem::take(paths) } else { Vec::new() };
        let columns = paths.len();
        let check = predicate.as_ref().and_then(|program| program.check());
        let check = check.filter(|check| !check.paths().iter().any(|path| would_hide(path, paths)));
        let keys = |path: &Vec<String>| Path::Steps(path.iter().cloned().map(Step::Key).collect());
        paths.extend(check.iter().flat_map(|check| check.paths()).map(keys));
        let check: Vec<usize> = (columns..paths.len()).collect();
        let is_whole_taken = is_shaped && (transform.is_some() || check.is_empty() || programs(rule).count() > 1);
        let whole = is_whole_taken.then(|| {
            paths.push(Path::Steps(Vec::new()));
            paths.len() - 1
        });
        Wanted { columns, outputs, check, whole, is_shaped }
    }

    /// Those of the payload's paths that columns take.
    pub(super) fn read<'p>(&self, paths: &'p [Path]) -> &'p [Path] {
        &paths[..self.columns]
    }

    pub(super) fn output_paths(&self) -> &[Path] {
        &self.outputs
    }

    /// The paths of outputs, and the slot of each, under `transform`.
    pub(super) fn outputs(&self) -> (PathTree, Vec<usize>) {
        PathTree::compile(&self.outputs)
    }

    /// `slots` has the slot of each path.
    pub(super) fn shaping(
        self,
        bridge: &str,
        rule: &Rule,
        outputs: PathTree,
        slots: &[usize],
        parts: &mut Parts,
    ) -> Option<Box<Shaping>> {
        if !self.is_shaped {
            return None;
        }
        let config::Shaping { predicate, transform, .. } = &rule.shaping;
        let predicate = predicate.as_ref().map(|program| Predicate {
            program: Arc::clone(program),
            slots: self.check.iter().map(|path| slots[*path]).collect(),
        });
        let transform =
            transform.as_ref().map(|program| Transform { program: Arc::clone(program), tree: parts.tree(outputs) });
        let read = &slots[..self.columns];
        let hidden = slots[self.columns..].iter().copied().filter(|slot| !read.contains(slot)).collect();
        let whole = self.whole.map(|path| slots[path]);
        Some(Box::new(Shaping { predicate, transform, names: Arc::new(Names::of(bridge, rule)), whole, hidden }))
    }
}

/// Whether a predicate's path would take the field that a column takes in another case.
fn would_hide(path: &[String], paths: &[Path]) -> bool {
    let Some(first) = path.first() else { return false };
    let is_folded = |path: &Path| matches!(path, Path::Folded(key) if key.eq_ignore_ascii_case(first));
    paths.iter().any(is_folded) && !paths.iter().any(|path| path.first_key() == Some(first))
}
