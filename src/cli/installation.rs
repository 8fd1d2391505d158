//! Finds the installation that a command is about, from any directory and shell.
//!
//! Relative paths of the configuration, and systemd's variables, have a meaning for the daemon and none for a person's
//! shell. So the command asks the running daemon for both. If no daemon answers, the command looks where the systemd
//! unit keeps its state (for the configuration in /etc), then for a directory that holds a bridge's files. It then
//! changes to that directory, so that every relative path means the same as for the daemon.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Deserialize;

use super::{EXIT_USAGE, Layers, http};
use crate::admin::Paths;
use crate::config::{self, Config, DatabaseUrl, Http, HttpAccess, LoadRequest, Needs, Report};

/// `StateDirectory=` of the unit, and its working directory.
const UNIT_STATE: &str = "/var/lib/rowbridge";
/// Where `LoadCredential=` finds what deploy/README.md has people put there.
const UNIT_SECRETS: &str = "/etc/rowbridge/secrets";

/// An installed bridge.
pub(super) struct Installed {
    /// With absolute paths.
    pub config: Config,
    /// Its folder, which systemd makes at the first start, if it has not yet.
    pub awaited: Option<PathBuf>,
}

/// Loads what a command needs of the configuration of an installed bridge, with absolute paths.
pub(super) fn load(layers: &Layers, needs: Needs) -> Result<Config, ExitCode> {
    load_installed(layers, needs, Asking::WithToken).map(|installed| installed.config)
}

/// As [`load`], with what is known of the place.
pub(super) fn load_installed(layers: &Layers, needs: Needs, asking: Asking) -> Result<Installed, ExitCode> {
    find_installed(layers, needs, asking).map_err(say_refusal)
}

/// How the daemon is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    WithToken,
    /// By a command that connects to nothing else: while the daemon is away, its address may be somebody else's.
    WithoutToken,
}

/// Why nothing was loaded.
pub(super) enum Refusal {
    /// It was printed, and the command ends so.
    Said(ExitCode),
    Mistakes(Report),
}

/// As [`load_installed`], but leaves it to the caller to print the mistakes of the configuration.
pub(super) fn find_installed(layers: &Layers, needs: Needs, asking: Asking) -> Result<Installed, Refusal> {
    let mut request = layers.request().map_err(Refusal::Said)?;
    let file = request.read_file().map_err(Refusal::Mistakes)?;
    find_by(request, file, needs, asking)
}

/// For commands that only ask the running bridge: how to reach it. Of relative paths only that of the token matters, so the
/// installation is looked for only if there is one.
pub(super) fn load_access(layers: &Layers) -> Result<Config, ExitCode> {
    let mut request = layers.request()?;
    let file = request.read_file().map_err(|report| say_mistakes(&report))?;
    request.needs = Needs::only(&["http"]);
    let is_found = |config: &Config| config.http_access.token_file().is_none_or(Path::is_absolute);
    match config::load(&request).ok().filter(is_found) {
        Some(config) => Ok(config),
        None => find_by(request, file, Needs::only(&["http"]), Asking::WithToken)
            .map(|found| found.config)
            .map_err(say_refusal),
    }
}

fn find_by(mut request: LoadRequest, file: PathBuf, needs: Needs, asking: Asking) -> Result<Installed, Refusal> {
    let told = ask(&request, &file, asking);
    let place = match &told {
        Some(paths) => Place::of_daemon(paths),
        None => Place::without_daemon(&request, &file),
    };
    for (variable, value) in place.variables {
        request.environment.entry(variable.to_owned()).or_insert(value);
    }
    if let Some(folder) = &place.folder {
        // The file keeps its meaning.
        request.file = Some(std::path::absolute(&file).unwrap_or(file));
        enter(folder);
    }
    request.needs = needs;
    let mut config = config::load(&request).map_err(Refusal::Mistakes)?;
    make_absolute(&mut config, place.awaited.as_deref());
    Ok(Installed { config, awaited: place.awaited })
}

fn say_refusal(refusal: Refusal) -> ExitCode {
    match refusal {
        Refusal::Said(code) => code,
        Refusal::Mistakes(report) => say_mistakes(&report),
    }
}

fn say_mistakes(report: &Report) -> ExitCode {
    note!("{report}");
    if report.to_string().contains("Permission denied") {
        note!("What this user may not read: run the command as root, or as the user of the bridge.");
    }
    ExitCode::from(EXIT_USAGE)
}

/// As [`load`], with the data directory of the running daemon, whatever the file says by now.
pub(super) fn load_running(layers: &Layers, needs: Needs) -> Result<Config, ExitCode> {
    let mut config = load(layers, needs)?;
    let is_flag = |flag: &String| flag.split_once('=').is_some_and(|(key, _)| key.eq_ignore_ascii_case("data_dir"));
    let is_variable = |(name, value): (&String, &String)| {
        (name.eq_ignore_ascii_case("ROWBRIDGE__DATA_DIR") || name == "STATE_DIRECTORY") && !value.is_empty()
    };
    let is_overridden = layers.set.iter().any(is_flag) || layers.request()?.environment.iter().any(is_variable);
    if !is_overridden
        && let Some(file) = config.file.clone()
        && let Some(data_dir) = ask_at(config.http, &config.http_access, &file).and_then(|paths| paths.data_dir)
    {
        config.data_dir = data_dir.into();
    }
    Ok(config)
}

/// Where the daemon runs or would run.
#[derive(Default)]
struct Place {
    /// `None` for the folder that the command was started in.
    folder: Option<PathBuf>,
    /// Variables that systemd would set.
    variables: Vec<(&'static str, String)>,
    /// The folder in which the daemon will run, while it is not there.
    awaited: Option<PathBuf>,
}

impl Place {
    fn of_daemon(paths: &Paths) -> Place {
        let variables =
            [("STATE_DIRECTORY", &paths.state_directory), ("CREDENTIALS_DIRECTORY", &paths.credentials_directory)];
        let known = |(name, value): (&'static str, &Option<String>)| Some((name, value.clone()?));
        Place {
            folder: paths.working_directory.as_ref().map(PathBuf::from),
            variables: variables.into_iter().filter_map(known).collect(),
            awaited: None,
        }
    }

    fn without_daemon(request: &LoadRequest, file: &Path) -> Place {
        let state = request.environment.get("STATE_DIRECTORY").map(PathBuf::from);
        let unit = Path::new(UNIT_STATE);
        let is_of_unit = state.is_none() && is_same_file(file, &request.system_file);
        if is_of_unit && (unit.is_dir() || !holds_a_bridge(request, Path::new(""))) {
            let secrets = Path::new(UNIT_SECRETS).is_dir().then(|| ("CREDENTIALS_DIRECTORY", UNIT_SECRETS.to_owned()));
            let state = ("STATE_DIRECTORY", UNIT_STATE.to_owned());
            return Place {
                folder: unit.is_dir().then(|| unit.to_owned()),
                variables: secrets.into_iter().chain([state]).collect(),
                awaited: (!unit.exists()).then(|| unit.to_owned()),
            };
        }
        let beside = std::path::absolute(file).ok().and_then(|file| Some(file.parent()?.to_owned()));
        let mut folders = [Some(PathBuf::new()), state, beside].into_iter().flatten();
        let found = folders.find(|folder| holds_a_bridge(request, folder));
        Place { folder: found.filter(|folder| !folder.as_os_str().is_empty()), ..Place::default() }
    }
}

/// Whether something is in a folder that the configuration names by a relative path: the journal, an SQLite file, or the
/// token of HTTP.
fn holds_a_bridge(request: &LoadRequest, folder: &Path) -> bool {
    let mut request = request.clone();
    request.needs = Needs::only(&["data_dir"]);
    let Ok(config) = config::load(&request) else { return false };
    let token = config.http_access.token_file().map(Path::to_owned);
    let files = config.databases.into_iter().filter_map(|database| match database.url {
        DatabaseUrl::Sqlite(path) if !path.as_os_str().is_empty() => Some(path),
        _ => None,
    });
    let mut traces = files.chain([config.data_dir.join("journal")]).chain(token);
    traces.any(|path| path.is_relative() && folder.join(path).exists())
}

/// The paths of the daemon that runs with this configuration file, if one answers.
fn ask(request: &LoadRequest, file: &Path, asking: Asking) -> Option<Paths> {
    let mut request = request.clone();
    request.needs = Needs::only(&["http"]);
    let mut config = config::load(&request).ok()?;
    if asking == Asking::WithoutToken {
        config.http_access.token = None;
    }
    ask_at(config.http, &config.http_access, file)
}

fn ask_at(http: Http, access: &HttpAccess, file: &Path) -> Option<Paths> {
    #[derive(Deserialize)]
    struct Answer {
        paths: Paths,
    }
    let Http::Listen(address) = http else { return None };
    let (200, body) = http::get(address, access, "/status").ok()? else { return None };
    let paths = serde_json::from_str::<Answer>(&body).ok()?.paths;
    // Another bridge may have the address; and one in a container has another file system.
    let is_ours = paths.config.as_ref().is_some_and(|theirs| is_same_file(file, Path::new(theirs)));
    let is_here = paths.working_directory.as_ref().is_some_and(|folder| Path::new(folder).is_dir());
    (is_ours && is_here).then_some(paths)
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Goes on where it is if the folder is closed to this user: what is then missing is reported by its path.
fn enter(folder: &Path) {
    if let Err(error) = env::set_current_dir(folder) {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => "; run the command as root, or as the user of the bridge",
            _ => "",
        };
        note!("rowbridge: the bridge's folder {} cannot be entered: {error}{advice}", folder.display());
    }
}

/// `folder` is where relative paths begin, if that is not where this process is.
fn make_absolute(config: &mut Config, folder: Option<&Path>) {
    let absolute = |path: &mut PathBuf| {
        let from = folder.map_or_else(|| path.clone(), |folder| folder.join(&*path));
        if let Ok(absolute) = std::path::absolute(from) {
            *path = absolute;
        }
    };
    absolute(&mut config.data_dir);
    for database in &mut config.databases {
        if let DatabaseUrl::Sqlite(path) = &mut database.url
            && !path.as_os_str().is_empty()
        {
            absolute(path);
        }
    }
}
