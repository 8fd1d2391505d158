//! Tests a SQLite file: whether it can be opened and written, and whether its tables fit. The file is opened read-only.
//! Its tables are created again, empty, in a temporary file, which the daemon's sink can open as usual.

use std::path::Path;
use std::{fs, io};

use rustix::fs::Access;
use rustix::io::Errno;

use super::database::{self, ClosedView, subject};
use super::journal::{free_bytes, mib};
use super::{Circumstances, Finding, publish};
use crate::config::Config;
use crate::remedy;
use crate::sink::Sink;
use crate::tools::live::TablesCopy;

/// Below, a batch and its log may not fit.
const FREE_BYTES_MIN: u64 = 64 << 20;

pub(super) async fn look(config: &Config, index: usize, path: &Path, circumstances: &Circumstances) -> Vec<Finding> {
    let subject = subject(config, index);
    let mut findings = of_place(&subject, path, circumstances);
    if path.is_dir() {
        return findings;
    }
    let copy = match TablesCopy::of(path) {
        Ok(copy) => copy,
        Err(error) => {
            let remedy = "look at what lies there: an SQLite database that this user may read is needed";
            findings.push(Finding::problem(&subject, error, remedy));
            return findings;
        }
    };
    let mut sink = copy.sink(&config.databases[index]);
    if let Err(error) = sink.connect().await {
        findings.push(Finding::of_sink(&subject, &error));
        return findings;
    }
    let tables = database::tables(&mut sink, config, index, |table| copy.is_unknown(table)).await;
    let views = tables.live.iter().filter(|(_, table)| table.intake.by_insert);
    let closed =
        views.filter_map(|(name, _)| copy.refusal_of_view(name).map(|why| ClosedView { name: name.clone(), why }));
    let closed: Vec<ClosedView> = closed.collect();
    findings.extend(tables.into_findings(&subject, &closed, |_| false));
    findings.extend(publish::tables(&mut sink, config, index, |table| copy.is_unknown(table)).await);
    for name in copy.unknown() {
        let what = format!("table {name} needs an extension that Rowbridge does not have: not compared");
        findings.push(Finding::warning(&subject, what, "write into an ordinary table"));
    }
    // The copy goes with its folder.
    let _ = sink.close().await;
    findings
}

/// The file or, before the first start, its folder.
fn of_place(subject: &str, path: &Path, circumstances: &Circumstances) -> Vec<Finding> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut findings = Vec::new();
    let mut refuse = |what: String, error: io::Error| {
        let remedy = match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => {
                format!("create the directory {} and let the bridge's user write there", folder.display())
            }
            Some(Errno::ROFS) => {
                "the file system is read-only: mount it for writing, or name a file elsewhere".to_owned()
            }
            _ => format!("{}; check as the bridge's user, or as root", remedy::of_file(&error)),
        };
        findings.push(Finding::problem(subject, format!("{what}: {error}"), remedy));
    };
    if path.is_dir() {
        let what = format!("{} is a directory", path.display());
        findings.push(Finding::problem(subject, what, "name a file in the database's url"));
    } else if circumstances.awaits(path) {
        let what = format!("{} is not there; the first start makes it, and systemd its folder", path.display());
        findings.push(Finding::ok(subject, what));
    } else if let Err(error) = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        // SQLite keeps its log beside the file.
        refuse(format!("the folder {} takes no files", folder.display()), error.into());
    } else if leads_nowhere(path, folder) {
        let what = format!("{} is a symbolic link to nothing", path.display());
        findings.push(Finding::problem(subject, what, "make what it leads to, or remove the link"));
    } else if path.exists()
        && let Err(error) = rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK)
    {
        refuse(format!("{} cannot be written", path.display()), error.into());
    } else {
        let what = if path.exists() { "can be written" } else { "is not there; the first start makes it" };
        findings.push(Finding::ok(subject, format!("{} {what}", path.display())));
    }
    if let Some(free) = free_bytes(folder).filter(|free| *free < FREE_BYTES_MIN) {
        let what = format!("only {} are free in {}", mib(free), folder.display());
        findings.push(Finding::warning(subject, what, "make room: a full disk stops delivery until there is some"));
    }
    findings
}

/// Whether it is a symbolic link to a file in a directory that is not there; SQLite makes the file alone.
fn leads_nowhere(path: &Path, folder: &Path) -> bool {
    let Ok(target) = fs::read_link(path) else { return false };
    let target = folder.join(target);
    let directory = target.parent().map(fs::metadata);
    directory.is_some_and(|found| found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound))
}
