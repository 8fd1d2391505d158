//! The promises that a configuration gives up. Listed by `check`, and logged once when the daemon starts.

use std::time::Duration;

use tokio_postgres::config::Host;

use super::Finding;
use crate::config::{
    Config, Database, DatabaseUrl, Durability, Http, Mqtt, MqttVersion, OnError, PostgresUrl, Rule, Scheme, SslMode,
    WhenFull, possible_loops,
};
use crate::message::Qos;

/// A gateway's update or a broker's repair takes longer than less than this.
const SESSION_EXPIRY_SHORT: Duration = Duration::from_secs(3600);

/// Every promise that the configuration gives up, in the order of the file.
pub fn promises(config: &Config) -> Vec<Finding> {
    let mut findings = of_mqtt(&config.mqtt);
    findings.extend(of_journal(config));
    findings.extend(config.databases.iter().filter_map(of_database));
    let own = config.rules.iter().filter(|rule| !rule.is_copy());
    findings.extend(own.flat_map(|rule| of_rule(rule, config.mqtt.version)));
    findings.extend(possible_loops(config).into_iter().map(|(publication, what)| {
        Finding::warning(
            &format!("publish {publication}"),
            what,
            "publish to a topic that the rule does not take, or leave out by `where` the rows that come from it",
        )
    }));
    if let Http::Listen(address) = config.http
        && !address.ip().to_canonical().is_loopback()
        && config.http_access.token.is_none()
    {
        findings.push(Finding::warning(
            "http.listen",
            format!("the status page and /metrics answer on {address} to everybody who reaches it"),
            "listen on 127.0.0.1, give http.token_file in place of allow_unauthenticated, or have a firewall in front",
        ));
    }
    findings
}

fn of_mqtt(mqtt: &Mqtt) -> Vec<Finding> {
    let mut findings = Vec::new();
    if mqtt.session_expiry < SESSION_EXPIRY_SHORT {
        findings.push(Finding::warning(
            "mqtt.session_expiry",
            format!(
                "the broker forgets the session {} s after the bridge is gone: what comes later is lost",
                mqtt.session_expiry.as_secs()
            ),
            "raise it above the longest stop, e.g. 7d",
        ));
    }
    let is_encrypted = |scheme| matches!(scheme, Scheme::Mqtts | Scheme::Wss);
    if mqtt.tls.insecure_skip_verify && mqtt.urls.iter().any(|url| is_encrypted(url.scheme)) {
        findings.push(Finding::warning(
            "mqtt.tls.insecure_skip_verify",
            "the broker's certificate is not verified: anybody in between can read and change messages",
            "set mqtt.tls.ca_file to the certificate of the broker's authority, and remove insecure_skip_verify",
        ));
    }
    let in_clear = mqtt.urls.iter().find(|url| !is_encrypted(url.scheme) && !is_local(&url.host));
    if let (Some(url), Some(_)) = (in_clear, &mqtt.password) {
        findings.push(Finding::warning(
            "mqtt.url",
            format!("the password goes to {url} unencrypted"),
            "use mqtts:// or wss://, if the network is not yours alone",
        ));
    }
    findings
}

fn of_journal(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Durability::Interval(window) = config.journal.durability {
        findings.push(Finding::warning(
            "journal.durability",
            format!(
                "journal.durability is an interval: a power cut loses up to {window:?} of what the broker was told is \
                 stored"
            ),
            "set journal.durability: commit",
        ));
    }
    if config.journal.durability == Durability::Delivered {
        findings.push(Finding::warning(
            "journal.durability",
            "journal.durability is delivered: while a database is away the broker queues, up to its own limit, and a crash \
             stores messages of QoS 2 that were under way a second time, as at QoS 1",
            "set journal.durability: commit and give data_dir a disk, if the bridge shall hold an outage itself",
        ));
        if !config.named.client_id {
            findings.push(Finding::warning(
                "mqtt.client_id",
                format!(
                    "the client id, {}, comes from the host name: a container that is made anew without its data_dir has \
                     another one, and leaves what the broker queues behind",
                    config.mqtt.client_id
                ),
                "set mqtt.client_id",
            ));
        }
    }
    let dropped = match config.journal.when_full {
        WhenFull::Pause => return findings,
        WhenFull::DropOldest => "oldest",
        WhenFull::DropNewest => "newest",
    };
    findings.push(Finding::warning(
        "journal.when_full",
        format!("a full journal drops the {dropped} messages"),
        "set journal.when_full: pause, which lets the broker queue",
    ));
    findings
}

fn of_database(database: &Database) -> Option<Finding> {
    let DatabaseUrl::Postgres(url) = &database.url else { return None };
    if !is_remote(url) {
        return None;
    }
    let what = match url.ssl_mode {
        SslMode::Disable => "does not encrypt",
        SslMode::Prefer => "goes on without encryption if the server has none, and verifies no certificate",
        SslMode::Require if url.tls.ca_file.is_none() => "verifies no certificate",
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => return None,
    };
    Some(Finding::warning(
        &format!("databases.{}.url", database.name),
        format!("the sslmode of {url} {what}: anybody in between can read and change rows"),
        "use sslmode=verify-full, with tls.ca_file if the server's certificate is of an authority of your own",
    ))
}

fn of_rule(rule: &Rule, version: MqttVersion) -> Vec<Finding> {
    let subject = format!("rule {}", rule.name);
    let mut findings = Vec::new();
    if rule.lowest_qos() == Qos::AtMostOnce {
        findings.push(Finding::warning(
            &subject,
            "asks for QoS 0: what the broker sends while the bridge is away, or the link is slow, is lost",
            "set qos: 1 or 2, and have the devices publish at that QoS",
        ));
    }
    if rule.on_error == OnError::Drop {
        findings.push(Finding::warning(
            &subject,
            "drops messages that give no row",
            "set on_error: dead_letter, which keeps them with the reason",
        ));
    }
    if rule.reply.is_some() && version == MqttVersion::V3 {
        findings.push(Finding::warning(
            &subject,
            "says reply: true, and sends no answers: in MQTT 3.1.1 no message can name a topic for its answer",
            "set mqtt.version: 5, or remove reply",
        ));
    }
    findings
}

fn is_remote(url: &PostgresUrl) -> bool {
    url.config.get_hosts().iter().any(|host| match host {
        Host::Tcp(name) => !is_local(name),
        Host::Unix(_) => false,
    })
}

/// Whether a host is this machine, by its name alone.
fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
