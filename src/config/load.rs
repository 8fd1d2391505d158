//! From files, variables and flags to one valid [`Config`], or to every mistake in them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::decode::{self, Context};
use super::key_path::KeyPath;
use super::layer::{self, Layer, Provenances};
use super::report::{Finding, Place, Position, Report};
use super::substitute::{self, substitute};
use super::yaml::{self, Core, Entry, Kind, Node};
use super::{Config, environment};

/// Far above any configuration written by people; a wrong path (a database, a disk) is noticed before it is read whole.
const FILE_BYTES_MAX: u64 = 8 << 20;
const FILE_NAME: &str = "bridge.yaml";
const FILE_VARIABLE: &str = "ROWBRIDGE_CONFIG";
/// The usual reason for a syntax error in a line with a brace.
const BRACES: &str = "quotes around a value with braces where it begins with one or stands inside { } or [ ], as in \
                      { topic: \"a/{site}\", password: \"${PASSWORD}\" }";
const SYSTEM_FILE: &str = "/etc/rowbridge/bridge.yaml";

/// What to load, with everything from outside that has a say in it.
#[derive(Clone)]
pub struct LoadRequest {
    /// From `-c FILE`.
    pub file: Option<PathBuf>,
    /// From command-line flags: key path (`mqtt.url`) and value.
    pub overrides: Vec<(String, String)>,
    /// The environment; may hold secrets.
    pub environment: BTreeMap<String, String>,
    /// For the default client id.
    pub hostname: String,
    /// Where `bridge.yaml` is looked for; empty for the working directory.
    pub directory: PathBuf,
    /// Looked for last.
    pub system_file: PathBuf,
}

impl LoadRequest {
    /// A request with this process's environment and host name.
    pub fn from_process(file: Option<PathBuf>, overrides: Vec<(String, String)>) -> LoadRequest {
        // A variable that is not UTF-8 counts as unset: nothing here could use it.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        LoadRequest {
            file,
            overrides,
            environment,
            hostname,
            directory: PathBuf::new(),
            system_file: SYSTEM_FILE.into(),
        }
    }
}

/// Finds the file, lays the layers over one another and checks the result as a whole.
///
/// Layers, later wins: defaults, the file, `ROWBRIDGE__…` variables, command-line flags. Reads the files that the
/// configuration names (secrets, certificates); connects to nothing.
pub fn load(request: &LoadRequest) -> Result<Config, Report> {
    let path = find_file(request)?;
    let text = read_file(&path)?;
    let mut findings = Vec::new();
    let (tree, faults) = yaml::parse(&text);
    let at = |position| Place::File { file: path.clone(), position };
    let is_syntax_error = tree.is_none() && !faults.is_empty();
    for fault in faults {
        let line = text.lines().nth(fault.position.line.saturating_sub(1)).unwrap_or_default();
        let has_braces = is_syntax_error && line.contains('{');
        findings.push(Finding {
            place: at(fault.position),
            key: fault.path.to_string(),
            problem: fault.problem,
            accepted: has_braces.then(|| BRACES.to_owned()),
            suggestion: None,
        });
    }
    if is_syntax_error {
        return Err(Report::new(findings));
    }
    let mut entries = match tree {
        None => Vec::new(),
        Some(Node { kind: Kind::Mapping(entries), .. }) => entries,
        Some(Node { kind: Kind::Scalar(scalar), .. }) if scalar.core == Core::Null => Vec::new(),
        Some(node) => {
            let problem = "the file is not a mapping".to_owned();
            let accepted = "top-level keys such as mqtt, databases and rules".to_owned();
            return Err(Report::of(at(node.position), problem, Some(accepted)));
        }
    };
    let mut filling = Filling { request, file: &path, written: HashMap::new(), findings: &mut findings };
    filling.fill_entries(&mut entries, &KeyPath::root());
    let written = filling.written;
    let mut provenances = Provenances::new();
    let file = layer::file_layer(&entries, &written, &mut provenances);
    let merged = lay_over(request, file, &mut provenances, &mut findings)?;
    let cx = Context {
        file: &path,
        environment: &request.environment,
        hostname: &request.hostname,
        provenances,
        findings: RefCell::new(findings),
    };
    let config = decode::decode(&cx, &merged);
    let mut findings = cx.findings.into_inner();
    name_variables(&mut findings, &written, &request.environment);
    if findings.is_empty() { Ok(config) } else { Err(Report::new(findings)) }
}

/// Where findings tell what a variable filled in, its name takes the place: what it holds may be a secret.
fn name_variables(
    findings: &mut [Finding],
    written: &HashMap<Position, String>,
    environment: &BTreeMap<String, String>,
) {
    let names: BTreeSet<&str> = written.values().flat_map(|text| substitute::names(text)).collect();
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
    let variables = environment::variables(&request.environment, &file.values, provenances, findings);
    let flags = environment::flags(&request.overrides, &file.values, provenances, findings);
    layer::merge([file, variables, flags]).map_err(|error| {
        // The layers are made of values only, so there is nothing in them that could fail.
        Report::of(Place::Nowhere, format!("the layers of the configuration do not merge: {error}"), None)
    })
}

fn find_file(request: &LoadRequest) -> Result<PathBuf, Report> {
    if let Some(file) = &request.file {
        return Ok(file.clone());
    }
    if let Some(file) = request.environment.get(FILE_VARIABLE).filter(|file| !file.is_empty()) {
        return Ok(file.into());
    }
    let local = request.directory.join(FILE_NAME);
    let candidates = [&local, &request.system_file];
    if let Some(found) = candidates.into_iter().find(|path| path.exists()) {
        return Ok(found.clone());
    }
    let problem = format!(
        "there is no configuration: no -c FILE, {FILE_VARIABLE} is not set, and neither {} nor {} exists",
        Path::new(".").join(&local).display(),
        request.system_file.display()
    );
    Err(Report::of(
        Place::Nowhere,
        problem,
        Some("rowbridge -c FILE, or a bridge.yaml in one of these places".to_owned()),
    ))
}

fn read_file(path: &Path) -> Result<String, Report> {
    let fail = |problem: String| Report::of(Place::Nowhere, format!("{}: {problem}", path.display()), None);
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| fail(format!("the configuration file cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fail("the configuration file is larger than 8 MiB".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        // As YAML counts lines: a carriage return alone ends one too.
        let before = String::from_utf8_lossy(valid).replace("\r\n", "\n").replace('\r', "\n");
        let position = Position {
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
        };
        let place = Place::File { file: path.to_owned(), position };
        Report::of(place, "the file is not UTF-8 text from here on".to_owned(), None)
    })
}

/// Fills variables into the scalars of the tree.
struct Filling<'a> {
    request: &'a LoadRequest,
    file: &'a Path,
    /// What was there before, by position.
    written: HashMap<Position, String>,
    findings: &'a mut Vec<Finding>,
}

impl Filling<'_> {
    fn fill_entries(&mut self, entries: &mut [Entry], path: &KeyPath) {
        for entry in entries {
            self.fill(&mut entry.value, &path.key(&entry.key));
        }
    }

    fn fill(&mut self, node: &mut Node, path: &KeyPath) {
        let scalar = match &mut node.kind {
            Kind::Mapping(entries) => return self.fill_entries(entries, path),
            Kind::Sequence(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.fill(item, &path.index(index));
                }
                return;
            }
            Kind::Scalar(scalar) => scalar,
        };
        match substitute(&scalar.text, &self.request.environment) {
            Ok(None) => {}
            Ok(Some(filled)) => {
                // Text, whatever it looks like. Only nothing is nothing: `username: ${USER:-}` leaves the key out.
                scalar.core = if scalar.plain && filled.is_empty() { Core::Null } else { Core::Text };
                let before = std::mem::replace(&mut scalar.text, filled);
                self.written.insert(node.position, before);
            }
            Err(error) => {
                scalar.core = Core::Null;
                self.findings.push(Finding {
                    place: Place::File { file: self.file.to_owned(), position: node.position },
                    key: path.to_string(),
                    problem: error.to_string(),
                    accepted: Some("the variable in the environment, or ${NAME:-default}".to_owned()),
                    suggestion: None,
                });
            }
        }
    }
}
