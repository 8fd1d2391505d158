//! A private PgBouncer in front of a test's server.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::free_port;
use super::postgres::{Postgres, as_server_user, give_to_server_user};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running PgBouncer in transaction mode; it ends with its owner.
pub(crate) struct PgBouncer {
    directory: TempDir,
    port: u16,
    process: Child,
}

impl PgBouncer {
    /// Lets all clients share `server_connections` connections to `server`, a transaction each.
    pub(crate) fn start(server: &Postgres, server_connections: u32) -> PgBouncer {
        let directory = tempfile::Builder::new().prefix("pgbouncer-").tempdir().unwrap();
        give_to_server_user(directory.path());
        let port = free_port();
        let file = directory.path().join("pgbouncer.ini");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = {server_connections}\nserver_reset_query =\nlogfile = {}\n",
            server.port(),
            directory.path().join("log").display()
        );
        fs::write(&file, settings).unwrap();
        let process = as_server_user(&program())
            .arg(&file)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut bouncer = PgBouncer { directory, port, process };
        bouncer.wait_ready();
        bouncer
    }

    /// For `databases.NAME.url`.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn wait_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.process.try_wait().unwrap().is_some();
            assert!(!ended && Instant::now() < deadline, "PgBouncer does not start: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // At once, without waiting for clients.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join("pgbouncer"))
        .find(|program| program.exists())
        .expect("pgbouncer is not in PATH nor in /usr/sbin: install it")
}
