//! Tests one address of the broker: login, TLS, and its answer to every subscription, with the daemon's own session
//! under a throw-away client id.
//!
//! The broker's session of the bridge is not touched. Filters are subscribed to without `$share/GROUP/`, because a
//! member of a group would take messages from the others. No message is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::silent_journal::SilentJournal;
use super::{Finding, Heard};
use crate::config::{Config, Mqtt, MqttUrl, MqttVersion, Retry, Rule, Scheme, SecretSource};
use crate::journal::RealFs;
use crate::rule::TopicPattern;
use crate::shutdown;
use crate::source::{self, SourceSnapshot, SourceStatus, Subscriptions, SubscriptionsFile};
use crate::telemetry::Metrics;
use crate::tools::live::{SCRATCH_REMEDY, Scratch, unique};

/// The wait for answers to subscriptions. If a broker ends the connection on them, each is tried separately.
const ANSWERS: Duration = Duration::from_secs(10);

/// Between two looks at the session.
const LOOK: Duration = Duration::from_millis(20);

/// For leaving; then the connection is cut, which ends the session as well.
const LEAVING: Duration = Duration::from_millis(500);

/// Filters of one level that are named; the others are counted.
const NAMED_MAX: usize = 20;

pub(super) async fn look(config: &Config, url: &MqttUrl, heard: &Heard) -> Vec<Finding> {
    let subject = format!("broker {url}");
    let is_plain = url.scheme == Scheme::Mqtt;
    if config.mqtt.version == MqttVersion::V3 && !is_plain {
        // Its session would outlive the connection, and only a plain one is removed again here.
        return vec![Finding::warning(
            &subject,
            "not asked: with MQTT 3.1.1 over TLS or WebSocket the throw-away session would stay in the broker",
            "if the broker speaks MQTT 5, check with --set mqtt.version=5; else look at `rowbridge status` once it runs",
        )];
    }
    let scratch = match Scratch::new() {
        Ok(scratch) => scratch,
        Err(error) => {
            let what = format!("not asked: {error}");
            return vec![Finding::problem(&subject, what, SCRATCH_REMEDY)];
        }
    };
    let mqtt = Mqtt {
        urls: vec![url.clone()],
        client_id: client_id(&config.mqtt),
        // Ends with the connection.
        session_expiry: Duration::ZERO,
        // Nobody shall take the check for the bridge.
        status_topic: None,
        retry: Retry { min: Duration::from_millis(200), max: Duration::from_secs(1) },
        ..config.mqtt.clone()
    };
    let rules: Vec<Arc<Rule>> = config.rules.iter().map(|rule| Arc::new(unshared(rule))).collect();
    let plan = Subscriptions::plan(mqtt.version, &rules, None);
    let is_shared = config.rules.iter().any(|rule| rule.topics.iter().any(|topic| !topic.share().is_empty()));
    heard.take();
    let snapshot = ask(&mqtt, plan, &scratch).await;
    let mut findings = judge(&subject, &mqtt, &snapshot);
    if is_shared && snapshot.connected {
        findings
            .push(Finding::ok(&subject, "shared subscriptions were asked for without their group, to take no message"));
    }
    let remedy = "look it up in the broker's manual, or in docs/brokers.md";
    findings.extend(heard.take().into_iter().map(|words| Finding::warning(&subject, words, remedy)));
    if mqtt.version == MqttVersion::V3 && timeout(config.mqtt.connect_timeout, forget(&mqtt, url)).await.is_err() {
        let what = format!("the session of the throw-away client {} may be left in the broker", mqtt.client_id);
        findings.push(Finding::warning(&subject, what, "check again, which removes it"));
    }
    findings
}

/// With MQTT 3.1.1 always the same id, so that the next check takes over the session that a check leaves behind.
fn client_id(mqtt: &Mqtt) -> String {
    match mqtt.version {
        MqttVersion::V5 => format!("rowbridge-check-{}", unique()),
        MqttVersion::V3 => format!("{}-check", mqtt.client_id),
    }
}

fn unshared(rule: &Rule) -> Rule {
    let plain = |topic: &TopicPattern| {
        let text = topic.as_str().strip_prefix("$share/").and_then(|shared| shared.split_once('/'));
        text.and_then(|(_, text)| TopicPattern::parse(text).ok()).unwrap_or_else(|| topic.clone())
    };
    Rule { topics: rule.topics.iter().map(plain).collect(), ..rule.clone() }
}

/// Runs a session until everything is answered or nothing more is to be expected; what it shows then.
async fn ask(mqtt: &Mqtt, plan: Subscriptions, scratch: &Scratch) -> SourceSnapshot {
    let status = Arc::new(SourceStatus::default());
    let (stop, shutdown) = shutdown::channel();
    let (_plan, plans) = tokio::sync::watch::channel(plan);
    let mut session = tokio::spawn(source::run(
        mqtt.clone(),
        plans,
        SubscriptionsFile::new(RealFs, scratch.path().to_owned()),
        SilentJournal::default(),
        Arc::clone(&status),
        Arc::new(Metrics::new()),
        shutdown,
    ));
    let mut deadline = Instant::now() + mqtt.connect_timeout + LEAVING;
    let mut was_connected = false;
    let snapshot = loop {
        let snapshot = status.snapshot();
        // Filters are shown once the broker has accepted a connection, however short it was.
        if !was_connected && (snapshot.connected || !snapshot.subscriptions.is_empty()) {
            was_connected = true;
            deadline = Instant::now() + ANSWERS;
        }
        let is_answered = snapshot.subscriptions.iter().all(|one| one.qos_granted.is_some() || one.error.is_some());
        let is_done = snapshot.connected && is_answered && !snapshot.subscriptions.is_empty();
        let is_turned_away = !was_connected && snapshot.last_error.is_some();
        if is_done || is_turned_away || Instant::now() >= deadline {
            break SourceSnapshot { connected: was_connected, ..snapshot };
        }
        sleep(LOOK).await;
    };
    stop.fire();
    if timeout(LEAVING, &mut session).await.is_err() {
        session.abort();
        // Dropped by then, with its connection.
        let _ = session.await;
    }
    snapshot
}

fn judge(subject: &str, mqtt: &Mqtt, snapshot: &SourceSnapshot) -> Vec<Finding> {
    if !snapshot.connected {
        let error = snapshot.last_error.clone().unwrap_or_else(|| "no answer".to_owned());
        let remedy = remedy(&error);
        return vec![Finding::problem(subject, error, remedy)];
    }
    let mut findings = Vec::new();
    let (mut granted, mut lower, mut refused) = (0, Vec::new(), Vec::new());
    for one in &snapshot.subscriptions {
        match (&one.error, one.qos_granted) {
            (Some(error), _) => refused.push(format!("{}: {error}", one.filter)),
            (None, Some(qos)) if qos < one.qos_asked => {
                granted += 1;
                lower.push(format!("{}: QoS {qos} granted, {} asked", one.filter, one.qos_asked));
            }
            (None, Some(_)) => granted += 1,
            (None, None) => refused.push(format!("{}: no answer within {} s", one.filter, ANSWERS.as_secs())),
        }
    }
    let client_id = &mqtt.client_id;
    findings.push(Finding::ok(
        subject,
        match snapshot.subscriptions.len() {
            // Only publications or queries use the broker.
            0 => format!("logged in as throw-away client {client_id}"),
            asked => format!("logged in as throw-away client {client_id}; {granted} of {asked} topic filters granted"),
        },
    ));
    let rest = |list: &[String]| (list.len() > NAMED_MAX).then(|| format!("and {} more", list.len() - NAMED_MAX));
    for what in lower.iter().take(NAMED_MAX).cloned().chain(rest(&lower)) {
        let remedy = "raise the broker's highest QoS (max_qos in Mosquitto): without it messages are lost or repeated";
        findings.push(Finding::warning(subject, what, remedy));
    }
    for what in refused.iter().take(NAMED_MAX).cloned().chain(rest(&refused)) {
        let remedy = "give the bridge's user the right to read these topics in the broker's access rules; if they go by \
                      client id, the throw-away one may lack what the bridge's has";
        findings.push(Finding::problem(subject, what, remedy));
    }
    findings
}

/// What helps against a connection that was not made; the words may say more.
fn remedy(error: &str) -> &'static str {
    let is = |word: &str| error.contains(word);
    if is("_file") && is("mqtt.") {
        match is("No such file") || is("ermission denied") || is("cannot be read") {
            true => "make the file readable for the bridge's user, or correct its name",
            false => "put another file in its place, or name another one",
        }
    } else if is("refused us") {
        "check mqtt.username, mqtt.password and the broker's rights for this client"
    } else if is("TLS") || is("certificate") {
        "check mqtt.tls (ca_file for an authority of your own), and that the port is the one for TLS"
    } else if is("mqtt.version") || is("WebSocket") {
        "check the port, the path and mqtt.version"
    } else {
        "start the broker, or correct mqtt.url; if both are right, look at firewalls in between"
    }
}

/// Removes the session of an MQTT 3.1.1 client: it outlives its connection until the client comes back for a clean one.
pub(in crate::tools) async fn forget(mqtt: &Mqtt, url: &MqttUrl) {
    let secret = |source: &Option<SecretSource>| {
        source.as_ref().and_then(|source| source.read().ok()).map_or(String::new(), |secret| secret.expose().to_owned())
    };
    let mut connect = v4::Connect::new(mqtt.client_id.clone());
    connect.clean_session = true;
    let (username, password) = (secret(&mqtt.username), secret(&mqtt.password));
    let has_login = !username.is_empty() || !password.is_empty();
    connect.login = has_login.then(|| v4::Login::new(username, password));
    let mut out = BytesMut::new();
    if connect.write(&mut out).is_err() {
        return;
    }
    let Ok(mut stream) = TcpStream::connect((url.host.as_str(), url.port)).await else { return };
    let mut connack = [0; 4];
    // A failure here also failed before, and was reported.
    let _ = stream.write_all(&out).await;
    let _ = stream.read_exact(&mut connack).await;
    let _ = stream.write_all(&[0xE0, 0]).await;
    let _ = stream.shutdown().await;
}
