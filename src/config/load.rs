//! From files, variables and flags to one valid [`Config`], or to a report of every mistake in them.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::decode::{self, Context};
use super::file::{FILE_NAME, find_file, read_file};
use super::key_path::KeyPath;
use super::layer::{self, Layer, Provenances};
use super::needs::{Needs, SecretNeed};
use super::report::{Finding, Place, Position, Report};
use super::substitute::{self, SubstituteError, substitute};
use super::tree::{Entries, Kind, Node, Tree};
use super::wildcard::RuleFiles;
use super::yaml_core::Core;
use super::{Config, environment, hide, syntax, yaml};

const SYSTEM_FILE: &str = "/etc/rowbridge/bridge.yaml";

/// Replaces a secret that is not used.
const NO_SECRET: &str = "none";

/// What to load, with everything from outside that has a say in it.
#[derive(Clone)]
pub struct LoadRequest {
    /// From `-c FILE`.
    pub file: Option<PathBuf>,
    /// From command-line flags: key path (`mqtt.url`) and value.
    pub overrides: Vec<(String, String)>,
    /// The environment; may hold secrets.
    pub environment: BTreeMap<String, String>,
    /// The variables whose value is not UTF-8 text. Whatever uses one of them is a mistake.
    pub not_text: BTreeSet<String>,
    /// For the default client id.
    pub hostname: String,
    /// What the file holds, if it was read before: see [`LoadRequest::read_file`].
    pub text: Option<String>,
    /// Where `bridge.yaml` is looked for; empty for the working directory.
    pub directory: PathBuf,
    /// Looked for last.
    pub system_file: PathBuf,
    pub needs: Needs,
}

impl LoadRequest {
    /// A request with this process's environment and host name.
    pub fn from_process(file: Option<PathBuf>, overrides: Vec<(String, String)>) -> LoadRequest {
        let (mut environment, mut not_text) = (BTreeMap::new(), BTreeSet::new());
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => {
                    environment.insert(name, value);
                }
                Err(_) => {
                    not_text.insert(name);
                }
            }
        }
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        LoadRequest {
            file,
            overrides,
            environment,
            not_text,
            hostname,
            text: None,
            directory: PathBuf::new(),
            system_file: SYSTEM_FILE.into(),
            needs: Needs::everything(),
        }
    }

    /// Finds the file and reads it for everything that is loaded by this request from now on. A command that loads several
    /// times must begin with this, because a pipe can be read once.
    pub fn read_file(&mut self) -> Result<PathBuf, Report> {
        let path = find_file(self)?;
        self.text = Some(read_file(&path)?);
        Ok(path)
    }
}

/// Finds the file, lays the layers over one another and checks the result as a whole.
///
/// Layers, later wins: defaults, the file, `ROWBRIDGE__…` variables, command-line flags. Reads the files that the
/// configuration names (secrets, certificates), where they are needed; connects to nothing.
pub fn load(request: &LoadRequest) -> Result<Config, Report> {
    let path = find_file(request)?;
    let text = request.text.clone().map_or_else(|| read_file(&path), Ok)?;
    load_from(request, &path, text)
}

/// As [`load`], of a text in place of the file.
pub(crate) fn load_text(request: &LoadRequest, text: &str) -> Result<Config, Report> {
    load_from(request, Path::new(FILE_NAME), text.to_owned())
}

fn load_from(request: &LoadRequest, path: &Path, text: String) -> Result<Config, Report> {
    let (config, findings) = read(request, path, text, decode::decode)?;
    if findings.is_empty() { Ok(config) } else { Err(Report::new(findings)) }
}

/// The files of `rules_from`, as far as this file names them; mistakes are not reported here.
pub fn rule_files(request: &LoadRequest) -> RuleFiles {
    let patterns = || {
        let path = find_file(request)?;
        let text = read_file(&path)?;
        read(request, &path, text, decode::rules_from::paths)
    };
    RuleFiles { patterns: patterns().map(|(patterns, _)| patterns).unwrap_or_default() }
}

/// Merges the layers for `decode`; returns the mistakes separately.
fn read<T>(
    request: &LoadRequest,
    path: &Path,
    text: String,
    decode: impl FnOnce(&Context<'_>, &config::Map<String, config::Value>) -> T,
) -> Result<(T, Vec<Finding>), Report> {
    let mut findings = Vec::new();
    let mut tree = read_tree(path, &text, &mut findings)?;
    drop(text);
    fill(&mut tree, (&request.environment, &request.not_text, request.needs.secrets), &mut findings);
    let mut provenances = Provenances::new();
    let file = layer::file_layer(&tree, &mut provenances);
    let merged = lay_over(request, file, &mut provenances, &mut findings)?;
    let cx = Context {
        file: path,
        environment: &request.environment,
        not_text: &request.not_text,
        hostname: &request.hostname,
        secrets: request.needs.secrets,
        tree: &tree,
        rule_files: OnceCell::new(),
        needs_rules: request.needs.use_section("rules"),
        provenances,
        findings: RefCell::new(findings),
    };
    let decoded = decode(&cx, &merged);
    let mut findings = cx.findings.into_inner();
    findings.retain(|finding| request.needs.concern(finding));
    let trees: Vec<&Tree> = std::iter::once(&tree).chain(cx.rule_files.get().into_iter().flatten()).collect();
    name_variables(&mut findings, &trees, &request.environment);
    hide::secrets(&mut findings, &trees, request);
    Ok((decoded, findings))
}

/// A file of rules as a tree, its variables filled in; `None` if it is empty or no YAML, which is a finding then.
pub(super) fn read_rules(path: &Path, text: &str, cx: &Context<'_>) -> Option<Tree> {
    let (mut tree, mut findings) = parse(path, text);
    // If a file is a list, its rules are still placed under `rules`.
    for finding in findings.iter_mut().filter(|finding| finding.key.starts_with('[')) {
        finding.key.insert_str(0, "rules");
    }
    if let Some(tree) = &mut tree {
        fill(tree, (cx.environment, cx.not_text, cx.secrets), &mut findings);
    }
    cx.findings.borrow_mut().append(&mut findings);
    tree
}

/// The file's text as a tree, which is empty or a mapping. What is wrong with it and leaves a tree is among the findings.
fn read_tree(path: &Path, text: &str, findings: &mut Vec<Finding>) -> Result<Tree, Report> {
    let (tree, found) = parse(path, text);
    let at = |position| Place::File { file: path.to_owned(), position };
    let is_syntax_error = tree.is_none() && !found.is_empty();
    findings.extend(found);
    if is_syntax_error {
        return Err(Report::new(std::mem::take(findings)));
    }
    let Some(tree) = tree else { return Ok(Tree::default()) };
    match tree.root().map(Node::kind) {
        None | Some(Kind::Mapping(_)) => Ok(tree),
        Some(Kind::Scalar(Core::Null)) => Ok(Tree::default()),
        Some(Kind::Scalar(_) | Kind::Sequence(_)) => {
            let problem = "the file is not a mapping".to_owned();
            let accepted = "top-level keys such as mqtt, databases and rules".to_owned();
            let position = tree.root().map_or(Position { line: 1, column: 1 }, Node::position);
            Err(Report::of(at(position), problem, Some(accepted)))
        }
    }
}

/// A document, and what is wrong with it as YAML.
fn parse(path: &Path, text: &str) -> (Option<Tree>, Vec<Finding>) {
    let (mut tree, faults) = yaml::parse(text);
    if let Some(tree) = &mut tree {
        tree.file = path.to_owned();
    }
    let finding = |fault: yaml::Fault| Finding {
        place: Place::File { file: path.to_owned(), position: fault.position },
        key: fault.path,
        problem: fault.problem,
        excerpt: if fault.is_syntax { syntax::excerpt(text, fault.position) } else { None },
        accepted: fault.accepted.map(str::to_owned),
        suggestion: None,
    };
    (tree, faults.into_iter().map(finding).collect())
}

/// Where findings tell what a variable filled in, its name takes the place: what it holds may be a secret.
fn name_variables(findings: &mut [Finding], trees: &[&Tree], environment: &BTreeMap<String, String>) {
    let names: BTreeSet<&str> = trees.iter().flat_map(|tree| tree.written()).flat_map(substitute::names).collect();
    let filled: Vec<(&str, &str)> =
        names.into_iter().filter_map(|name| Some((name, environment.get(name)?.as_str()))).collect();
    for finding in findings {
        for (name, value) in filled.iter().filter(|(_, value)| value.len() >= substitute::SECRET_LEN_MIN) {
            for text in std::iter::once(&mut finding.problem).chain(&mut finding.accepted) {
                *text = substitute::name_in_message(text, name, value);
            }
            // All of it is quoted.
            if let Some(suggestion) = &mut finding.suggestion {
                *suggestion = suggestion.replace(value, &format!("${{{name}}}"));
            }
        }
    }
}

/// Puts variables and flags on top of the file.
fn lay_over(
    request: &LoadRequest,
    file: Layer,
    provenances: &mut Provenances,
    findings: &mut Vec<Finding>,
) -> Result<config::Map<String, config::Value>, Report> {
    environment::refuse_not_text(&request.not_text, findings);
    let variables = environment::variables(&request.environment, &file.values, provenances, findings);
    let flags = environment::flags(&request.overrides, &file.values, provenances, findings);
    layer::merge([file, variables, flags]).map_err(|error| {
        // The layers are made of values only, so there is nothing in them that could fail.
        Report::of(Place::Nowhere, format!("the layers of the configuration do not merge: {error}"), None)
    })
}

/// Fills variables into the scalars of the tree.
fn fill(
    tree: &mut Tree,
    (environment, not_text, secrets): (&BTreeMap<String, String>, &BTreeSet<String>, SecretNeed),
    findings: &mut Vec<Finding>,
) {
    let mut filling = Filling { environment, not_text, secrets, filled: Vec::new() };
    match tree.root().map(Node::kind) {
        Some(Kind::Mapping(entries)) => filling.entries(entries, &Trail::Root),
        // A file of rules, which stand under `rules` in messages.
        Some(Kind::Sequence(_)) => filling.value(tree.node(0), &Trail::Key(&Trail::Root, "rules")),
        _ => {}
    }
    for (index, result) in filling.filled {
        match result {
            Ok(text) => tree.fill(index, text),
            Err((path, error)) if secrets == SecretNeed::Unused && path.is_of_a_login() && !error.is_syntax() => {
                tree.leave_unfilled(index);
            }
            Err((path, error)) => {
                tree.leave_unfilled(index);
                findings.push(Finding {
                    place: Place::File { file: tree.file.clone(), position: tree.node(index).position() },
                    key: path.to_string(),
                    problem: error.to_string(),
                    excerpt: None,
                    accepted: Some(error.accepted().to_owned()),
                    suggestion: None,
                });
            }
        }
    }
}

/// The text with its variables filled in; or where that failed, and why.
type Filled = Result<String, (KeyPath, SubstituteError)>;

/// Substitutes variables in scalars.
struct Filling<'a> {
    environment: &'a BTreeMap<String, String>,
    not_text: &'a BTreeSet<String>,
    secrets: SecretNeed,
    /// By the scalar's index in the tree.
    filled: Vec<(usize, Filled)>,
}

/// The way to a value, to be made a path where one is needed.
enum Trail<'t> {
    Root,
    Key(&'t Trail<'t>, &'t str),
    Index(&'t Trail<'t>, usize),
}

impl Trail<'_> {
    fn path(&self) -> KeyPath {
        match self {
            Trail::Root => KeyPath::root(),
            Trail::Key(above, key) => above.path().key(key),
            Trail::Index(above, index) => above.path().index(*index),
        }
    }

    /// The key of the value, which may be an element of a list.
    fn last_key(&self) -> Option<&str> {
        match self {
            Trail::Root => None,
            Trail::Key(_, key) => Some(key),
            Trail::Index(above, _) => above.last_key(),
        }
    }
}

impl Filling<'_> {
    fn entries(&mut self, entries: Entries<'_>, trail: &Trail<'_>) {
        for entry in entries {
            self.value(entry.value, &Trail::Key(trail, entry.key));
        }
    }

    /// Recursion is bounded by the depth that the YAML reader allows.
    fn value(&mut self, node: Node<'_>, trail: &Trail<'_>) {
        match node.kind() {
            Kind::Mapping(entries) => self.entries(entries, trail),
            Kind::Sequence(items) => {
                for (index, item) in items.enumerate() {
                    self.value(item, &Trail::Index(trail, index));
                }
            }
            Kind::Scalar(_) => match self.scalar(node.text(), trail) {
                Ok(None) => {}
                Ok(Some(filled)) => self.filled.push((node.index(), Ok(filled))),
                Err(error) => self.filled.push((node.index(), Err((trail.path(), error)))),
            },
        }
    }

    /// For commands that do not connect, credentials in an address may stay unknown: before its `@`, a placeholder
    /// replaces a variable that is not set.
    fn scalar(&self, text: &str, trail: &Trail<'_>) -> Result<Option<String>, SubstituteError> {
        let filled = self.substitute(text, self.environment);
        let is_address = || matches!(trail.last_key(), Some("url" | "urls"));
        let (true, Err(_), Some(at)) = (self.secrets == SecretNeed::Unused, &filled, text.rfind('@')) else {
            return filled;
        };
        if !is_address() {
            return filled;
        }
        let mut environment = self.environment.clone();
        for name in substitute::names(&text[..at]) {
            environment.entry(name.to_owned()).or_insert_with(|| NO_SECRET.to_owned());
        }
        self.substitute(text, &environment)
    }

    /// A variable whose value is no text is a mistake, also where there is a default.
    fn substitute(
        &self,
        text: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<Option<String>, SubstituteError> {
        let filled = substitute(text, environment);
        if self.not_text.is_empty() || filled.as_ref().is_err_and(SubstituteError::is_syntax) {
            return filled;
        }
        let is_not_text = |name: &&str| self.not_text.contains(*name) && !environment.contains_key(*name);
        match substitute::names(&text.replace("$${", "")).find(is_not_text) {
            Some(name) => Err(SubstituteError::NotText(name.to_owned())),
            None => filled,
        }
    }
}
