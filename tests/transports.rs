//! How the bridge reaches a broker: TLS with one's own authority, client certificates, passwords, several addresses;
//! and what it says when it does not get in.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::support::bridge::{Bridge, readings};
use crate::support::free_port;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::publisher::Load;

/// A certificate authority of the test's own, and certificates signed by it, as PEM text.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Certificate and key for a name or address.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        // Of another name than the authority's: else it passes for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A broker with a TLS listener, which demands a client certificate if `demanding`; the port of that listener.
pub(crate) fn tls_broker(authority: &Authority, demanding: bool) -> (Mosquitto, u16) {
    let lines = format!("require_certificate {demanding}\n");
    broker_with(authority.certificate.clone(), authority.sign("127.0.0.1"), &lines)
}

/// A broker with a TLS listener that shows this certificate; the port of that listener.
fn broker_with(authority: String, (certificate, key): (String, String), lines: &str) -> (Mosquitto, u16) {
    let port = free_port();
    let lines = format!(
        "listener {port} 127.0.0.1\ncafile FOLDER/ca.pem\ncertfile FOLDER/server.pem\nkeyfile FOLDER/server.key\n\
         {lines}{DEEP_QUEUE}"
    );
    let files = [("ca.pem", authority), ("server.pem", certificate), ("server.key", key)];
    (Mosquitto::with_files(&lines, &files), port)
}

/// A certificate that signed itself, marked as an authority as `openssl req -x509` does it, or not; and its key.
fn self_signed(name: &str, is_authority: bool) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Ten readings, to see that messages pass.
#[track_caller]
fn assert_passes(broker: &Mosquitto, bridge: &mut Bridge) {
    Load::new(broker.port(), 1, 10).run();
    bridge.wait_rows("readings", 10);
}

/// The words in which status tells why there is no connection.
#[track_caller]
fn refusal(bridge: &mut Bridge) -> String {
    bridge.wait_alive("the refusal is told", |bridge| {
        let status = bridge.status();
        assert_ne!(status["mqtt"]["connected"], true, "it got in: {status}");
        status["mqtt"]["last_error"].as_str().map(str::to_lowercase)
    })
}

#[test]
fn tls_with_an_authority_of_ones_own_and_a_client_certificate() {
    let authority = Authority::new();
    let (broker, port) = tls_broker(&authority, true);
    let keys = format!(
        "url: 'mqtts://127.0.0.1:{port}', tls: {{ ca_file: ca.pem, cert_file: client.pem, key_file: client.key }}"
    );
    let mut bridge = Bridge::with_mqtt(port, &keys, &readings(1));
    let (certificate, key) = authority.sign("a-gateway");
    for (name, content) in [("ca.pem", &authority.certificate), ("client.pem", &certificate), ("client.key", &key)] {
        std::fs::write(bridge.path(name), content).unwrap();
    }
    bridge.start();
    assert_passes(&broker, &mut bridge);
}

#[test]
fn a_broker_whose_certificate_nobody_vouches_for_is_refused_in_words() {
    let (broker, port) = tls_broker(&Authority::new(), false);
    let keys = format!("url: 'mqtts://127.0.0.1:{port}', tls: {{ ca_file: ca.pem }}");
    let mut bridge = Bridge::with_mqtt(port, &keys, &readings(1));
    std::fs::write(bridge.path("ca.pem"), Authority::new().certificate).unwrap();
    bridge.spawn();
    let words = refusal(&mut bridge);
    assert!(words.contains("certificate"), "{words}");
    bridge.kill();
    // Without a check, at the user's own risk, it gets in.
    bridge.edit("tls: { ca_file: ca.pem }", "tls: { insecure_skip_verify: true }");
    bridge.start();
    assert_passes(&broker, &mut bridge);
}

#[test]
fn a_brokers_certificate_that_is_itself_the_ca_file_is_taken_and_its_name_still_checked() {
    let authority = Authority::new();
    for (certificate, key) in [
        self_signed("127.0.0.1", true),
        self_signed("127.0.0.1", false),
        // Signed by somebody whose certificate the bridge has not got.
        authority.sign("127.0.0.1"),
    ] {
        let (broker, port) = broker_with(certificate.clone(), (certificate.clone(), key), "");
        let keys = format!("url: 'mqtts://127.0.0.1:{port}', tls: {{ ca_file: ca.pem }}");
        let mut bridge = Bridge::with_mqtt(port, &keys, &readings(1));
        std::fs::write(bridge.path("ca.pem"), &certificate).unwrap();
        bridge.start();
        assert_passes(&broker, &mut bridge);
    }
    for is_authority in [true, false] {
        let (certificate, key) = self_signed("another.example", is_authority);
        let (_broker, port) = broker_with(certificate.clone(), (certificate.clone(), key), "");
        let keys = format!("url: 'mqtts://127.0.0.1:{port}', tls: {{ ca_file: ca.pem }}");
        let mut bridge = Bridge::with_mqtt(port, &keys, &readings(1));
        std::fs::write(bridge.path("ca.pem"), &certificate).unwrap();
        bridge.spawn();
        let words = refusal(&mut bridge);
        assert!(words.contains("subjectaltname"), "{words}");
    }
}

#[test]
fn a_self_signed_certificate_that_is_not_given_is_explained() {
    for is_authority in [true, false] {
        let (certificate, key) = self_signed("127.0.0.1", is_authority);
        let (_broker, port) = broker_with(certificate.clone(), (certificate, key), "");
        let keys = format!("url: 'mqtts://127.0.0.1:{port}', tls: {{ ca_file: ca.pem }}");
        let mut bridge = Bridge::with_mqtt(port, &keys, &readings(1));
        std::fs::write(bridge.path("ca.pem"), self_signed("127.0.0.1", is_authority).0).unwrap();
        bridge.spawn();
        let words = refusal(&mut bridge);
        assert!(
            words.contains("ca_file") && words.contains("self-signed") || words.contains("this very certificate"),
            "{words}"
        );
    }
}

#[test]
fn certificates_that_change_on_the_disk_are_used_at_the_next_connect_also_by_a_websocket() {
    for (scheme, lines) in [("mqtts", ""), ("wss", "protocol websockets\n")] {
        let (first, second) = (Authority::new(), Authority::new());
        let (mut broker, port) = broker_with(first.certificate.clone(), first.sign("127.0.0.1"), lines);
        let keys = format!("url: '{scheme}://127.0.0.1:{port}', tls: {{ ca_file: ca.pem }}, retry: {{ max: 300ms }}");
        let mut bridge = Bridge::with_mqtt(port, &keys, &readings(1));
        std::fs::write(bridge.path("ca.pem"), &first.certificate).unwrap();
        bridge.start();
        broker.kill();
        let (certificate, key) = second.sign("127.0.0.1");
        for (name, content) in [("ca.pem", &second.certificate), ("server.pem", &certificate), ("server.key", &key)] {
            std::fs::write(broker.path(name), content).unwrap();
        }
        std::fs::remove_file(bridge.path("ca.pem")).unwrap();
        broker.restart();
        bridge.wait_alive("the missing file is told", |bridge| {
            bridge.status()["mqtt"]["last_error"].as_str()?.contains("mqtt.tls.ca_file").then_some(())
        });
        std::fs::write(bridge.path("ca.pem"), &second.certificate).unwrap();
        bridge.wait_ready();
        assert_passes(&broker, &mut bridge);
    }
}

#[test]
fn user_name_and_password_are_sent_and_a_refusal_is_told_without_them() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let made = std::process::Command::new(crate::support::process::program("mosquitto_passwd"))
        .args(["-b", file.path().to_str().unwrap(), "gateway", "secret-word"])
        .status()
        .unwrap();
    assert!(made.success());
    let port = free_port();
    let lines = format!(
        "per_listener_settings true\nlistener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n",
        file.path().display()
    );
    let broker = Mosquitto::with(&lines);
    let mut bridge = Bridge::with_mqtt(port, "username: gateway, password_file: wrong-password", &readings(1));
    std::fs::write(bridge.path("wrong-password"), "another-secret-word\n").unwrap();
    bridge.spawn();
    let words = refusal(&mut bridge);
    assert!(words.contains("not authori") || words.contains("password"), "{words}");
    assert!(!format!("{words}{}", bridge.log()).contains("secret-word"), "the password is shown");
    // Put right in the file, and read at the next attempt.
    std::fs::write(bridge.path("wrong-password"), "secret-word\n").unwrap();
    bridge.wait_ready();
    drop(file);
    assert_eq!(bridge.status()["mqtt"]["connected"], true);
    drop(broker);
}

#[test]
fn of_several_addresses_the_one_that_answers_is_taken() {
    let broker = Mosquitto::start();
    let nobody = free_port();
    let keys = format!("urls: ['mqtt://127.0.0.1:{nobody}', 'mqtt://127.0.0.1:{}']", broker.port());
    let mut bridge = Bridge::with_mqtt(0, &keys, &readings(1));
    bridge.start();
    assert_passes(&broker, &mut bridge);
}

#[test]
fn a_broker_that_goes_no_higher_than_qos_1_still_delivers_what_was_asked_for_at_qos_2() {
    let port = free_port();
    let broker = Mosquitto::with(&format!("listener {port} 127.0.0.1\nmax_qos 1\n"));
    for version in ["5", "3.1.1"] {
        let mut bridge = Bridge::with_mqtt(port, &format!("version: {version}"), &readings(2));
        bridge.start();
        assert_passes(&broker, &mut bridge);
        assert_eq!(bridge.status()["mqtt"]["subscriptions"][0]["qos_asked"], 2);
    }
}
