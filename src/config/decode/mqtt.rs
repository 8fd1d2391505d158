//! The `mqtt` section.

use std::time::Duration;

use url::Url;

use super::address::{ENCODE, is_host, misread};
use super::database::retry;
use super::secret::{readable_file, secret};
use super::table::Table;
use super::value::Value;
use crate::config::percent::percent_decode;
use crate::config::report::nearest;
use crate::config::{Mqtt, MqttTls, MqttUrl, MqttVersion, Scheme, Secret, SecretSource, StatusTopic};

const DEFAULT_HOST: &str = "localhost";
/// See [`Mqtt::session_expiry`].
const SESSION_EXPIRY: Duration = Duration::from_secs(7 * 86_400);
/// A dead link is noticed within 45 s, at two small packets a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// See [`Mqtt::receive_maximum`].
const RECEIVE_MAXIMUM: u64 = 1000;
/// See [`Mqtt::max_packet_size`].
const MAX_PACKET_SIZE: u64 = 1 << 20;
/// At 64 KiB a topic, the aliases of one connection take 64 MiB at most.
const TOPIC_ALIAS_MAX: u64 = 1000;
/// Below, a topic of a few levels with its properties might not fit.
const PACKET_SIZE_MIN: u64 = 1 << 10;
/// MQTT's own limit.
const PACKET_SIZE_MAX: u64 = 256 << 20;
/// The client id's length is 16 bits on the wire.
const CLIENT_ID_BYTES_MAX: usize = 65_535;

const URL_FORMS: &str = "mqtt://HOST:PORT, mqtts://, ws:// or wss://";

/// A broker address and the credentials that its URL carried.
struct Address {
    url: MqttUrl,
    username: Option<Secret>,
    password: Option<Secret>,
}

pub(super) fn decode(table: Table<'_>, hostname: &str) -> Mqtt {
    let addresses = addresses(&table);
    let (username, password) = credentials(&table, &addresses);
    let urls: Vec<MqttUrl> = addresses.into_iter().map(|(address, _)| address.url).collect();
    let second = Duration::from_secs(1);
    let mqtt = Mqtt {
        version: version(&table),
        client_id: table
            .get("client_id")
            .and_then(|value| client_id(&value))
            .unwrap_or_else(|| format!("rowbridge-{hostname}")),
        username,
        password,
        // On the wire: seconds, 32 and 16 bits. A session that ends with the connection would lose what comes
        // meanwhile, and without keep-alive a dead link would go unnoticed.
        session_expiry: whole_seconds(&table, "session_expiry", SESSION_EXPIRY, Duration::from_secs(u32::MAX.into())),
        keep_alive: whole_seconds(&table, "keep_alive", KEEP_ALIVE, Duration::from_secs(u16::MAX.into())),
        connect_timeout: table.duration("connect_timeout", CONNECT_TIMEOUT, second..=Duration::from_secs(600)),
        receive_maximum: narrow(table.integer("receive_maximum", RECEIVE_MAXIMUM, 1..=u16::MAX.into())),
        max_packet_size: table
            .size("max_packet_size", MAX_PACKET_SIZE, PACKET_SIZE_MIN..=PACKET_SIZE_MAX)
            .try_into()
            .unwrap_or(u32::MAX),
        topic_alias_maximum: narrow(table.integer("topic_alias_maximum", 0, 0..=TOPIC_ALIAS_MAX)),
        retry: retry(table.table("retry")),
        tls: tls(table.table("tls"), &urls),
        status_topic: table.get("status_topic").and_then(|value| status_topic(&value)),
        urls,
    };
    table.finish();
    mqtt
}

const STATUS_TOPIC_FORMS: &str = "a topic, in which {bridge} stands for the bridge's name: bridges/{bridge}/status";

fn status_topic(value: &Value<'_>) -> Option<StatusTopic> {
    match StatusTopic::parse(&value.text()?) {
        Ok(topic) => return Some(topic),
        // The error quotes the text.
        Err(error) if value.may_be_quoted() => value.refuse(error.message, STATUS_TOPIC_FORMS),
        Err(_) => value.refuse(format!("found {}, which is no topic", value.shown()), STATUS_TOPIC_FORMS),
    }
    None
}

/// With the bridge's name in it, it must be a topic.
pub(super) fn check_status_topic(value: &Value<'_>, topic: &StatusTopic, bridge: &str) {
    if let Err(fault) = topic.of(bridge) {
        value.refuse(format!("found {}: {fault}", value.shown()), STATUS_TOPIC_FORMS);
    }
}

fn narrow(number: u64) -> u16 {
    number.try_into().unwrap_or(u16::MAX)
}

fn version(table: &Table<'_>) -> MqttVersion {
    let versions = [("5", MqttVersion::V5), ("5.0", MqttVersion::V5), ("3.1.1", MqttVersion::V3)];
    let Some(value) = table.get("version") else { return MqttVersion::V5 };
    let text = value.as_text();
    let known = versions.iter().find(|(name, _)| text.as_deref() == Some(name));
    if known.is_none() {
        let suggestion = text.filter(|text| text.starts_with('3')).map(|_| "3.1.1".to_owned());
        value.refuse_with(format!("found {}", value.shown()), Some("5 or 3.1.1".to_owned()), suggestion);
    }
    known.map_or(MqttVersion::V5, |(_, version)| *version)
}

fn client_id(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if text.is_empty() || text.len() > CLIENT_ID_BYTES_MAX || text.contains('\0') {
        let accepted =
            "a name that no other client of the broker has, not empty: the broker keeps the session under it";
        value.refuse(format!("found {}", value.shown()), accepted);
        return None;
    }
    Some(text)
}

/// A duration that goes over the wire in seconds, from 1 s.
fn whole_seconds(table: &Table<'_>, key: &'static str, default: Duration, max: Duration) -> Duration {
    let Some(value) = table.get(key) else { return default };
    let Some(duration) = value.duration(Duration::from_secs(1)..=max) else { return default };
    if duration.subsec_nanos() != 0 {
        value.refuse(format!("found {}; MQTT counts it in whole seconds", value.shown()), "whole seconds");
    }
    duration
}

/// `url` or `urls`, with the value each came from; at least one.
fn addresses<'a>(table: &Table<'a>) -> Vec<(Address, Option<Value<'a>>)> {
    let given = match (table.get("url"), table.get("urls")) {
        (Some(url), Some(urls)) => {
            urls.refuse("`url` is given too", "one of `url` and `urls`");
            // Whichever goes, mistakes in the other one are reported now.
            for (text, value) in url.texts() {
                address(&text, &value);
            }
            Some(urls)
        }
        (Some(url), None) => {
            if url.is_list() {
                url.refuse_with("found a list", Some("one address".to_owned()), Some("urls".to_owned()));
            }
            Some(url)
        }
        (None, urls) => urls,
    };
    let mut addresses = Vec::new();
    if let Some(given) = given {
        let texts = given.texts();
        if texts.is_empty() && given.is_list() {
            given.refuse("found an empty list", URL_FORMS);
        }
        addresses.extend(texts.iter().filter_map(|(text, value)| Some((address(text, value)?, Some(value.clone())))));
    }
    if addresses.is_empty() {
        let url = MqttUrl { scheme: Scheme::Mqtt, host: DEFAULT_HOST.to_owned(), port: 1883, path: String::new() };
        addresses.push((Address { url, username: None, password: None }, None));
    }
    addresses
}

/// Reads one URL. Nothing of it goes into a finding but its scheme: the rest may be a password in the wrong place.
fn address(text: &str, value: &Value<'_>) -> Option<Address> {
    let Some((scheme_text, _)) = text.split_once("://") else {
        let suggestion = format!("mqtt://{text}");
        let suggestion = parse(&suggestion).is_ok().then_some(suggestion).and_then(|url| value.quoting(|| url));
        let problem = format!("found {}, which has no scheme", value.shown());
        value.refuse_with(problem, Some(URL_FORMS.to_owned()), suggestion);
        return None;
    };
    if scheme(scheme_text).is_none() {
        refuse_scheme(text, scheme_text, value);
        return None;
    }
    match parse(text) {
        Ok(address) => Some(address),
        Err(Unfit { problem, accepted }) => {
            value.refuse(problem, format!("{URL_FORMS}; {accepted}"));
            None
        }
    }
}

/// Why a text with a good scheme is no address; repeats nothing of it.
struct Unfit {
    problem: String,
    accepted: &'static str,
}

/// The address that a text with a known scheme stands for.
fn parse(text: &str) -> Result<Address, Unfit> {
    const PARTS: &str = "only ws and wss have a path";
    let unfit = |problem: &str, accepted| Unfit { problem: problem.to_owned(), accepted };
    // As it always did, and as a variable's value may end with a line break.
    let text = text.trim();
    let (scheme_text, rest) = text.split_once("://").ok_or_else(|| unfit("has no scheme", PARTS))?;
    let (scheme, default_port) = scheme(scheme_text).ok_or_else(|| unfit("has another scheme", PARTS))?;
    if let Some(problem) = misread(rest) {
        return Err(unfit(problem, ENCODE));
    }
    let url = Url::parse(text).map_err(|error| unfit(&format!("is not a URL: {error}"), ENCODE))?;
    let is_websocket = matches!(scheme, Scheme::Ws | Scheme::Wss);
    let host = url.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']')).unwrap_or_default();
    if host.is_empty() {
        return Err(unfit("has no host", ENCODE));
    }
    if !is_host(host) {
        return Err(unfit("has a host with characters that no host has", ENCODE));
    }
    if url.fragment().is_some() || (!is_websocket && (url.query().is_some() || !matches!(url.path(), "" | "/"))) {
        return Err(unfit("has something after host and port", PARTS));
    }
    let path = match (is_websocket, url.path(), url.query()) {
        (false, ..) => String::new(),
        (true, "" | "/", None) => "/mqtt".to_owned(),
        (true, path, None) => path.to_owned(),
        (true, path, Some(query)) => format!("{path}?{query}"),
    };
    let userinfo =
        |text: &str| percent_decode(text).ok_or_else(|| unfit("has credentials that are not UTF-8 text", ENCODE));
    let username = if url.username().is_empty() { None } else { Some(userinfo(url.username())?) };
    let password = url.password().map(userinfo).transpose()?.map(Secret::new);
    let port = url.port().unwrap_or(default_port);
    if port == 0 {
        return Err(unfit("has port 0", PARTS));
    }
    let url = MqttUrl { scheme, host: host.to_owned(), port, path };
    Ok(Address { url, username: username.map(Secret::new), password })
}

/// The scheme and its port.
fn scheme(text: &str) -> Option<(Scheme, u16)> {
    Some(match text {
        "mqtt" => (Scheme::Mqtt, 1883),
        "mqtts" => (Scheme::Mqtts, 8883),
        "ws" => (Scheme::Ws, 80),
        "wss" => (Scheme::Wss, 443),
        _ => return None,
    })
}

fn refuse_scheme(text: &str, other: &str, value: &Value<'_>) {
    let meant = match other.to_ascii_lowercase().as_str() {
        "tcp" | "mqtt" => Some("mqtt".to_owned()),
        "ssl" | "tls" | "mqtts" | "mqtt+ssl" => Some("mqtts".to_owned()),
        "http" => Some("ws".to_owned()),
        "https" => Some("wss".to_owned()),
        lower => nearest(lower, ["mqtt", "mqtts", "ws", "wss"]),
    };
    let suggestion = meant.and_then(|meant| {
        let whole = format!("{meant}{}", &text[other.len()..]);
        parse(&whole).ok()?;
        // With credentials in it, only what is to be changed.
        Some(if value.may_be_quoted() { whole } else { format!("{meant}://…") })
    });
    let is_word = !other.is_empty() && other.len() < 20 && other.chars().all(|c| c.is_ascii_alphanumeric());
    let found = if is_word && value.may_be_quoted() { format!("`{other}://`") } else { "a scheme".to_owned() };
    value.refuse_with(format!("found {found}, which is not MQTT's"), Some(URL_FORMS.to_owned()), suggestion);
}

/// Username and password from their keys or, alike for all, from the URLs.
fn credentials(
    table: &Table<'_>,
    addresses: &[(Address, Option<Value<'_>>)],
) -> (Option<SecretSource>, Option<SecretSource>) {
    let username = secret(table, "username", "username_file");
    let password = secret(table, "password", "password_file");
    let of_urls = |ours: Option<SecretSource>, key: &str, pick: fn(&Address) -> Option<&Secret>| {
        let mut common: Option<Secret> = None;
        for (address, value) in addresses {
            let (Some(theirs), Some(value)) = (pick(address), value) else { continue };
            let differs = match (&ours, &common) {
                (Some(ours), _) => !ours.is(theirs),
                (None, Some(common)) => common != theirs,
                (None, None) => false,
            };
            if differs {
                let problem = format!("carries a {key} that differs from the one given elsewhere");
                value.refuse(problem, format!("one {key} for all addresses, best as `{key}`"));
            }
            common.get_or_insert_with(|| theirs.clone());
        }
        ours.or(common.map(SecretSource::Value))
    };
    (
        of_urls(username, "username", |address| address.username.as_ref()),
        of_urls(password, "password", |address| address.password.as_ref()),
    )
}

fn tls(table: Table<'_>, urls: &[MqttUrl]) -> MqttTls {
    let tls = MqttTls {
        ca_file: readable_file(&table, "ca_file"),
        cert_file: readable_file(&table, "cert_file"),
        key_file: readable_file(&table, "key_file"),
        alpn: alpn(&table),
        insecure_skip_verify: table.flag("insecure_skip_verify", false),
    };
    super::database::check_certificate_pair(&table);
    let encrypted = urls.iter().any(|url| matches!(url.scheme, Scheme::Mqtts | Scheme::Wss));
    for key in ["ca_file", "cert_file"] {
        if let (Some(value), false) = (table.get(key), encrypted) {
            value.refuse("has no effect: no address uses TLS", "mqtts:// or wss:// in mqtt.url");
        }
    }
    table.finish();
    tls
}

fn alpn(table: &Table<'_>) -> Vec<String> {
    // The protocol's length is one byte on the wire.
    const PROTOCOL_BYTES_MAX: usize = 255;
    let Some(value) = table.get("alpn") else { return Vec::new() };
    let mut protocols = Vec::new();
    for (text, value) in value.texts() {
        if text.is_empty() || text.len() > PROTOCOL_BYTES_MAX {
            value.refuse(format!("found {}", value.shown()), "a protocol name such as mqtt or x-amzn-mqtt-ca");
        }
        protocols.push(text);
    }
    protocols
}
