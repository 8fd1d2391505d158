//! The second MQTT connection by itself, against a real Mosquitto: batches, answers, requests, refusals, restarts.

use std::sync::Arc;
use std::time::Duration;

use rowbridge::config::{self, LoadRequest};
use rowbridge::message::Qos;
use rowbridge::outbound::{self, NotQueued, Outbound, Request, ToPublish};
use rowbridge::shutdown::{self, ShutdownTrigger};
use rowbridge::telemetry::{AnswerFate, Metrics};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::session::fake_broker::{self, FakeBroker, Subscribe, connack, suback};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto, PERSISTENT};
use crate::support::process::program;
use crate::support::subscriber::Subscriber;
use crate::support::{PATIENCE, free_port, wait_for};

/// Lines of mosquitto.conf by which nobody may write to `denied/…`, or read it.
const RULES: &str = "acl_file FOLDER/acl\n";
const ACL: &str = "topic readwrite open/#\ntopic deny denied/#\n";

/// A connection on the test's own event loop.
struct Client {
    outbound: Outbound,
    requests: mpsc::Receiver<Request>,
    metrics: Arc<Metrics>,
    stop: ShutdownTrigger,
    task: JoinHandle<()>,
}

impl Client {
    /// With further keys of `mqtt`.
    fn start(port: u16, keys: &str) -> Client {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("bridge.yaml");
        let text = format!(
            "mqtt: {{ url: 'mqtt://127.0.0.1:{port}', client_id: client, retry: {{ min: 20ms, max: 100ms }}, {keys} }}\n\
             databases: {{ local: {{ url: 'sqlite:rows.db' }} }}\n\
             rules: [{{ topic: a, table: a, columns: {{ a: payload.a }} }}]\n"
        );
        std::fs::write(&file, text).unwrap();
        let config = config::load(&LoadRequest::from_process(Some(file), Vec::new())).unwrap();
        let metrics = Arc::new(Metrics::new());
        let (outbound, connection, requests) = outbound::channel(&config.mqtt, &metrics);
        outbound.open();
        let (stop, shutdown) = shutdown::channel();
        let task = tokio::spawn(connection.run(shutdown));
        Client { outbound, requests, metrics, stop, task }
    }

    async fn connected(&self) {
        self.until("connected", || self.outbound.status().snapshot().connected).await;
    }

    async fn until(&self, what: &str, question: impl Fn() -> bool) {
        let waiting = async {
            while !question() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }

    async fn stop(self) {
        self.stop.fire();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn batches_arrive_in_order_with_their_properties() {
    for (version, keys) in [("5", ""), ("3.1.1", "version: 3.1.1")] {
        let broker = Mosquitto::with(DEEP_QUEUE);
        let subscriber = Subscriber::start(broker.port(), "open/#", "%t %q %r %C %D %P %p");
        run(async {
            let client = Client::start(broker.port(), keys);
            let user = [("unit".to_owned(), "°C".to_owned())];
            let mut tickets = Vec::new();
            for n in 0..20 {
                let mut batch = client.outbound.batch();
                for m in 0..50 {
                    let payload = format!("{n}.{m}");
                    let publish = ToPublish {
                        qos: Qos::from_level(m % 3).unwrap(),
                        content_type: Some("text/plain"),
                        correlation_data: Some(b"id-7"),
                        user_properties: &user,
                        ..ToPublish::new("open/t", payload.as_bytes())
                    };
                    batch.push(&publish).unwrap();
                }
                tickets.push(client.outbound.publish(batch).await.unwrap());
            }
            for ticket in tickets {
                assert_eq!(ticket.settled().await.unwrap().refused, []);
            }
            client.stop().await;
        });
        let lines = subscriber.wait_for(1000);
        for qos in 0..3 {
            let mark = format!("open/t {qos} 0 ");
            let of_qos: Vec<&String> = lines.iter().filter(|line| line.starts_with(&mark)).collect();
            let properties = if version == "5" { "text/plain id-7 unit:°C " } else { "   " };
            let expected: Vec<String> = (0..20)
                .flat_map(|n| (0..50).filter(|m| m % 3 == qos).map(move |m| (n, m)))
                .map(|(n, m)| format!("{mark}{properties}{n}.{m}"))
                .collect();
            assert!(of_qos.iter().copied().eq(&expected), "{version} QoS {qos}: {of_qos:?}");
        }
    }
}

#[test]
fn a_refused_message_is_told_with_its_reason_and_the_others_go_on() {
    let broker = Mosquitto::with_files(RULES, &[("acl", ACL.to_owned())]);
    run(async {
        let mut client = Client::start(broker.port(), "");
        let mut batch = client.outbound.batch();
        for (topic, qos) in [("open/a", 1), ("denied/a", 1), ("denied/b", 2), ("open/b", 2)] {
            let publish = ToPublish { qos: Qos::from_level(qos).unwrap(), ..ToPublish::new(topic, b"x") };
            batch.push(&publish).unwrap();
        }
        let refused = client.outbound.publish(batch).await.unwrap().settled().await.unwrap().refused;
        let codes: Vec<_> = refused.iter().map(|refused| (refused.index, refused.code)).collect();
        assert_eq!(codes, [(1, Some(0x87)), (2, Some(0x87))]);
        assert!(refused[0].why.contains("access rules"), "{}", refused[0].why);

        client.outbound.try_publish(&ToPublish::new("denied/a", b"x")).unwrap();
        let answers = |fate| client.metrics.outbound.answers(fate);
        client.until("the refusal is counted", || answers(AnswerFate::refused) == 1).await;
        client.outbound.try_publish(&ToPublish::new("open/a", b"x")).unwrap();
        client.until("the answer is counted", || answers(AnswerFate::sent) == 1).await;
        assert!(client.outbound.status().snapshot().last_refusal.unwrap().contains("0x87"));
        assert!(client.requests.try_recv().is_err());
        client.stop().await;
    });
}

#[test]
fn answers_to_messages_go_before_those_to_queries_however_many_there_are() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let subscriber = Subscriber::start(broker.port(), "open/#", "%p");
    run(async {
        let client = Client::start(broker.port(), "");
        // Nothing is sent before this waits.
        let mut queued = 0;
        let refused = loop {
            match client.outbound.try_publish(&ToPublish::new("open/q", b"query")) {
                Ok(()) => queued += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((refused, queued), (NotQueued::Full, 4096));
        assert!(client.outbound.is_half_full());
        client.outbound.answer(&ToPublish::new("open/m", b"message")).await.unwrap();
        client.until("all are sent", || client.metrics.outbound.answers(AnswerFate::sent) == queued + 1).await;
        assert!(!client.outbound.is_half_full());
        client.stop().await;
    });
    let lines = subscriber.wait_for(4097);
    assert_eq!((lines[0].as_str(), lines[1].as_str(), lines.len()), ("message", "query", 4097));
}

#[test]
fn what_the_broker_does_not_take_is_refused_here_or_sent_as_it_takes_it() {
    let port = free_port();
    let lines = format!("max_packet_size 300\nretain_available false\nlistener {port} 127.0.0.1\nmax_qos 1\n");
    let broker = Mosquitto::with(&lines);
    let subscriber = Subscriber::start(broker.port(), "open/#", "%q %r %l");
    run(async {
        let client = Client::start(port, "");
        client.connected().await;
        assert_eq!(client.outbound.packet_bytes_max(), 300);
        let mut batch = client.outbound.batch();
        let large = vec![b'x'; 300];
        for payload in [&b"a"[..], &large, b"b"] {
            let publish = ToPublish { qos: Qos::ExactlyOnce, retain: true, ..ToPublish::new("open/a", payload) };
            batch.push(&publish).unwrap();
        }
        let refused = client.outbound.publish(batch).await.unwrap().settled().await.unwrap().refused;
        assert_eq!((refused.len(), refused[0].index, refused[0].code), (1, 1, None));
        assert!(refused[0].why.contains("300"), "{}", refused[0].why);
        assert!(client.outbound.try_publish(&ToPublish::new("open/a", &large)).is_err());
        client.stop().await;
    });
    assert_eq!(subscriber.wait_for(2), ["1 0 1", "1 0 1"]);
}

#[test]
fn a_broker_that_restarts_gets_every_message_and_the_requests_come_again() {
    const BATCHES: usize = 400;
    let mut broker = Mosquitto::with(&format!("{PERSISTENT}{DEEP_QUEUE}"));
    let subscriber = Subscriber::with(broker.port(), "open/#", &["-V", "5", "-c", "-x", "1000", "-F", "%p"]);
    run(async {
        let mut client = Client::start(broker.port(), "");
        client.outbound.subscribe(vec!["open-requests/+".to_owned()]);
        client.connected().await;
        let outbound = client.outbound.clone();
        let publishing = tokio::spawn(async move {
            for n in 0..BATCHES {
                let mut batch = outbound.batch();
                let payloads = (0..10).map(|m| (n * 10 + m).to_string());
                payloads.for_each(|payload| batch.push(&ToPublish::new("open/t", payload.as_bytes())).unwrap());
                let settled = outbound.publish(batch).await.unwrap().settled().await.unwrap();
                assert_eq!(settled.refused, []);
            }
        });
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            broker.stop();
            broker.restart();
        }
        tokio::time::timeout(PATIENCE, publishing).await.unwrap().unwrap();
        client.connected().await;
        request(broker.port(), "open-requests/x", "after");
        let request = tokio::time::timeout(PATIENCE, client.requests.recv()).await.unwrap().unwrap();
        assert_eq!((request.topic.as_str(), &request.payload[..]), ("open-requests/x", &b"after"[..]));
        client.stop().await;
    });
    let first_of_each = || {
        let mut seen = std::collections::HashSet::new();
        let numbers = subscriber.lines().into_iter().filter_map(|line| line.parse::<usize>().ok());
        numbers.filter(|number| seen.insert(*number)).collect::<Vec<_>>()
    };
    wait_for("every message comes", || (first_of_each().len() == BATCHES * 10).then_some(()));
    assert!(first_of_each().is_sorted(), "what comes again comes behind");
}

#[test]
fn requests_come_with_all_that_an_answer_needs_and_refused_topics_are_told() {
    let broker = Mosquitto::with_files(RULES, &[("acl", ACL.to_owned())]);
    run(async {
        let mut client = Client::start(broker.port(), "");
        client.outbound.subscribe(vec!["open/query".to_owned()]);
        client.connected().await;
        client.until("subscribed", || broker.log().contains("open/query (QoS 1)")).await;
        let arguments =
            ["-V", "5", "-D", "publish", "response-topic", "open/reply", "-D", "publish", "correlation-data"];
        let more = ["abc", "-D", "publish", "user-property", "format", "csv"];
        publish(broker.port(), "open/query", "{}", &[&arguments[..], &more[..]].concat());
        let request = tokio::time::timeout(PATIENCE, client.requests.recv()).await.unwrap().unwrap();
        assert_eq!(request.response_topic(), Some("open/reply"));
        assert_eq!(request.correlation_data(), Some(&b"abc"[..]));
        assert_eq!(request.properties().user("Format"), Some(&b"csv"[..]));
        assert_eq!((request.message().topic, request.message().payload), ("open/query", &b"{}"[..]));

        let large = "x".repeat(outbound::REQUEST_BYTES_MAX as usize);
        publish(broker.port(), "open/query", &large, &["-V", "5"]);
        let request = tokio::time::timeout(PATIENCE, client.requests.recv()).await.unwrap().unwrap();
        assert!(request.is_too_large && request.payload.is_empty());

        // Another topic instead, while the connection stands.
        client.outbound.subscribe(vec!["open/other".to_owned()]);
        client.until("subscribed", || broker.log().contains("open/other (QoS 1)")).await;
        publish(broker.port(), "open/query", "old", &[]);
        publish(broker.port(), "open/other", "new", &[]);
        let request = tokio::time::timeout(PATIENCE, client.requests.recv()).await.unwrap().unwrap();
        assert_eq!(&request.payload[..], b"new");
        client.stop().await;
    });
    assert!(broker.log().contains("client-out"), "its id is that of the bridge with -out");
}

#[test]
fn while_nobody_takes_requests_they_wait_and_messages_still_go_out() {
    let broker = Mosquitto::with("max_inflight_messages 0\nmax_queued_messages 0\n");
    run(async {
        let mut client = Client::start(broker.port(), "");
        client.outbound.subscribe(vec!["q".to_owned()]);
        client.connected().await;
        client.until("subscribed", || broker.log().contains("q (QoS 1)")).await;
        let lines: String = (0..2000).map(|n| format!("{n}\n")).collect();
        publish_lines(broker.port(), "q", lines);
        let mut batch = client.outbound.batch();
        batch.push(&ToPublish { qos: Qos::AtMostOnce, ..ToPublish::new("t", b"x") }).unwrap();
        client.outbound.publish(batch).await.unwrap().settled().await.unwrap();
        for n in 0..2000 {
            let request = tokio::time::timeout(PATIENCE, client.requests.recv()).await.unwrap().unwrap();
            assert_eq!(request.payload, n.to_string().into_bytes());
        }
        client.stop().await;
    });
}

fn request(port: u16, topic: &str, payload: &str) {
    // The subscription may not stand yet after a reconnect: a message that nobody takes is sent again.
    publish(port, topic, payload, &["-V", "5", "--repeat", "20", "--repeat-delay", "0.1"]);
}

/// A broker that ends the connection at each PUBLISH to, and each SUBSCRIBE of, a topic with `poison` in it, and tells of
/// every other message that it takes.
async fn serve_strictly(broker: FakeBroker, taken: mpsc::UnboundedSender<String>) {
    loop {
        let mut peer = broker.accept().await;
        peer.send(&connack(peer.version, false)).await;
        while let Some(packet) = peer.receive_at_leisure().await {
            match packet.first & 0xF0 {
                0x30 => {
                    let end = 2 + usize::from(packet.id());
                    let topic = String::from_utf8(packet.body[2..end].to_vec()).unwrap();
                    if topic.contains("poison") {
                        break;
                    }
                    taken.send(topic).unwrap();
                    peer.send(&fake_broker::packet(0x40, &packet.body[end..end + 2])).await;
                }
                0x80 => {
                    let subscribe = Subscribe::read(peer.version, &packet);
                    if subscribe.filters.iter().any(|filter| filter.contains("poison")) {
                        break;
                    }
                    peer.send(&suback(peer.version, subscribe.packet_id, &[1])).await;
                }
                0xC0 => peer.send(&fake_broker::packet(0xD0, &[])).await,
                _ => {}
            }
        }
    }
}

#[test]
fn a_message_for_which_the_broker_ends_the_connection_does_not_stop_the_others() {
    for keys in ["", "version: 3.1.1"] {
        run(async {
            let broker = FakeBroker::start().await;
            let port = broker.port();
            let (sender, mut taken) = mpsc::unbounded_channel();
            let broker = tokio::spawn(serve_strictly(broker, sender));
            let client = Client::start(port, keys);
            client.outbound.subscribe(vec!["ask/poison".to_owned(), "ask/a".to_owned()]);
            let mut tickets = Vec::new();
            for n in 0..3 {
                let mut batch = client.outbound.batch();
                for m in 0..10 {
                    let is_poison = (n, m) == (1, 4) || (n, m) == (1, 5);
                    let topic = if is_poison { format!("poison/{m}") } else { format!("good/{n}/{m}") };
                    batch.push(&ToPublish::new(&topic, b"")).unwrap();
                }
                tickets.push(client.outbound.publish(batch).await.unwrap());
            }
            let mut refused = Vec::new();
            for ticket in tickets {
                let settled = tokio::time::timeout(PATIENCE, ticket.settled()).await.unwrap().unwrap();
                refused.push(settled.refused);
            }
            let places: Vec<Vec<usize>> = refused.iter().map(|of| of.iter().map(|one| one.index).collect()).collect();
            assert_eq!(places, [vec![], vec![4, 5], vec![]], "{refused:?}");
            let told = &refused[1][0];
            assert!(told.code.is_none() && told.why.contains("ended 3 connections in a row"), "{told:?}");
            client.outbound.try_publish(&ToPublish::new("good/answer", b"")).unwrap();
            let mut order = Vec::new();
            while order.last().is_none_or(|topic| topic != "good/answer") {
                let topic = tokio::time::timeout(PATIENCE, taken.recv()).await.unwrap().unwrap();
                if !order.contains(&topic) {
                    order.push(topic);
                }
            }
            assert_eq!(order.len(), 29, "all that are good, and the answer");
            assert!(order.is_sorted(), "in their order: {order:?}");
            let snapshot = client.outbound.status().snapshot();
            let [(filter, why)] = &snapshot.refused_filters[..] else { panic!("{snapshot:?}") };
            assert!(filter == "ask/poison" && why.contains("ended 3 connections in a row"), "{why}");
            assert!(snapshot.connected, "{snapshot:?}");
            client.stop().await;
            broker.abort();
        });
    }
}

fn publish(port: u16, topic: &str, payload: &str, arguments: &[&str]) {
    let mut command = std::process::Command::new(program("mosquitto_pub"));
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", topic, "-s"]).args(arguments);
    feed(command, payload.as_bytes());
}

fn publish_lines(port: u16, topic: &str, lines: String) {
    let mut command = std::process::Command::new(program("mosquitto_pub"));
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", topic, "-l"]);
    feed(command, lines.as_bytes());
}

fn feed(mut command: std::process::Command, input: &[u8]) {
    use std::io::Write;
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    assert!(child.wait().unwrap().success());
}
