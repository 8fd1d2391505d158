//! Finds and reads the files of the configuration.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::LoadRequest;
use super::report::{Place, Position, Report};

/// Far above any configuration written by people; a wrong path (a database, a disk) is noticed before it is read whole.
const FILE_BYTES_MAX: u64 = 8 << 20;
pub(super) const FILE_NAME: &str = "bridge.yaml";
const FILE_VARIABLE: &str = "ROWBRIDGE_CONFIG";

/// The file that `load` would read.
pub fn find_file(request: &LoadRequest) -> Result<PathBuf, Report> {
    if let Some(file) = &request.file {
        return Ok(file.clone());
    }
    if let Some(file) = request.environment.get(FILE_VARIABLE).filter(|file| !file.is_empty()) {
        return Ok(file.into());
    }
    if request.not_text.contains(FILE_VARIABLE) {
        let place = Place::Variable(FILE_VARIABLE.to_owned());
        return Err(Report::of(place, "the value is not UTF-8 text".to_owned(), Some("-c FILE".to_owned())));
    }
    let local = request.directory.join(FILE_NAME);
    let candidates = [&local, &request.system_file];
    if let Some(found) = candidates.into_iter().find(|path| path.exists()) {
        return Ok(found.clone());
    }
    let problem = format!(
        "there is no configuration: no -c FILE, {FILE_VARIABLE} is not set, and neither {} nor {} exists",
        Path::new(".").join(&local).display(),
        request.system_file.display()
    );
    Err(Report::of(
        Place::Nowhere,
        problem,
        Some("rowbridge -c FILE, or a bridge.yaml in one of these places".to_owned()),
    ))
}

pub(super) fn read_file(path: &Path) -> Result<String, Report> {
    let fail = |problem: String| Report::of(Place::Nowhere, format!("{}: {problem}", path.display()), None);
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| fail(format!("the configuration file cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fail("the configuration file is larger than 8 MiB".to_owned()));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        let place = Place::File { file: path.to_owned(), position: Position { line: 1, column: 1 } };
        return Err(Report::of(place, "the file is UTF-16; save it as UTF-8".to_owned(), None));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        // As YAML counts lines: a carriage return alone ends one too.
        let before = String::from_utf8_lossy(valid).replace("\r\n", "\n").replace('\r', "\n");
        let position = Position {
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
        };
        let place = Place::File { file: path.to_owned(), position };
        Report::of(place, "the file is not UTF-8 text from here on".to_owned(), None)
    })
}
