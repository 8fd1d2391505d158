//! `rowbridge journal status|dump|verify`: reads the journal's files, whether or not the bridge runs.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::figures::counted;
use super::output::written;
use super::{EXIT_FAILED, Layers, failed, installation, output};
use crate::config::{Config, Durability, Needs};
use crate::journal::{
    Entry, RealFs,
    inspect::{self, Finding, InspectError, Progress, VerifyReport},
};
use crate::message::{Message, Seq};

#[derive(Debug, Subcommand)]
pub(super) enum JournalCommand {
    /// Segments, sequence numbers and sizes
    Status(JsonArgs),
    /// Print messages, one JSON object a line
    Dump(DumpArgs),
    /// Read every record and check it; exit code 1 if something is damaged
    Verify(JsonArgs),
}

#[derive(Debug, Args)]
pub(super) struct JsonArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// The first message
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

pub(super) fn run(layers: &Layers, command: &JournalCommand) -> ExitCode {
    let needs = Needs::only(&["data_dir", "http", "journal.durability", "journal.max_size"]);
    let config = match installation::load_running(layers, needs) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if is_in_memory(&config) {
        return tell_in_memory(command);
    }
    let done = match command {
        JournalCommand::Status(arguments) => status(&config, arguments),
        JournalCommand::Dump(arguments) => dump(&config, arguments),
        JournalCommand::Verify(arguments) => {
            output::has_verdict();
            verify(&config, arguments)
        }
    };
    done.unwrap_or_else(|error| failed(&error))
}

/// Whether the bridge keeps its journal in memory, and no journal of other settings was left on the disk.
fn is_in_memory(config: &Config) -> bool {
    config.journal.durability == Durability::Delivered
        && match inspect::status(&RealFs, &config.data_dir) {
            Ok(summary) => summary.segments.is_empty() && summary.ids.is_empty(),
            Err(InspectError::NoJournal(_)) => true,
            Err(InspectError::Io { .. }) => false,
        }
}

/// Nothing is wrong with such a journal, but its messages cannot be read by another process.
fn tell_in_memory(command: &JournalCommand) -> ExitCode {
    const IN_MEMORY: &str = "this journal is in memory (journal.durability: delivered): `rowbridge status` shows it while the \
                             bridge runs, and what it holds the broker sends again";
    match command {
        JournalCommand::Dump(_) => {
            note!("rowbridge journal dump: {IN_MEMORY}");
            return ExitCode::from(EXIT_FAILED);
        }
        JournalCommand::Status(JsonArgs { json: true }) => {
            say!("{}", json!({ "in_memory": true, "id": null, "segments": [] }));
        }
        JournalCommand::Verify(JsonArgs { json: true }) => {
            say!("{}", json!({ "in_memory": true, "sound": true, "segments": [], "findings": [] }));
        }
        JournalCommand::Status(_) | JournalCommand::Verify(_) => say!("{IN_MEMORY}"),
    }
    ExitCode::SUCCESS
}

fn status(config: &Config, arguments: &JsonArgs) -> Result<ExitCode, InspectError> {
    let summary = inspect::status(&RealFs, &config.data_dir)?;
    let id = summary.ids.last().map(|(id, _)| id.to_string());
    let messages = summary.next_seq.0 - summary.oldest_seq.0;
    if arguments.json {
        let segments = summary.segments.iter().map(|segment| {
            json!({
                "path": segment.path, "base_seq": segment.base.0, "bytes": segment.bytes,
                "created_at": segment.created_at.map(|at| at.to_string()),
            })
        });
        let value = json!({
            "id": id, "oldest_seq": summary.oldest_seq.0, "next_seq": summary.next_seq.0, "messages": messages,
            "bytes": summary.bytes, "max_bytes": config.journal.max_size, "segments": segments.collect::<Vec<_>>(),
        });
        say!("{value}");
        return Ok(ExitCode::SUCCESS);
    }
    say!("journal    {}", config.data_dir.join("journal").display());
    say!("id         {}", id.as_deref().unwrap_or("missing or damaged; the next start takes it from a segment"));
    say!("messages   {messages}: {} up to, not including, {}", summary.oldest_seq, summary.next_seq);
    say!("bytes      {} of {}", summary.bytes, config.journal.max_size);
    for segment in &summary.segments {
        let created = segment.created_at.map_or("unreadable header".to_owned(), |at| format!("made {at}"));
        say!("segment    from {}, {} bytes, {created}, {}", segment.base, segment.bytes, segment.path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(config: &Config, arguments: &JsonArgs) -> Result<ExitCode, InspectError> {
    let shows_progress = !arguments.json && io::stderr().is_terminal();
    let report = inspect::verify(&RealFs, &config.data_dir, &mut |progress: Progress<'_>| {
        if shows_progress {
            let percent = progress.bytes_done.saturating_mul(100) / progress.bytes_total.max(1);
            progress!("\r{percent:3} %  {}", progress.segment.display());
        }
    })?;
    if shows_progress {
        note!("");
    }
    if arguments.json {
        print_json(&report);
    } else {
        print_text(&report);
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

fn print_text(report: &VerifyReport) {
    for segment in &report.segments {
        let counts = &segment.records;
        say!(
            "{}: messages {} to {}, {} messages, {} gaps, {} other records",
            segment.path.display(),
            segment.base,
            segment.next_seq.0.saturating_sub(1),
            counts.messages,
            counts.gaps,
            counts.releases + counts.clears + counts.snapshots + counts.voids,
        );
    }
    for (path, finding) in report.findings() {
        say!("{}: {}", path.display(), describe(finding));
    }
    if report.ids.is_empty() {
        say!("the id file is missing or damaged; the next start takes the id from a segment");
    }
    if report.segments.is_empty() {
        say!("there are no segments; all that was in the journal is lost");
    }
    let (oldest, next) = (report.oldest_seq, report.next_seq);
    match report.is_sound() {
        true => say!("sound: messages {oldest} up to, not including, {next}"),
        false => say!("DAMAGED: {}; the journal holds messages {oldest} up to, not including, {next}", losses(report)),
    }
}

/// How many messages the damage costs.
fn losses(report: &VerifyReport) -> String {
    let damage = || report.findings().map(|(_, finding)| finding).filter(|finding| finding.is_damage());
    let lost: u64 = damage().map(Finding::messages_lost).sum();
    let more = match damage().any(|finding| matches!(finding, Finding::EndLost { .. })) {
        true => ", and more that nobody knows of",
        false => "",
    };
    match lost {
        0 if report.segments.is_empty() => "all messages are lost".to_owned(),
        0 => format!("no message is lost by it{more}"),
        1 => format!("1 message is lost{more}"),
        lost => format!("{} are lost{more}", counted(lost, "message")),
    }
}

fn print_json(report: &VerifyReport) {
    let findings = report.findings().map(|(path, finding)| {
        json!({
            "path": path, "finding": describe(finding), "damage": finding.is_damage(),
            "messages_lost": finding.messages_lost(),
        })
    });
    let segments = report.segments.iter().map(|segment| {
        json!({
            "path": segment.path, "base_seq": segment.base.0, "next_seq": segment.next_seq.0, "bytes": segment.bytes,
            "messages": segment.records.messages, "gaps": segment.records.gaps,
        })
    });
    let value = json!({
        "sound": report.is_sound(), "oldest_seq": report.oldest_seq.0, "next_seq": report.next_seq.0,
        "segments": segments.collect::<Vec<_>>(), "findings": findings.collect::<Vec<_>>(),
    });
    say!("{value}");
}

fn describe(finding: &Finding) -> String {
    let range = |from: &Seq, to: &Seq| match to.0.saturating_sub(from.0) {
        0 => "no message is lost by it".to_owned(),
        _ => format!("messages {from} to {} are lost", to.0 - 1),
    };
    match finding {
        Finding::UnreadableHeader { from, to } => format!("both copies of the header are damaged; {}", range(from, to)),
        Finding::Damage { offset, len, from, to } => {
            format!("{len} damaged bytes at byte {offset}; {}", range(from, to))
        }
        Finding::Gap { offset, from, to, why } => format!("gap at byte {offset}: {}: {why}", range(from, to)),
        Finding::TornTail { offset, len, from } => format!(
            "torn tail: {len} bytes at byte {offset}, where message {from} begins, are a write under way or cut by a \
             crash, or damage to the last messages; the next start removes them"
        ),
        Finding::EndLost { from, to, why } => {
            format!("{why}: {}, and how many more nobody knows", range(from, to))
        }
        Finding::Short { bytes, made } => format!("the file has {bytes} bytes and was made with {made}"),
        Finding::Missing { from, to } => format!("the next segment begins later: {}", range(from, to)),
    }
}

fn dump(config: &Config, arguments: &DumpArgs) -> Result<ExitCode, InspectError> {
    let mut dump = inspect::dump(&RealFs, &config.data_dir, Seq(arguments.from))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    while left > 0
        && let Some(entry) = dump.next()?
    {
        left -= 1;
        let line = match entry {
            Entry::Message(message) => message_json(&message),
            // `lost_to` is the message after the last lost one, as `next_seq` of `journal status`.
            Entry::Lost(lost) => json!({
                "lost_from": lost.from.0, "lost_to": lost.to.0, "messages_lost": lost.to.0.saturating_sub(lost.from.0),
                "why": lost.why,
            }),
        };
        written(writeln!(out, "{line}"));
    }
    written(out.flush());
    Ok(ExitCode::SUCCESS)
}

fn message_json(message: &Message<'_>) -> serde_json::Value {
    let payload = match std::str::from_utf8(message.payload) {
        Ok(text) => json!({ "payload": text }),
        Err(_) => {
            let hex: String = message.payload.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "payload_hex": hex })
        }
    };
    let mut value = json!({
        "seq": message.seq.0, "received_at": message.received_at.to_string(), "topic": message.topic,
        "qos": message.qos.level(), "retain": message.retain, "dup": message.dup,
    });
    if let (Some(fields), Some(more)) = (value.as_object_mut(), payload.as_object()) {
        fields.extend(more.clone());
    }
    value
}
