//! A private PostgreSQL server for a test: its own data directory, a free loopback port, gone when dropped.
//!
//! PostgreSQL refuses to run as root: then it runs as the system user `postgres`, through `setpriv`. Binaries are
//! looked for in `/usr/lib/postgresql/*/bin` (newest first), `/usr/local/pgsql/bin` and `PATH`; with
//! `ROWBRIDGE_TEST_POSTGRES=18` in the environment, the server is the one that `scripts/fetch-postgres 18` fetched.
//! Superuser is `postgres`, authentication `trust`, encoding UTF-8, locale C.
//!
//! The files of a server without fsync lie in memory where there is room: each database has 300 of them, which tests make
//! and remove faster than a file system on a disk likes. What `initdb` makes is kept in cargo's target directory and copied.
//!
//! [`Postgres::shared`] gives one server to all tests that run at the same time; each makes its own database in it.
//! Tests that stop or kill a server start their own.

#![allow(dead_code, reason = "every way to end a server stands ready, whether or not a test uses it today")]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::free_port;

/// How long a start, stop or recovery may take before the test gives up; crash recovery on a slow disk is the longest.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tries for a start: another program can take the free port first, and after a kill -9 the shared memory lingers.
const START_TRIES: u32 = 20;

/// How a server is set up.
#[derive(Debug, Clone)]
pub(crate) struct PostgresOptions {
    /// On by default: a server killed with -9 keeps what it confirmed either way, but timings should be honest. Without it
    /// the files need no disk either.
    pub(crate) fsync: bool,
    /// Extra settings, as in postgresql.conf: `("max_connections", "20")`.
    pub(crate) settings: Vec<(String, String)>,
    /// Lines put before `pg_hba.conf`'s `trust` lines.
    pub(crate) hba: Vec<String>,
    /// Files put into the data directory before the start (certificates), readable by the server alone.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// Where `initdb` and `postgres` are, if not where all tests have them from.
    pub(crate) binaries: Option<PathBuf>,
}

impl Default for PostgresOptions {
    fn default() -> PostgresOptions {
        PostgresOptions { fsync: true, settings: Vec::new(), hba: Vec::new(), files: Vec::new(), binaries: None }
    }
}

/// A running (or stopped) private server.
pub(crate) struct Postgres {
    directory: TempDir,
    /// The server's programs, and where those of its clients are.
    binaries: PathBuf,
    /// Holds the programs if the server's user cannot reach them where they are.
    _copy: Option<TempDir>,
    clients: PathBuf,
    port: u16,
    options: PostgresOptions,
    server: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl Postgres {
    /// A fresh server with defaults.
    pub(crate) fn start() -> Postgres {
        Postgres::start_with(PostgresOptions::default())
    }

    /// A fresh server.
    pub(crate) fn start_with(options: PostgresOptions) -> Postgres {
        let scratch = if options.fsync { std::env::temp_dir() } else { scratch() };
        let directory = tempfile::Builder::new().prefix("pg-").tempdir_in(scratch).unwrap();
        give_to_server_user(directory.path());
        let (binaries, copy) = within_reach(options.binaries.clone().unwrap_or_else(binaries));
        let postgres = Postgres {
            port: free_port(),
            binaries,
            _copy: copy,
            clients: installed(),
            directory,
            options,
            server: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        postgres.initialise();
        postgres.start_again();
        postgres
    }

    /// The server that all tests running at this moment share; it ends with the last of them.
    pub(crate) fn shared() -> Arc<Postgres> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            // Where places of rolled back rows are not used again, `ctid` orders rows as they were written.
            let settings = vec![("autovacuum".to_owned(), "off".to_owned())];
            let server =
                Arc::new(Postgres::start_with(PostgresOptions { fsync: false, settings, ..Default::default() }));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where the Unix socket is.
    pub(crate) fn socket_dir(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// For `databases.NAME.url`.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database with a name of its own and returns the name.
    pub(crate) fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs SQL as the superuser and returns what it prints: rows as lines, columns parted by `|`, NULL as nothing.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        let output = self.try_psql(database, sql);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql failed on {sql:?}: {error}");
        let mut text = String::from_utf8(output.stdout).unwrap();
        // The last line's end; empty lines before it are values.
        text.pop();
        text
    }

    /// As [`Postgres::psql`], for SQL that may fail or a server that may be down.
    pub(crate) fn try_psql(&self, database: &str, sql: &str) -> Output {
        Command::new(self.clients.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", sql])
            .env("PGCONNECT_TIMEOUT", "5")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// As [`Postgres::psql`], but through a pooler or as another user: all that `url` says.
    pub(crate) fn psql_at(&self, url: &str, sql: &str) -> String {
        let output = Command::new(self.clients.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "psql failed on {sql:?}: {}", String::from_utf8_lossy(&output.stderr));
        let mut text = String::from_utf8(output.stdout).unwrap();
        text.pop();
        text
    }

    /// What the server has logged, of all its starts.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.path().join("log")).unwrap_or_default()).into_owned()
    }

    /// Starts a stopped or killed server on the same port and data.
    pub(crate) fn start_again(&self) {
        let mut server = self.lock_server();
        assert!(server.is_none(), "the server already runs");
        for _ in 0..START_TRIES {
            let mut child = self.spawn();
            if self.wait_ready(&mut child) {
                *server = Some(child);
                return;
            }
            thread::sleep(Duration::from_millis(250));
        }
        panic!("PostgreSQL does not start: {}", self.log());
    }

    /// Ends it as an administrator does: sessions are cut off, a checkpoint is written ("fast").
    pub(crate) fn stop(&self) {
        self.end_with(Signal::INT);
    }

    /// Ends it at once without a checkpoint; the next start recovers ("immediate").
    pub(crate) fn stop_immediately(&self) {
        self.end_with(Signal::QUIT);
    }

    /// kill -9 of the server and of every session of it.
    pub(crate) fn kill(&self) {
        let children = self.children();
        self.end_with(Signal::KILL);
        for child in children {
            // It may have noticed its parent's end and be gone already.
            let _ = kill_process(child, Signal::KILL);
        }
    }

    /// Stops and starts it.
    pub(crate) fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Stops every session and background process where it stands, as a stalled machine would, until
    /// [`Postgres::thaw`]. Connections stay open, nothing is answered.
    pub(crate) fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let main = self.lock_server().as_ref().map(Pid::from_child);
        main.into_iter().chain(self.children()).for_each(|pid| {
            let _ = kill_process(pid, signal);
        });
    }

    fn initialise(&self) {
        let data = self.data_dir();
        let version = Command::new(self.binaries.join("postgres")).arg("--version").output().unwrap().stdout;
        let version = String::from_utf8(version).unwrap().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("initdb-{version}"));
        if !template.exists() {
            let output = as_server_user(&self.binaries.join("initdb"))
                .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D"])
                .arg(&data)
                .current_dir(self.directory.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
            // Whoever comes first leaves it to the others.
            let copy = tempfile::Builder::new().prefix("initdb-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            copy_all(&data, &copy.path().join("data"));
            let _ = fs::rename(copy.path().join("data"), &template);
        } else {
            copy_all(&template, &data);
        }
        for (name, contents) in &self.options.files {
            let path = data.join(name);
            fs::write(&path, contents).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            give_to_server_user(&path);
        }
        if !self.options.hba.is_empty() {
            let path = data.join("pg_hba.conf");
            let rest = fs::read_to_string(&path).unwrap();
            fs::write(&path, format!("{}\n{rest}", self.options.hba.join("\n"))).unwrap();
        }
        let mut settings = File::options().append(true).open(data.join("postgresql.conf")).unwrap();
        writeln!(settings, "listen_addresses = '127.0.0.1'").unwrap();
        writeln!(settings, "unix_socket_directories = '{}'", self.directory.path().display()).unwrap();
        writeln!(settings, "fsync = {}", if self.options.fsync { "on" } else { "off" }).unwrap();
        for (name, value) in &self.options.settings {
            writeln!(settings, "{name} = '{}'", value.replace('\'', "''")).unwrap();
        }
    }

    fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(self.directory.path().join("log")).unwrap();
        as_server_user(&self.binaries.join("postgres"))
            .arg("-D")
            .arg(self.data_dir())
            .args(["-p", &self.port.to_string()])
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Whether it takes connections; false if it ended.
    fn wait_ready(&self, child: &mut Child) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            let ready = Command::new(self.clients.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
                .unwrap();
            // The port may be answered by a stranger: ours has written its own socket too.
            if ready.success() && self.socket_dir().join(format!(".s.PGSQL.{}", self.port)).exists() {
                return true;
            }
            thread::sleep(Duration::from_millis(30));
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    fn end_with(&self, signal: Signal) {
        let Some(mut child) = self.lock_server().take() else { return };
        let _ = kill_process(Pid::from_child(&child), signal);
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The server's main process; `None` while it is stopped.
    pub(crate) fn main_process(&self) -> Option<u32> {
        self.lock_server().as_ref().map(Child::id)
    }

    fn children(&self) -> Vec<Pid> {
        let Some(main) = self.main_process() else { return Vec::new() };
        let list = fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }

    fn lock_server(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        // A test that panicked while it held the lock must not keep the server from being ended.
        self.server.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        self.stop_immediately();
    }
}

/// A command that runs as the user the server runs as.
pub(crate) fn as_server_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

/// Makes a file or directory the server user's.
pub(crate) fn give_to_server_user(path: &Path) {
    if is_root() {
        chown(path, Some(user_number("-u")), Some(user_number("-g"))).unwrap();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn user_number(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().unwrap();
    assert!(output.status.success(), "as root, PostgreSQL's tests need the system user `postgres`");
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

/// The directory with `initdb` and `postgres`.
fn binaries() -> PathBuf {
    let Ok(version) = std::env::var("ROWBRIDGE_TEST_POSTGRES") else { return installed() };
    fetched(&version).unwrap_or_else(|| panic!("PostgreSQL {version} is not there: scripts/fetch-postgres {version}"))
}

/// The server of that major version, if `scripts/fetch-postgres` could fetch it.
pub(crate) fn fetched(version: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/postgres").join(version).join("bin");
    path.join("postgres").exists().then_some(path)
}

/// Where files lie that need no disk: in memory if the databases of all tests have room there.
fn scratch() -> PathBuf {
    const ROOM_BYTES: u64 = 6 << 30;
    let memory = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(memory).is_ok_and(|it| it.f_bavail * it.f_frsize >= ROOM_BYTES);
    if has_room { memory.to_owned() } else { std::env::temp_dir() }
}

/// Copies a directory with owners and rights.
fn copy_all(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "cp -a {} {}", from.display(), to.display());
}

/// `binaries`, or a copy where the server's user may not come so far.
fn within_reach(binaries: PathBuf) -> (PathBuf, Option<TempDir>) {
    let reached = as_server_user(Path::new("test")).arg("-x").arg(binaries.join("postgres")).status().unwrap();
    if reached.success() {
        return (binaries, None);
    }
    // Memory may be mounted without the right to run programs from it.
    let directory = tempfile::Builder::new().prefix("pg-programs-").tempdir().unwrap();
    give_to_server_user(directory.path());
    let copy = directory.path().join("server");
    copy_all(binaries.parent().unwrap(), &copy);
    (copy.join("bin"), Some(directory))
}

/// As the distribution has it, with the clients' programs.
fn installed() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = std::iter::once(PathBuf::from("/usr/local/pgsql/bin")).chain(std::env::split_paths(&path));
    found
        .into_iter()
        .rev()
        .map(|(_, directory)| directory)
        .chain(others)
        .find(|directory| directory.join("initdb").exists() && directory.join("postgres").exists())
        .expect("PostgreSQL's server binaries are not in /usr/lib/postgresql/*/bin nor in PATH: install postgresql")
}
