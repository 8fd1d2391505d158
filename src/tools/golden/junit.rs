//! The results in JUnit's XML, which CI systems read.

use std::fmt::Write;

use super::{Outcome, Results};

/// A suite for each file.
pub fn junit(results: &Results) -> String {
    let (tests, failures) = (results.tests().count(), results.failed());
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"rowbridge\" tests=\"{tests}\" failures=\"{failures}\">\n"
    );
    for file in &results.files {
        let name = escaped(&file.path.display().to_string());
        let failures = file.tests.iter().filter(|test| !test.has_passed()).count();
        let _ = writeln!(xml, "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\">", file.tests.len());
        for test in &file.tests {
            let _ = write!(xml, "    <testcase classname=\"{name}\" name=\"{}\"", escaped(&test.name));
            match &test.outcome {
                Outcome::Failed(differences) => {
                    let first = differences.first().and_then(|text| text.lines().next()).unwrap_or_default();
                    let all = escaped(&differences.join("\n"));
                    let _ = writeln!(
                        xml,
                        ">\n      <failure message=\"{}\">{}:{}\n{all}</failure>\n    </testcase>",
                        escaped(first),
                        name,
                        test.position
                    );
                }
                Outcome::Passed | Outcome::Updated => xml.push_str("/>\n"),
            }
        }
        xml.push_str("  </testsuite>\n");
    }
    xml + "</testsuites>\n"
}

/// Characters that XML 1.0 does not have become the replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
