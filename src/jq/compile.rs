//! Compiles a program's text for the interpreter.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jaq_core::compile::Undefined;
use jaq_core::load::parse::{Def, Term};
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Filter};

use super::check::Check;
use super::frame::Jq;
use super::functions::{LINK, REFUSED, STOP, functions, stops};
use super::syntax::{Names, parse};
use super::{JqError, PROGRAM_BYTES_MAX, Variable};

/// Parsing and compiling recurse into the program; see [`super::syntax`] for how deep.
const STACK_BYTES: usize = 256 << 20;
/// The definition that the program becomes.
const MAIN: &str = "rowbridge_main";
/// A term of the text becomes at most this many terms of the interpreter.
const TERMS_PER_TERM_MAX: usize = 8;

pub(super) struct Compiled {
    pub(super) filter: Filter<Jq>,
    pub(super) exit: Arc<Filter<Jq>>,
    /// In the order in which the interpreter takes them.
    pub(super) variables: Box<[Variable]>,
    pub(super) check: Option<Check>,
}

pub(super) fn compile(text: &str) -> Result<Compiled, JqError> {
    if text.len() > PROGRAM_BYTES_MAX {
        let message = format!("the program has {} bytes; {PROGRAM_BYTES_MAX} are accepted", text.len());
        return Err(JqError::at(text, text, message));
    }
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || compile_here(text));
        match spawned.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(compiled)) => compiled,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Err(JqError::at(text, text, "no thread can be started to compile it".to_owned())),
        }
    })
}

fn compile_here(text: &str) -> Result<Compiled, JqError> {
    let mut term = parse(text)?;
    let check = Check::of(&term);
    let names = Names::of(&mut term);
    let variables: Box<[Variable]> = {
        let used = Variable::ALL.iter().filter(|(name, _)| names.variables.contains(name));
        used.map(|(_, variable)| *variable).collect()
    };
    let (library, library_terms) = library_for(&names.calls);
    let main = Def { name: MAIN, args: Vec::new(), body: term };
    let arena = Arena::default();
    let loaded = Loader::new(library.into_iter().chain([main])).load(&arena, File { code: MAIN, path: () });
    let modules = loaded.map_err(|_| JqError::at(text, text, "it cannot be loaded".to_owned()))?;
    let compiler = Compiler::<_, Jq>::default()
        .with_funs(functions())
        .with_global_vars(variables.iter().map(|variable| variable.name()));
    let filter = compiler.compile(modules).map_err(|errors| undefined(text, &errors))?;
    let terms = (names.terms + library_terms) * TERMS_PER_TERM_MAX;
    Ok(Compiled { filter, exit: exit(terms), variables, check })
}

/// The first name that does not exist, in the order of the text.
fn undefined<P>(text: &str, errors: &jaq_core::compile::Errors<&str, P>) -> JqError {
    let is_within = |name: &str| text.as_bytes().as_ptr_range().contains(&name.as_ptr());
    let errors = errors.iter().flat_map(|(_, errors)| errors).filter(|(name, _)| is_within(name));
    let Some((name, kind)) = errors.min_by_key(|(name, _)| name.as_ptr()) else {
        return JqError::at(text, text, "it cannot be compiled".to_owned());
    };
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| refused == name) {
        return JqError::at(text, name, format!("`{name}` is not available: {why}"));
    }
    let near = |known: &mut dyn Iterator<Item = &'static str>| {
        let distance = |known: &str| strsim::damerau_levenshtein(known, name);
        let nearest = known.map(|known| (distance(known), known)).min();
        let near = nearest.filter(|(distance, _)| *distance <= (name.len() / 3).max(1));
        near.map_or(String::new(), |(_, known)| format!("; did you mean `{known}`?"))
    };
    let message = match kind {
        Undefined::Var => {
            let names: Vec<&str> = Variable::ALL.iter().map(|(name, _)| *name).collect();
            let hint = near(&mut names.iter().copied());
            format!("there is no variable `{name}`{hint} (there are {})", names.join(", "))
        }
        Undefined::Filter(arity) => {
            let arities: HashSet<usize> = arities_of(name).collect();
            match (arity, arities.is_empty()) {
                (_, false) => {
                    let mut arities: Vec<String> = arities.iter().map(usize::to_string).collect();
                    arities.sort();
                    format!("`{name}` takes {} arguments, not {arity}", arities.join(" or "))
                }
                _ => format!("there is no function `{name}`{}", near(&mut function_names())),
            }
        }
        kind => format!("there is no {} `{name}`", kind.as_str()),
    };
    JqError::at(text, name, message)
}

fn function_names() -> impl Iterator<Item = &'static str> {
    let natives = functions().map(|(name, ..)| name).filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    library().iter().map(|(definition, _)| definition.name).chain(natives)
}

fn arities_of(name: &str) -> impl Iterator<Item = usize> {
    let defined = library().iter().map(|(definition, _)| (definition.name, definition.args.len()));
    let natives = functions().map(|(name, arguments, _)| (name, arguments.len()));
    let all: Vec<_> = defined.chain(natives).filter(|(known, _)| *known == name).collect();
    all.into_iter().map(|(_, arity)| arity)
}

/// Functions written in jq, each with the names that it calls and its size.
type Library = Vec<(Def<&'static str>, (HashSet<&'static str>, usize))>;

/// jaq's, less what is refused, and ours.
fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let ours = jaq_core::load::parse(include_str!("library.jq"), |parser| parser.defs());
        let ours = ours.expect("our own definitions are correct").into_iter();
        let all = jaq_core::defs().chain(jaq_std::defs()).chain(ours);
        let kept = all.filter(|definition| !REFUSED.iter().any(|(refused, _)| *refused == definition.name));
        kept.map(|mut definition| {
            // Ours hand no filters from call to call.
            let names = Names::of(&mut definition.body);
            (definition, (names.calls, names.terms + 1))
        })
        .collect()
    })
}

/// The definitions that a program needs, in their order, and how many terms they have: all of them would take longer to
/// compile than most programs to run.
fn library_for(calls: &HashSet<&str>) -> (Vec<Def<&'static str>>, usize) {
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, (definition, _)) in library().iter().enumerate() {
        by_name.entry(definition.name).or_default().push(at);
    }
    let mut open: Vec<&str> = calls.iter().copied().collect();
    let mut needed = HashSet::new();
    while let Some(name) = open.pop() {
        for at in by_name.get(name).into_iter().flatten() {
            if needed.insert(*at) {
                open.extend(&library()[*at].1.0);
            }
        }
    }
    let mut needed: Vec<usize> = needed.into_iter().collect();
    needed.sort_unstable();
    let terms = needed.iter().map(|at| library()[*at].1.1).sum();
    (needed.iter().map(|at| library()[*at].0.clone()).collect(), terms)
}

/// As many terms as a program has, each of which ends the run. Programs of a size share them.
fn exit(terms: usize) -> Arc<Filter<Jq>> {
    static EXITS: Mutex<Vec<(usize, Arc<Filter<Jq>>)>> = Mutex::new(Vec::new());
    let terms = terms.next_power_of_two().max(1 << 12);
    let mut exits = EXITS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, exit)) = exits.iter().find(|(size, _)| *size == terms) {
        return Arc::clone(exit);
    }
    let stop = Def { name: LINK, args: Vec::new(), body: Term::Call(STOP, Vec::new()) };
    let arena = Arena::default();
    // Each definition is one term.
    let loader = Loader::new(std::iter::repeat_n(stop, terms));
    let modules = loader.load(&arena, File { code: "empty", path: () }).expect("it has no error");
    let filter = Compiler::<_, Jq>::default().with_funs(stops_and_empty()).compile(modules);
    let exit = Arc::new(filter.expect("it calls nothing that is not there"));
    exits.push((terms, Arc::clone(&exit)));
    exit
}

/// [`stops`], and a last one that the main program of the way out can name.
fn stops_and_empty() -> impl Iterator<Item = jaq_core::native::Fun<Jq>> {
    let empty = stops().find(|(name, ..)| *name == STOP).map(|(_, arguments, stop)| ("empty", arguments, stop));
    stops().chain(empty)
}
