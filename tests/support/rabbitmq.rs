//! A private RabbitMQ with its MQTT plugin: its own folder, its own ports, its own port mapper; stopped and restarted at will.
//!
//! Without a user name a client may do everything. User `bridge`, password `bridge`, may read topics under `sensors/` only.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::mosquitto::append;
use super::process::{Process, program};
use super::{free_port, wait_within};

/// A virtual machine starts slowly where others compute.
const STARTS_WITHIN: Duration = Duration::from_secs(240);

/// Users and rights. The hashes are those of the user names.
const DEFINITIONS: &str = r#"{
  "vhosts": [{ "name": "/" }],
  "users": [
    { "name": "load", "password_hash": "AQIDBCkJ/EJnDVhrs2DhY3fWrUJbh3vlFRISqrPZIdC7n4f6", "tags": "" },
    { "name": "bridge", "password_hash": "AQIDBOvud2LWPWKb2POSrByG0fPG6zhqhZscmtmCQ+gSaE9y", "tags": "" }
  ],
  "permissions": [
    { "user": "load", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*" },
    { "user": "bridge", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*" }
  ],
  "topic_permissions": [
    { "user": "bridge", "vhost": "/", "exchange": "amq.topic", "write": ".*", "read": "^sensors\\..*" }
  ]
}"#;

/// The broker. Stopped when it goes out of scope.
pub(crate) struct RabbitMq {
    folder: TempDir,
    server: PathBuf,
    port: u16,
    mapper_port: u16,
    node_ports: [u16; 2],
    process: Option<Process>,
    /// Erlang's, which would else be one for the whole machine.
    _mapper: Process,
}

impl RabbitMq {
    /// `None` if it is not installed.
    pub(crate) fn start() -> Option<RabbitMq> {
        let server = server()?;
        let folder = TempDir::new().unwrap();
        let (port, mapper_port) = (free_port(), free_port());
        let node_ports = [free_port(), free_port()];
        let definitions = folder.path().join("definitions.json");
        std::fs::write(&definitions, DEFINITIONS).unwrap();
        std::fs::write(folder.path().join("enabled_plugins"), "[rabbitmq_mqtt].").unwrap();
        let configuration = format!(
            "mqtt.listeners.tcp.1 = 127.0.0.1:{port}\nmqtt.allow_anonymous = true\nmqtt.default_user = load\n\
             mqtt.default_pass = load\nload_definitions = {}\n",
            definitions.display()
        );
        std::fs::write(folder.path().join("rabbitmq.conf"), configuration).unwrap();
        let log = append(&folder.path().join("log"));
        let mapper = Command::new(program("epmd"))
            .args(["-port", &mapper_port.to_string(), "-address", "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut broker =
            RabbitMq { folder, server, port, mapper_port, node_ports, process: None, _mapper: Process::new(mapper) };
        broker.restart();
        Some(broker)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// SIGTERM: queues are saved.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("the broker runs");
        process.signal(Signal::TERM);
        assert!(process.wait(Duration::from_secs(60)).is_some(), "RabbitMQ does not end");
    }

    /// Starts it on the same port and returns once it accepts.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "the broker runs already");
        let file = |name: &str| self.folder.path().join(name);
        let log = append(&file("log"));
        let child = Command::new(&self.server)
            // The script then becomes the server, so that signals reach it.
            .env("RUNNING_UNDER_SYSTEMD", "1")
            .env_remove("NOTIFY_SOCKET")
            .env("HOME", self.folder.path())
            .env("ERL_EPMD_PORT", self.mapper_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("rowbridge{}@localhost", self.port))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.node_ports[0].to_string())
            .env("RABBITMQ_DIST_PORT", self.node_ports[1].to_string())
            .env("RABBITMQ_MNESIA_BASE", file("mnesia"))
            .env("RABBITMQ_LOG_BASE", file("logs"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", file("none.config"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_GENERATED_CONFIG_DIR", file("generated"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let process = self.process.insert(Process::new(child));
        let (port, log) = (self.port, self.folder.path().join("log"));
        wait_within(STARTS_WITHIN, "RabbitMQ accepts connections", || {
            if let Some(status) = process.ended() {
                panic!("RabbitMQ ended with {status}: {}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }
}

/// Debian's place for the server itself; what is on PATH there is a script for the system's own.
fn server() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/rabbitmq/lib").ok()?;
    versions.flatten().map(|version| version.path().join("sbin/rabbitmq-server")).find(|server| server.is_file())
}
