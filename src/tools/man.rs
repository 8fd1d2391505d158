//! Man pages, generated from the commands: one for `rowbridge` and one for each of its commands.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The header of every page.
const MANUAL: &str = "Rowbridge";

/// A command line to copy, and what it does.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    pub does: &'static str,
    pub line: &'static str,
}

/// The examples of the command at a path: `""` is `rowbridge` itself, `"journal dump"` a command of a command.
pub type Examples = fn(&str) -> &'static [Example];

/// One man page of section 1.
#[derive(Debug)]
pub struct Page {
    /// `rowbridge-journal-dump.1`
    pub file_name: String,
    /// In roff.
    pub text: Vec<u8>,
}

/// The exit codes, on the page of `rowbridge`.
const EXIT_STATUS: [(&str, &str); 3] = [
    ("0", "The command did what it was asked to do. A bridge that was told to stop has stopped in order."),
    (
        "1",
        "It failed while running, or what it was asked about is not as it should be: no bridge answers, the journal is damaged.",
    ),
    ("2", "The command line or the configuration is wrong. Every mistake is printed."),
];

const ENVIRONMENT: [(&str, &str); 4] = [
    ("ROWBRIDGE_CONFIG", "The configuration file, if there is no --config."),
    (
        "ROWBRIDGE__SECTION__KEY",
        "Overrides a key of the file: ROWBRIDGE__MQTT__URL sets mqtt.url. --set overrides both.",
    ),
    ("STATE_DIRECTORY", "The default of data_dir. systemd sets it."),
    ("CREDENTIALS_DIRECTORY", "Where a relative password_file is looked for first. systemd sets it."),
];

const FILES: [(&str, &str); 3] = [
    ("./bridge.yaml", "The configuration, if neither --config nor ROWBRIDGE_CONFIG names one."),
    ("/etc/rowbridge/bridge.yaml", "The configuration, if there is no ./bridge.yaml either."),
    (
        "/var/lib/rowbridge",
        "data_dir under the shipped systemd unit: the journal with messages that databases do not have yet.",
    ),
];

/// The page of `rowbridge`, followed by one for each command, in the order of `--help`.
///
/// An error is one of writing to memory, and does not happen.
pub fn pages(command: Command, examples: Examples) -> io::Result<Vec<Page>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&command, "", examples, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, path: &str, examples: Examples, pages: &mut Vec<Page>) -> io::Result<()> {
    let is_root = path.is_empty();
    let source = format!("rowbridge {}", env!("CARGO_PKG_VERSION"));
    // An empty date would vanish, and the source take its place.
    let man = Man::new(command.clone()).date(" ").source(source).manual(MANUAL);
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    man.render_options_section(&mut text)?;
    let mut roff = Roff::new();
    if is_root {
        section(&mut roff, "EXIT STATUS", &EXIT_STATUS);
        section(&mut roff, "ENVIRONMENT", &ENVIRONMENT);
        section(&mut roff, "FILES", &FILES);
    }
    example_section(&mut roff, examples(path));
    if !is_root {
        roff.control("SH", ["SEE ALSO"]).text([bold("rowbridge"), roman("(1)")]);
    }
    roff.to_writer(&mut text)?;
    pages.push(Page { file_name: man.get_filename(), text });
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        add(sub, format!("{path} {}", sub.get_name()).trim_start(), examples, pages)?;
    }
    Ok(())
}

fn section(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (name, meaning) in entries {
        roff.control("TP", []).text([bold(*name)]).text([roman(*meaning)]);
    }
}

fn example_section(roff: &mut Roff, examples: &[Example]) {
    if examples.is_empty() {
        return;
    }
    roff.control("SH", ["EXAMPLES"]);
    for Example { does, line } in examples {
        roff.control("PP", []).text([roman(format!("{does}:"))]);
        // As it stands, to be copied.
        roff.control("PP", []).control("RS", ["4"]).control("nf", []);
        roff.text([roman(*line)]).control("fi", []).control("RE", []);
    }
}
