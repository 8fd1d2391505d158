//! `rowbridge status --watch` on a terminal: each state is drawn in the place of the one before, also over a restart of the
//! bridge.

use std::io::{Read, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::PATIENCE;
use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;
use crate::support::process::Process;
use crate::support::publisher::Publisher;

/// Small, so that lines are wrapped.
const ROWS: usize = 24;
const COLUMNS: usize = 60;

/// A terminal that knows the few sequences that `status --watch` may send. Anything else fails the test, as does a line that
/// scrolls.
struct Screen {
    lines: Vec<String>,
    row: usize,
    column: usize,
}

impl Screen {
    fn new() -> Screen {
        Screen { lines: vec![String::new(); ROWS], row: 0, column: 0 }
    }

    fn cut(&mut self) {
        self.lines[self.row] = self.lines[self.row].chars().take(self.column).collect();
    }

    fn put(&mut self, sign: char) {
        assert!(self.column < COLUMNS, "a line is wider than the window: {:?}", self.lines[self.row]);
        let line = &mut self.lines[self.row];
        let mut signs: Vec<char> = line.chars().collect();
        signs.resize(signs.len().max(self.column + 1), ' ');
        signs[self.column] = sign;
        *line = signs.into_iter().collect();
        self.column += 1;
    }

    fn show(&mut self, text: &str) {
        let mut signs = text.chars();
        while let Some(sign) = signs.next() {
            match sign {
                '\r' => self.column = 0,
                '\n' => {
                    self.row += 1;
                    assert!(self.row < ROWS, "the window scrolls:\n{}", self.lines.join("\n"));
                }
                '\x1b' => {
                    let sequence: String = signs.by_ref().take(2).collect();
                    match sequence.as_str() {
                        "[H" => (self.row, self.column) = (0, 0),
                        "[K" => self.cut(),
                        "[J" => {
                            self.cut();
                            self.lines[self.row + 1..].fill(String::new());
                        }
                        _ => panic!("an unexpected sequence {sequence:?}"),
                    }
                }
                sign => self.put(sign),
            }
        }
    }

    fn text(&self) -> String {
        self.lines.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

/// `status --watch` on a terminal of its own, which `script` of util-linux makes.
struct Watch {
    process: Process,
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    pending: Vec<u8>,
    screen: Screen,
}

impl Watch {
    fn start(bridge: &Bridge) -> Watch {
        let binary = env!("CARGO_BIN_EXE_rowbridge");
        let command = format!(
            "stty rows {ROWS} cols {COLUMNS} -echo; exec '{binary}' status --watch -c '{}'",
            bridge.config().display()
        );
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &command, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keys = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Watch { process: Process::new(child), keys, output, pending: Vec::new(), screen: Screen::new() }
    }

    /// What stands on the screen after the next state is drawn.
    #[track_caller]
    fn frame(&mut self) -> String {
        const END: &[u8] = b"\x1b[J";
        loop {
            if let Some(at) = self.pending.windows(END.len()).position(|bytes| bytes == END) {
                let rest = self.pending.split_off(at + END.len());
                let frame = String::from_utf8(std::mem::replace(&mut self.pending, rest)).unwrap();
                assert!(frame.starts_with("\x1b[H"), "drawn from the first line on: {frame:?}");
                self.screen.show(&frame);
                return self.screen.text();
            }
            let bytes = self.output.recv_timeout(PATIENCE).expect("the watch goes on");
            self.pending.extend(bytes);
        }
    }

    #[track_caller]
    fn wait_for(&mut self, start: &str) -> String {
        loop {
            let shown = self.frame();
            if shown.starts_with(start) {
                return shown;
            }
        }
    }
}

#[test]
fn a_watch_on_a_terminal_redraws_in_place_and_survives_a_restart() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("sensors/a/d/telemetry", r#"{"id":1,"temp":2}"#);
    bridge.wait_rows("readings", 1);
    bridge.wait_drained("local");
    let mut watch = Watch::start(&bridge);
    let first = watch.wait_for("ok: ");
    assert!(first.lines().count() > 4 && first.contains("readings"), "{first}");
    // Once, however often it is drawn.
    let second = watch.wait_for("ok: ");
    for shown in [&first, &second] {
        assert_eq!(shown.matches("ok: ").count(), 1, "{shown}");
        assert_eq!(shown.lines().filter(|line| line.starts_with("database ")).count(), 1, "{shown}");
    }
    bridge.kill();
    let away = watch.wait_for("no running bridge at http://127.0.0.1:");
    assert!(away.lines().count() < first.lines().count() && !away.contains("readings"), "nothing old is left: {away}");
    bridge.start();
    let again = watch.wait_for("ok: ");
    assert!(again.contains("readings") && !again.contains("no running bridge"), "{again}");
    // Ctrl-C ends it, as any program of a terminal.
    watch.keys.write_all(b"\x03").unwrap();
    let ended = watch.process.wait(Duration::from_secs(30)).expect("ctrl-C ends it");
    assert_eq!(ended.code(), Some(130), "by SIGINT");
}
