//! A headless Chromium, driven over WebDriver: what people see of the status page.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::process::Process;
use super::{PATIENCE, free_port, wait_for};

const DRIVERS: [&str; 2] = ["chromedriver", "chromium.chromedriver"];
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// One tab. Browser and driver end when it goes out of scope.
pub(crate) struct Browser {
    port: u16,
    session: String,
    _driver: Process,
}

impl Browser {
    /// `None`, with a line that says so, where `ROWBRIDGE_TEST_BROWSER=none` tells that none can be installed.
    pub(crate) fn start() -> Option<Browser> {
        if std::env::var("ROWBRIDGE_TEST_BROWSER").is_ok_and(|choice| choice == "none") {
            println!("SKIPPED: there is no browser here (ROWBRIDGE_TEST_BROWSER=none)");
            return None;
        }
        let (driver, browser) = (find(&DRIVERS), find(&BROWSERS));
        let port = free_port();
        let driver = Command::new(driver)
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut browser_session = Browser { port, session: String::new(), _driver: Process::new(driver) };
        wait_for("the driver listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        let options = json!({ "binary": browser, "args": [
            // Tests may run as root and in containers, where Chromium's sandbox cannot be made.
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        ]});
        let wanted = json!({ "browserName": "chrome", "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": options });
        let made =
            browser_session.send("POST", "/session", Some(&json!({ "capabilities": { "alwaysMatch": wanted } })));
        browser_session.session = format!("/session/{}", made["sessionId"].as_str().unwrap());
        Some(browser_session)
    }

    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// What a function with this body returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Asks the script until it returns something that is true.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, script: &str) {
        wait_for(what, || match self.run(script) {
            Value::Bool(true) => Some(()),
            _ => None,
        });
    }

    /// The width of the screen, and whether it prefers dark.
    pub(crate) fn set_screen(&self, width: u32, is_dark: bool) {
        let size = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &media);
    }

    pub(crate) fn devtools(&self, command: &str, parameters: &Value) {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    /// What the console has got since it was last asked.
    pub(crate) fn console(&self) -> Vec<Value> {
        self.post("/se/log", &json!({ "type": "browser" })).as_array().unwrap().clone()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.send("POST", &format!("{}{path}", self.session), Some(body))
    }

    #[track_caller]
    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.exchange(method, path, body).unwrap();
        assert!(answer["value"]["error"].is_null(), "{method} {path}: {}", answer["value"]);
        answer["value"].clone()
    }

    /// The driver keeps its connections open, so the answer ends where its length says.
    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        stream.write_all(
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes(),
        )?;
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line)?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body)?;
        serde_json::from_slice(&body).map_err(io::Error::other)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver is killed after it.
        if !self.session.is_empty() {
            let _ = self.exchange("DELETE", &self.session, None);
        }
    }
}

fn find(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let files = std::env::split_paths(&path).flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    files.into_iter().find(|file| file.is_file()).unwrap_or_else(|| {
        panic!(
            "{} is not installed: scripts/install-tools chromium chromedriver. Where it cannot be had, \
             ROWBRIDGE_TEST_BROWSER=none skips what needs it",
            names[0]
        )
    })
}
