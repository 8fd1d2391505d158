//! Nothing that a client does over HTTP costs the bridge a message, and only those read who may.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::support::bridge::{Bridge, readings};
use crate::support::http::{Response, ask};
use crate::support::mosquitto::Mosquitto;
use crate::support::publisher::Load;
use crate::support::{PATIENCE, free_port};

/// So many half-open requests stopped a bridge once.
const HALF_OPEN: usize = 227;
/// What a bridge with one database uses, and a margin; far less than [`HALF_OPEN`].
const DESCRIPTORS: &str = "72";

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A request with these header lines beside its first one.
#[track_caller]
fn request(port: u16, path: &str, headers: &[&str]) -> Response {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    ask(port, &format!("GET {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")).unwrap()
}

/// Only the status: a bridge that has not read all of a request resets the connection behind its answer.
#[track_caller]
fn refused(port: u16, headers: &[&str]) -> String {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let mut stream = connect(port);
    stream.write_all(format!("GET /healthz HTTP/1.1\r\n{lines}\r\n").as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    String::from_utf8_lossy(&start).into_owned()
}

/// A bridge whose broker nobody runs.
fn alone(keys: &str) -> Bridge {
    let bridge = Bridge::new(free_port(), &readings(1));
    bridge.edit("http: { ", &format!("http: {{ {keys}"));
    bridge
}

fn start_alone(bridge: &mut Bridge) {
    bridge.spawn();
    bridge.wait_alive("the bridge answers", |bridge| bridge.get("/healthz").map(drop));
}

#[test]
fn half_open_requests_stop_neither_messages_nor_health_checks() {
    let broker = Mosquitto::start();
    // Every segment is a file that is opened, by the writer and by the reader.
    let mut bridge = Bridge::new(broker.port(), &format!("journal: {{ segment_size: 4KiB }}\n{}", readings(1)));
    let limited = format!("ulimit -n {DESCRIPTORS} && exec \"$@\"");
    bridge.start_by(["sh", "-c", &limited, "sh"].map(str::to_owned).to_vec());
    bridge.start();
    let mut half_open = Vec::new();
    let mut open_more = |bridge: &Bridge| {
        for _ in 0..HALF_OPEN {
            let mut stream = connect(bridge.http_port());
            // An error: it was closed already, as it was the oldest.
            let _ = stream.write_all(b"GET /status HTTP/1.1\r\nHo");
            half_open.push(stream);
        }
    };
    open_more(&bridge);
    let load = Load::new(broker.port(), 1, 2_000).start();
    load.wait_until(500);
    open_more(&bridge);
    load.finish();
    bridge.wait_ids("readings", 2_000);
    assert_eq!(bridge.get("/healthz").expect("a health check is answered").status, 200);
    let open = std::fs::read_dir(format!("/proc/{}/fd", bridge.pid())).unwrap().count();
    assert!(open < DESCRIPTORS.parse().unwrap(), "{open} descriptors are open");
    let log = bridge.log();
    assert!(!log.contains("ERROR") && !log.contains("too many files"), "{log}");
    assert!(log.contains("few files may be open"), "a limit this low is told: {log}");
}

#[test]
fn a_client_that_is_too_slow_with_its_request_is_cut_off() {
    let mut bridge = alone("");
    start_alone(&mut bridge);
    let port = bridge.http_port();
    let mut silent = connect(port);
    let mut idle = connect(port);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut slow = connect(port);
    slow.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    let mut dripping = slow.try_clone().unwrap();
    // Ends with an error once the bridge has closed the connection.
    let drip = std::thread::spawn(move || {
        while dripping.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let mut answer = String::new();
    idle.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    assert_eq!(silent.read(&mut [0; 64]).unwrap(), 0, "closed without an answer");
    let mut rest = Vec::new();
    // It may end with a reset, as bytes were under way.
    let _ = slow.read_to_end(&mut rest);
    drip.join().unwrap();
}

#[test]
fn requests_have_bounds_hosts_are_known_and_answers_have_their_headers() {
    let mut bridge = alone("hosts: [gw1.example], ");
    start_alone(&mut bridge);
    let port = bridge.http_port();
    let status = |path: &str, headers: &[&str]| request(port, path, headers).status;
    let host = "Host: 127.0.0.1";

    assert_eq!(status(&format!("/{}", "a".repeat(3_000)), &[host]), 414);
    let long = format!("X: {}", "a".repeat(20_000));
    assert_eq!(refused(port, &[host, &long]), "HTTP/1.1 431");
    let many: Vec<String> = (0..100).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain([host]).collect();
    assert_eq!(refused(port, &many), "HTTP/1.1 431");
    assert_eq!(ask(port, "POST /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap().status, 405);

    for ours in ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:9469", "gw1.example:9469", "GW1.EXAMPLE."] {
        assert_eq!(status("/status", &[&format!("Host: {ours}")]), 200, "{ours}");
    }
    for theirs in ["evil.example", "evil.example:9469", "localhost.evil.example", "192.168.1.5"] {
        for path in ["/", "/status", "/metrics", "/readyz", "/healthz"] {
            let answer = request(port, path, &[&format!("Host: {theirs}")]);
            assert_eq!(answer.status, 421, "{theirs}{path}");
            assert!(answer.body.contains("http.hosts"), "{}", answer.body);
        }
    }
    assert_eq!(status("/healthz", &[]), 400);
    assert_eq!(status("/healthz", &[host, "Host: evil.example"]), 400);
    assert_eq!(status("http://evil.example/healthz", &[host]), 421);

    for path in ["/", "/status", "/metrics", "/readyz", "/healthz", "/nothing-here"] {
        for host in [host, "Host: evil.example"] {
            let headers = request(port, path, &[host]).headers;
            for header in
                ["x-content-type-options: nosniff", "cache-control: no-store", "content-security-policy: default-src"]
            {
                assert!(headers.contains(header), "{path} has {header}: {headers}");
            }
        }
    }
    let [first, second] = [(), ()].map(|()| bridge.get("/").unwrap());
    let nonce = |page: &Response| {
        let at = page.headers.find("script-src 'nonce-").unwrap() + "script-src 'nonce-".len();
        page.headers[at..].split('\'').next().unwrap().to_owned()
    };
    assert!(first.body.contains(&format!("<script nonce=\"{}\">", nonce(&first))), "its own script may run");
    assert!(first.body.contains(&format!("<style nonce=\"{}\">", nonce(&first))));
    assert_ne!(nonce(&first), nonce(&second));
}

#[test]
fn beyond_loopback_a_token_is_needed_for_all_but_health_checks() {
    let mut bridge = alone("token_file: token, ");
    std::fs::write(bridge.path("token"), "first-word\n").unwrap();
    bridge.edit("listen: '127.0.0.1:", "listen: '0.0.0.0:");
    // The limit of shells and systemd, which is raised as far as it may be.
    bridge.start_by(["sh", "-c", "ulimit -S -n 64 && exec \"$@\"", "sh"].map(str::to_owned).to_vec());
    start_alone(&mut bridge);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", bridge.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let files: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(files[3], files[4], "soft and hard limit: {limits}");

    let port = bridge.http_port();
    let status = |path: &str, authorization: &str| {
        let answer = request(port, path, &["Host: 127.0.0.1", authorization]);
        let asks =
            answer.headers.contains("www-authenticate: bearer") && answer.headers.contains("www-authenticate: basic");
        assert_eq!(asks, answer.status == 401, "{}", answer.headers);
        answer.status
    };
    for path in ["/healthz", "/readyz"] {
        assert_ne!(status(path, "X: y"), 401, "{path}");
    }
    let first = "Authorization: Bearer first-word";
    for path in ["/", "/status", "/history", "/metrics", "/tap", "/tap?rate=1", "/nothing-here"] {
        for wrong in ["X: y", "Authorization: Bearer", "Authorization: Bearer first-wore", "Authorization: first-word"]
        {
            assert_eq!(status(path, wrong), 401, "{path} {wrong}");
        }
    }
    assert_eq!(status("/status", first), 200);
    // any:first-word, as a browser sends it.
    assert_eq!(status("/", "Authorization: Basic YW55OmZpcnN0LXdvcmQ="), 200);
    assert!(bridge.command(&["status", "--json"]).status.success(), "the command reads the same file");
    let tap = bridge.command(&["tap", "--for", "100ms"]);
    assert!(tap.status.success(), "so does tap: {}", String::from_utf8_lossy(&tap.stderr));

    std::fs::write(bridge.path("token"), "second-word\n").unwrap();
    assert_eq!(status("/status", first), 401, "a new token holds at once");
    assert_eq!(status("/status", "Authorization: Bearer second-word"), 200);
    std::fs::remove_file(bridge.path("token")).unwrap();
    assert_eq!(status("/status", first), 503);
    assert_eq!(status("/tap", first), 503);
    let log = bridge.log();
    assert!(log.contains("the token cannot be read"), "{log}");
    assert!(!log.contains("-word"), "a token is in the log: {log}");
}
