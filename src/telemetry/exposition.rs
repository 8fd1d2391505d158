//! The two text formats of metrics: OpenMetrics, in which they are encoded, and the older Prometheus format, converted
//! from it.

/// A form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    OpenMetrics,
    Prometheus,
}

impl Exposition {
    /// The format that a request's `Accept` header asks for: OpenMetrics if it is named and preferred at least as much
    /// as plain text.
    pub fn wanted(accept: Option<&str>) -> Exposition {
        let quality = |wanted: &str| {
            let ranges = accept.unwrap_or_default().split(',');
            let qualities = ranges.filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let is_wanted = parts.next()?.eq_ignore_ascii_case(wanted);
                let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
                quality.filter(|_| is_wanted)
            });
            qualities.fold(0.0_f64, f64::max)
        };
        let open = quality("application/openmetrics-text");
        if open > 0.0 && open >= quality("text/plain") { Exposition::OpenMetrics } else { Exposition::Prometheus }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Exposition::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The answer, from what the registry encodes, without its end.
    pub(super) fn finish(self, mut encoded: String) -> String {
        match self {
            Exposition::OpenMetrics => {
                encoded.push_str("# EOF\n");
                encoded
            }
            Exposition::Prometheus => plain(&encoded),
        }
    }
}

/// The Prometheus text form describes a counter under the name of its sample, with `_total`; OpenMetrics without it.
fn plain(encoded: &str) -> String {
    let counters: Vec<&str> =
        encoded.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(encoded.len());
    for line in encoded.lines() {
        let described = ["# HELP ", "# TYPE "].iter().find_map(|start| Some((start, line.strip_prefix(*start)?)));
        match described.and_then(|(start, rest)| Some((start, rest.split_once(' ')?))) {
            Some((start, (name, rest))) if counters.contains(&name) => {
                text.extend([*start, name, "_total ", rest, "\n"]);
            }
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_given_to_whoever_prefers_it() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;\
                            version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;\
                            q=0.3,*/*;q=0.2";
        for accept in
            [prometheus_3, "application/openmetrics-text", "text/plain;q=0.5, Application/OpenMetrics-Text; q=0.5"]
        {
            assert_eq!(Exposition::wanted(Some(accept)), Exposition::OpenMetrics, "{accept}");
        }
        for accept in [
            "*/*",
            "",
            "text/html",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.1,text/plain",
        ] {
            assert_eq!(Exposition::wanted(Some(accept)), Exposition::Prometheus, "{accept}");
        }
        assert_eq!(Exposition::wanted(None), Exposition::Prometheus);
    }

    #[test]
    fn a_counter_is_described_under_the_name_of_its_sample() {
        let encoded = "# HELP a_b Rows.\n# TYPE a_b counter\na_b_total{x=\"# TYPE c counter\"} 1\n# HELP c Bytes.\n# TYPE c gauge\nc 2\n";
        assert_eq!(Exposition::OpenMetrics.finish(encoded.to_owned()), format!("{encoded}# EOF\n"));
        let expected = encoded.replace("# HELP a_b ", "# HELP a_b_total ").replace("# TYPE a_b ", "# TYPE a_b_total ");
        assert_eq!(Exposition::Prometheus.finish(encoded.to_owned()), expected);
    }
}
