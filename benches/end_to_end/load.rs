//! The messages of every scenario: JSON of one length on topics of one length, with values that vary.

/// Bytes of the usual payload.
pub(crate) const PAYLOAD_LEN: usize = 190;
/// Distinct topics of the usual load.
pub(crate) const TOPICS: u64 = 100;
/// Topics are numbered with five digits.
pub(crate) const TOPICS_MAX: u64 = 100_000;
/// The shortest payload; it lacks most of the columns.
pub(crate) const PAYLOAD_LEN_MIN: usize = 50;
/// Where the ten digits of the message's number begin in a payload.
pub(crate) const NUMBER_AT: usize = r#"{"n":"#.len();
pub(crate) const FIRST_NUMBER: u64 = 1_000_000_000;
/// The subscription that takes every message.
pub(crate) const EVERY_TOPIC: &str = "bench/#";

/// The table of every message, unless the rule has a template.
pub(crate) const TABLE: &str = "telemetry";

/// The 1,000 tables of a rule whose table is `telemetry_{topic.site}_{topic.line}`, if there are 1,000 topics or more.
pub(crate) fn tables() -> Vec<String> {
    (0..1_000).map(|table| format!("telemetry_site-{}_line-{:02}", table % 10, table / 10)).collect()
}

/// The 11 columns of every rule, one per line.
pub(crate) const COLUMNS: &str = "
      time:   received_at
      device: topic[3]
      n:      { from: payload.n, type: bigint }
      ts:     { from: payload.ts, time: ms }
      temp:   { from: payload.temp, type: double }
      hum:    { from: payload.hum, type: double }
      press:  { from: payload.press, type: double }
      volt:   { from: payload.volt, type: double }
      rssi:   { from: payload.rssi, type: int }
      ok:     { from: payload.ok, type: bool }
      mode:   { from: payload.mode, type: text }
";

/// The topic of message `number` when there are `topics` of them. Its levels are its digits, so that rules can divide the
/// topics into 10, 1,000 or 10,000 parts: [`patterns`].
pub(crate) fn topic(number: u64, topics: u64) -> String {
    let topic = number % topics;
    format!("bench/site-{}/line-{:02}/device-{:02}/telemetry", topic % 10, topic / 10 % 100, topic / 1_000)
}

/// So many patterns of rules, of which every one of 10,000 topics fits exactly one: 1, 10, 1,000 or 10,000.
pub(crate) fn patterns(rules: u64) -> Vec<String> {
    let pattern = |rule: u64| match rules {
        1 => "bench/{site}/{line}/{device}/telemetry".to_owned(),
        10 => format!("bench/site-{rule}/{{line}}/{{device}}/telemetry"),
        1_000 => format!("bench/site-{}/line-{:02}/{{device}}/telemetry", rule % 10, rule / 10),
        _ => topic(rule, rules),
    };
    (0..rules).map(pattern).collect()
}

/// The payload of message `number`, so many bytes long.
pub(crate) fn payload(number: u64, len: usize) -> String {
    let n = FIRST_NUMBER + number;
    let (whole, cents, rssi) = (10 + number % 80, 10 + number * 7 % 90, 50 + number % 40);
    let text = if len < PAYLOAD_LEN {
        format!(r#"{{"n":{n},"temp":{whole}.{cents},"rssi":-{rssi},"ok":true}}"#)
    } else {
        let pad = if len == PAYLOAD_LEN { String::new() } else { format!(r#","pad":"{}""#, "x".repeat(len - 199)) };
        format!(
            r#"{{"n":{n},"ts":{},"temp":{whole}.{cents},"hum":48.{cents},"press":1013.25,"volt":3.301,"rssi":-{rssi},"ok":true,"mode":"auto","fw":"2.14.3","cell":{{"mcc":262,"mnc":1,"lac":50123,"tech":"lte"}}{pad}}}"#,
            1_790_000_000_000 + number,
        )
    };
    assert_eq!(text.len(), len, "every payload of a measurement has one length");
    text
}
