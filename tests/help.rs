//! Help, completions and man pages, as the binary prints them.

use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rowbridge")).args(arguments).output().unwrap()
}

#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn help_shows_examples_and_the_examples_that_need_nothing_run() {
    let help = printed(&run(&["--help"]));
    assert!(help.contains("Examples:") && help.contains("Exit codes: 0 done"), "{help}");
    let help = printed(&run(&["dead-letters", "list", "--help"]));
    assert!(help.contains("  rowbridge dead-letters list --reason value --since"), "{help}");
    assert!(printed(&run(&["version"])).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_shell_gets_completions_and_bash_completes_with_them() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&run(&["completions", shell]));
        assert!(script.contains("dead-letters"), "{shell}:\n{script}");
    }
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("rowbridge");
    std::fs::write(&script, printed(&run(&["completions", "bash"]))).unwrap();
    for (words, expected) in
        [("rowbridge sta", "status"), ("rowbridge dead-letters sh", "show"), ("rowbridge completions fi", "fish")]
    {
        let complete = "source \"$1\"; COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
                        _rowbridge rowbridge \"${COMP_WORDS[COMP_CWORD]}\" rowbridge; echo \"${COMPREPLY[@]}\"";
        let bash = Command::new("bash").args(["-c", complete, "bash"]).arg(&script).arg(words).output().unwrap();
        assert_eq!(printed(&bash).trim(), expected, "{words}");
    }
    let unknown = run(&["completions", "tcsh"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("possible values: bash"));
}

/// As far as the shells are installed: that one is missing is said in the test's output.
#[test]
fn every_shell_parses_its_completions() {
    let folder = TempDir::new().unwrap();
    // Each reads the file and runs none of it, but fish, PowerShell and elvish, which check what they read.
    for (shell, program, arguments) in [
        ("bash", "bash", &["-n"][..]),
        ("zsh", "zsh", &["-n"]),
        ("fish", "fish", &["--no-config", "--no-execute"]),
        ("elvish", "elvish", &["-compileonly"]),
        ("powershell", "pwsh", &["-NoProfile", "-NonInteractive", "-File"]),
    ] {
        let file = folder.path().join(format!("completions-{shell}.ps1"));
        std::fs::write(&file, printed(&run(&["completions", shell]))).unwrap();
        match Command::new(program).args(arguments).arg(&file).output() {
            Ok(parsed) => {
                printed(&parsed);
                assert!(parsed.stderr.is_empty(), "{shell}: {}", String::from_utf8_lossy(&parsed.stderr));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && shell != "bash" => {
                println!("{program} is not installed: its completions are not parsed");
            }
            Err(error) => panic!("{program}: {error}"),
        }
    }
}

#[test]
fn man_prints_the_page_or_writes_one_for_each_command() {
    let page = printed(&run(&["man"]));
    assert!(
        page.contains(&format!(".TH rowbridge 1 \" \" \"rowbridge {}\" Rowbridge", env!("CARGO_PKG_VERSION"))),
        "{page}"
    );
    for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"] {
        let is_there = page.contains(&format!(".SH {section}\n")) || page.contains(&format!(".SH \"{section}\"\n"));
        assert!(is_there, "{section} in:\n{page}");
    }
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("share/man1");
    printed(&run(&["man", "--dir", directory.to_str().unwrap()]));
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    assert_eq!(read("rowbridge.1"), page);
    let list = read("rowbridge-dead-letters-list.1");
    assert!(list.contains("rowbridge dead\\-letters list \\-\\-json"), "{list}");
    // Every page that one refers to is there.
    for entry in std::fs::read_dir(&directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap().replace("\\-", "-");
        for line in text.lines().filter(|line| line.starts_with("rowbridge-") && line.ends_with("(1)")) {
            assert!(directory.join(line.replace("(1)", ".1")).is_file(), "{line}");
        }
    }
    // A file stands where the directory would be.
    let refused = run(&["man", "--dir", directory.join("rowbridge.1").to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("rowbridge.1 cannot be written"));
}

/// What a command could not print must not pass for done.
#[test]
fn a_command_whose_output_cannot_be_written_fails_and_says_why() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("bridge.yaml");
    let text = "mqtt: { url: 'mqtt://127.0.0.1:1' }\ndatabases: { local: { url: 'sqlite:rows.db' } }\nrules:\n\
                - { topic: a, table: t, create: true, columns: { v: { from: payload.v, type: int } } }\n";
    std::fs::write(&config, text).unwrap();
    let start = |arguments: &[&str], output: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowbridge"));
        command.args(arguments).env("ROWBRIDGE_CONFIG", &config).current_dir(folder.path()).stdout(output);
        command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    };
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["version"],
        &["man"],
        &["completions", "bash"],
        &["schema", "config"],
        &["schema", "sql"],
        &["check", "--offline"],
        &["explain", "a", "{}", "--offline"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = start(arguments, full.into());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains("standard output cannot be written: No space left"), "{arguments:?}: {error}");
        // As after `| head`.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = start(arguments, writer.into());
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{arguments:?}");
    }
}

/// The disk that takes the messages may be full.
#[test]
fn a_full_standard_error_changes_no_exit_code() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let code = |bridge: &Bridge, arguments: &[&str]| {
        bridge.prepare(arguments).stderr(full()).stdin(Stdio::null()).output().unwrap().status.code()
    };
    assert_eq!(code(&bridge, &["status"]), Some(1));
    assert_eq!(code(&bridge, &["tap"]), Some(1));
    assert_eq!(code(&bridge, &["reload"]), Some(1));
    assert_eq!(code(&bridge, &["discover", "-o", "bridge.yaml"]), Some(2));
    assert_eq!(code(&bridge, &["dead-letters", "list"]), Some(1));
    assert_eq!(code(&bridge, &["dead-letters", "retry"]), Some(2));
    assert_eq!(code(&bridge, &["no-command"]), Some(2));
    // With nothing left to print to.
    let nowhere = bridge.prepare(&["check", "--offline"]).stdout(full()).stderr(full()).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    let words = ["sh", "-c", "exec \"$0\" \"$@\" 2> /dev/full"];
    bridge.start_by(words.map(str::to_owned).to_vec());
    bridge.start();
    assert!(bridge.stop().success());
    bridge.edit("topic:", "topics:");
    assert_eq!(code(&bridge, &["check", "--offline"]), Some(2));
    assert_eq!(code(&bridge, &["run"]), Some(2));
}
