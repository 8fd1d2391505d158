//! The examples of `--help` and the man pages, in one table. Tests parse each example and require some for every
//! command.

use clap::{Command, CommandFactory};

use super::Cli;
use crate::tools::man::Example;

/// By command: `""` is `rowbridge` itself.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "",
        &[
            ("Check the configuration, then run the bridge", "rowbridge check --offline && rowbridge"),
            ("Run with another file and another broker", "rowbridge -c test.yaml --set mqtt.url=mqtt://broker:1883"),
            ("See what the running bridge does", "rowbridge status"),
            ("Show the help of one command", "rowbridge dead-letters list --help"),
        ],
    ),
    (
        "run",
        &[
            ("Run with the file that the service uses", "rowbridge run -c /etc/rowbridge/bridge.yaml"),
            ("Log more, this time only", "ROWBRIDGE__LOG__LEVEL=debug rowbridge run"),
            ("Take up changed rules without being told", "rowbridge run --watch-config"),
        ],
    ),
    (
        "reload",
        &[
            ("Take up changed rules, or show every mistake in them", "rowbridge reload"),
            ("The same with the file that the service uses", "rowbridge reload -c /etc/rowbridge/bridge.yaml"),
        ],
    ),
    (
        "check",
        &[
            ("Check the configuration, the broker, the databases and the disk", "rowbridge check"),
            ("Check bridge.yaml without connecting to anything", "rowbridge check --offline"),
            (
                "Check whether another broker address is right",
                "rowbridge check --offline --set mqtt.url=mqtts://broker:8883",
            ),
        ],
    ),
    (
        "discover",
        &[
            ("A configuration for everything that is published within a minute", "rowbridge discover -o bridge.yaml"),
            (
                "Ten minutes, two parts of the topics, another broker",
                "rowbridge discover --url mqtt://broker:1883 --for 10m --filter zigbee2mqtt/# --filter tele/# -o house.yaml",
            ),
        ],
    ),
    (
        "explain",
        &[
            ("What becomes of a reading", "rowbridge explain sensors/a/d1/telemetry '{\"temp\":21.5}'"),
            (
                "The same without asking the databases, as JSON",
                "rowbridge explain sensors/a/d1/telemetry @reading.json --offline --json",
            ),
            (
                "A retained message with a user property",
                "rowbridge explain sensors/a/d1/state on --retain --property unit=C",
            ),
        ],
    ),
    (
        "test",
        &[
            ("All tests in the folder tests/ beside bridge.yaml", "rowbridge test"),
            ("One file, for CI", "rowbridge test tests/house.yaml --junit results.xml"),
            (
                "Let the tests expect what the rules make now; look at the difference",
                "rowbridge test --update && git diff tests",
            ),
        ],
    ),
    (
        "status",
        &[
            ("Show connections, backlog, journal and counts per rule", "rowbridge status"),
            ("Keep looking", "rowbridge status --watch"),
            ("Messages that the databases do not have yet", "rowbridge status --json | jq '.databases[].pending'"),
        ],
    ),
    ("publish", &[("How far each entry of `publish` is", "rowbridge publish status")]),
    (
        "publish status",
        &[
            ("What is published, and what waits", "rowbridge publish status"),
            ("Entries with changes that wait", "rowbridge publish status --json | jq '.[] | select(.pending > 0)'"),
        ],
    ),
    (
        "publish remove",
        &[("Drop the triggers of an entry that is in the configuration no longer", "rowbridge publish remove meters")],
    ),
    (
        "tap",
        &[
            ("See what comes, and what becomes of it", "rowbridge tap"),
            ("One rule, for a minute", "rowbridge tap --rule telemetry --for 1m"),
            (
                "Messages that give no row, with the reason",
                "rowbridge tap --json --rate 1000 | jq -c 'select(.reason)'",
            ),
        ],
    ),
    (
        "dead-letters",
        &[
            ("What could not become rows, and why", "rowbridge dead-letters list"),
            ("All of one message", "rowbridge dead-letters show 42"),
        ],
    ),
    (
        "dead-letters delete",
        &[
            ("What could not be parsed, older than a week", "rowbridge dead-letters delete --reason parse --until 7d"),
            ("One message, without asking", "rowbridge dead-letters delete 42 --yes"),
        ],
    ),
    (
        "dead-letters retry",
        &[
            (
                "After a column was widened: try its messages again",
                "rowbridge dead-letters retry --rule telemetry --reason value",
            ),
            ("One message", "rowbridge dead-letters retry 42"),
            ("What came in the last hour, of all rules", "rowbridge dead-letters retry --since 1h"),
        ],
    ),
    (
        "dead-letters list",
        &[
            ("The newest ten of one rule", "rowbridge dead-letters list --rule telemetry --limit 10"),
            (
                "Values that did not fit, since a point in time",
                "rowbridge dead-letters list --reason value --since 2026-11-21T08:00:00Z",
            ),
            (
                "Count them by topic",
                "rowbridge dead-letters list --json --limit 1000000 | jq -r .topic | sort | uniq -c",
            ),
        ],
    ),
    (
        "dead-letters show",
        &[
            ("Topic, properties, payload and reason of number 42", "rowbridge dead-letters show 42"),
            ("The same, where there are several databases", "rowbridge dead-letters show 42 --database cloud"),
        ],
    ),
    (
        "journal",
        &[
            ("How much is in the journal", "rowbridge journal status"),
            ("Whether any of it is damaged", "rowbridge journal verify"),
        ],
    ),
    (
        "journal status",
        &[
            ("Segments, sequence numbers and sizes", "rowbridge journal status"),
            ("How many bytes it holds", "rowbridge journal status --json | jq .bytes"),
        ],
    ),
    (
        "journal dump",
        &[
            ("The first ten messages", "rowbridge journal dump --limit 10"),
            ("Topics of the messages from number 5000 on", "rowbridge journal dump --from 5000 | jq -r .topic"),
        ],
    ),
    (
        "journal verify",
        &[
            ("Read and check every record", "rowbridge journal verify"),
            ("Check another journal", "rowbridge journal verify --set data_dir=/mnt/backup/rowbridge"),
        ],
    ),
    (
        "completions",
        &[
            ("bash", "rowbridge completions bash > ~/.local/share/bash-completion/completions/rowbridge"),
            ("zsh, into a folder of $fpath", "rowbridge completions zsh > ~/.zfunc/_rowbridge"),
            ("fish", "rowbridge completions fish > ~/.config/fish/completions/rowbridge.fish"),
            ("PowerShell", "rowbridge completions powershell >> $PROFILE"),
            ("Elvish", "rowbridge completions elvish >> ~/.config/elvish/rc.elv"),
        ],
    ),
    (
        "man",
        &[
            ("Read the page", "rowbridge man | man -l -"),
            ("Install the pages of all commands", "rowbridge man --dir /usr/local/share/man/man1"),
        ],
    ),
    (
        "schema",
        &[
            ("The JSON Schema of bridge.yaml", "rowbridge schema config > bridge.schema.json"),
            ("The tables that the rules need", "rowbridge schema sql"),
        ],
    ),
    (
        "schema config",
        &[
            (
                "A file for editors; bridge.yaml then begins with `# yaml-language-server: $schema=bridge.schema.json`",
                "rowbridge schema config > bridge.schema.json",
            ),
            ("What can be set in the journal section", "rowbridge schema config | jq .properties.journal.properties"),
        ],
    ),
    (
        "schema sql",
        &[
            ("All databases, one after the other", "rowbridge schema sql"),
            (
                "Make the tables of one database as its administrator",
                "rowbridge schema sql --database cloud | psql -v ON_ERROR_STOP=1 telemetry",
            ),
        ],
    ),
    ("version", &[("Print the version", "rowbridge version")]),
];

/// All commands, with their examples.
pub(super) fn command() -> Command {
    with_examples(Cli::command(), "")
}

/// See [`crate::tools::man::Examples`].
pub(super) fn of(path: &str) -> &'static [Example] {
    // Made once: a handful of strings.
    static ALL: std::sync::LazyLock<Vec<(&str, Vec<Example>)>> = std::sync::LazyLock::new(|| {
        let example = |(does, line): &(&'static str, &'static str)| Example { does, line };
        EXAMPLES.iter().map(|(path, examples)| (*path, examples.iter().map(example).collect())).collect()
    });
    ALL.iter().find(|(known, _)| *known == path).map_or(&[], |(_, examples)| examples)
}

fn with_examples(command: Command, path: &str) -> Command {
    let mut text = String::new();
    for Example { does, line } in of(path) {
        text += &format!("  # {does}\n  {line}\n");
    }
    if path.is_empty() {
        text += "\nExit codes: 0 done, 1 failed while running, 2 usage or configuration.\n";
    }
    let command = command.after_help(format!("Examples:\n{}", text.trim_end()));
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        with_examples(sub, path.trim_start())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths of all commands below.
    fn paths(command: &Command, path: &str, found: &mut Vec<String>) {
        found.push(path.to_owned());
        for sub in command.get_subcommands() {
            paths(sub, format!("{path} {}", sub.get_name()).trim_start(), found);
        }
    }

    #[test]
    fn every_command_has_examples_and_every_example_belongs_to_a_command() {
        let mut commands = Vec::new();
        paths(&Cli::command(), "", &mut commands);
        commands.sort_unstable();
        let mut shown: Vec<&str> = EXAMPLES.iter().map(|(path, _)| *path).collect();
        shown.sort_unstable();
        assert_eq!(shown, commands);
        assert!(EXAMPLES.iter().all(|(_, examples)| !examples.is_empty()));
    }

    /// The calls of `rowbridge` in a shell's line, as words; the lines need no quoting.
    fn calls(line: &str) -> Vec<Vec<&str>> {
        let mut calls = Vec::new();
        let mut words = line.split(' ');
        while let Some(word) = words.next() {
            if word == "rowbridge" {
                let arguments = words.by_ref().take_while(|word| !["|", "&&", ">", ">>"].contains(word));
                calls.push([word].into_iter().chain(arguments).collect());
            }
        }
        calls
    }

    #[test]
    fn every_example_is_taken_by_its_command() {
        for (path, examples) in EXAMPLES {
            for (does, line) in *examples {
                let calls = calls(line);
                assert!(!calls.is_empty(), "{does}: {line}");
                for call in calls {
                    let parsed = command().try_get_matches_from(&call);
                    let is_right = match &parsed {
                        Ok(_) => true,
                        Err(error) => error.kind() == clap::error::ErrorKind::DisplayHelp,
                    };
                    assert!(is_right, "{line}: {}", parsed.unwrap_err());
                    let of_this = call[1..].join(" ").starts_with(path) || path.starts_with(call[1]);
                    assert!(of_this, "{line} is no example of `{path}`");
                }
            }
        }
    }
}
