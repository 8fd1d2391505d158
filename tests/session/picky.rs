//! Brokers that will not have a filter: it must not stop the others. And brokers that send a message once for each
//! filter that matches it: no rule may store it twice.

use std::time::Duration;

use rowbridge::config::{Retry, Scheme};
use rowbridge::telemetry::FilterLabels;

use super::fake_broker::{BOTH, Version};
use super::picky_broker::{Copies, Feature, Manners, PickyBroker, Refusal};
use super::source::{Client, Running, eventually, url};

fn client(version: Version, broker: &PickyBroker, filters: &[&str]) -> Client {
    let mut client = Client::new(version, broker.port()).subscribing_to(filters);
    client.config.retry = Retry { min: Duration::from_millis(5), max: Duration::from_secs(30) };
    client
}

fn granted(running: &Running, filter: &str) -> i64 {
    running.metrics.subscription_granted_qos.get_or_create(&FilterLabels { filter: filter.into() }).get()
}

fn error(running: &Running, filter: &str) -> Option<String> {
    running.status().subscriptions.into_iter().find(|known| known.filter == filter)?.error
}

fn forbidding(filters: &[&str]) -> Manners {
    Manners { forbidden: filters.iter().map(|&filter| filter.to_owned()).collect(), ..Manners::default() }
}

/// Publishes one message to each topic, and waits until those and no others are stored.
async fn assert_passes(broker: &PickyBroker, client: &Client, topics: &[&str]) {
    let before = client.disk.messages().len();
    topics.iter().for_each(|topic| broker.publish(topic, "x"));
    eventually("the messages are stored", || client.disk.messages().len() >= before + topics.len()).await;
    let stored: Vec<String> = client.disk.messages().into_iter().skip(before).map(|message| message.topic).collect();
    assert_eq!(stored, topics);
}

#[tokio::test]
async fn a_filter_on_which_the_broker_closes_the_connection_is_left_out_and_named_and_the_others_go_on() {
    for version in BOTH {
        let broker = PickyBroker::start(forbidding(&["no/+"])).await;
        let client = client(version, &broker, &["a/+", "no/+", "b/+"]);
        let running = client.start();
        eventually("the culprit is named", || error(&running, "no/+").is_some()).await;
        eventually("the others are subscribed to", || {
            running.status().subscriptions.iter().filter(|known| known.qos_granted == Some(1)).count() == 2
        })
        .await;
        assert_passes(&broker, &client, &["a/1", "b/1"]).await;
        let words = error(&running, "no/+").unwrap();
        assert!(words.contains("ends the connection") && words.contains("access rules"), "{words}");
        assert!(words.contains("asked again in 60 s"), "{words}");
        assert_eq!([granted(&running, "no/+"), granted(&running, "a/+")], [-1, 1]);
        // All three, the others and the culprit last, the culprit again, the others.
        assert_eq!(broker.connections(), 4);
        let last_error = running.status().last_error;
        assert!(last_error.is_none(), "nobody took the session over: {last_error:?}");
        running.finish().await;
    }
}

#[tokio::test]
async fn several_culprits_among_many_filters_are_all_found() {
    for version in BOTH {
        let names: Vec<String> = (0..30).map(|n| format!("f/{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let culprits = ["f/3", "f/4", "f/17", "f/29"];
        let broker = PickyBroker::start(forbidding(&culprits)).await;
        let client = client(version, &broker, &names);
        let running = client.start();
        eventually("all others are subscribed to", || {
            broker.subscriptions().len() == 26
                && running
                    .status()
                    .subscriptions
                    .iter()
                    .all(|known| known.error.is_some() == culprits.contains(&known.filter.as_str()))
        })
        .await;
        assert_passes(&broker, &client, &["f/0", "f/28"]).await;
        running.finish().await;
    }
}

#[tokio::test]
async fn a_filter_that_is_left_out_is_asked_for_again_by_itself_and_the_others_are_left_alone() {
    for version in BOTH {
        let broker = PickyBroker::start(forbidding(&["b", "c"])).await;
        let mut client = client(version, &broker, &["a", "b", "c"]);
        // Twice as long is how long a filter is left out at first.
        client.config.retry.max = Duration::from_millis(100);
        let running = client.start();
        eventually("they are asked for again", || {
            let asked = broker.asked();
            let settled = asked.iter().rposition(|filters| filters == &["a"]).unwrap_or(asked.len());
            asked[settled..].iter().filter(|filters| **filters != ["a"]).count() >= 4
        })
        .await;
        broker.change(|manners| manners.forbidden.clear());
        eventually("all are granted", || ["a", "b", "c"].iter().all(|filter| granted(&running, filter) == 1)).await;
        assert!(["b", "c"].iter().all(|filter| error(&running, filter).is_none()));
        assert_passes(&broker, &client, &["a", "b", "c"]).await;
        running.finish().await;
    }
}

#[tokio::test]
async fn what_one_broker_will_not_have_is_asked_of_the_next() {
    for version in BOTH {
        let (first, second) =
            (PickyBroker::start(forbidding(&["b"])).await, PickyBroker::start(Manners::default()).await);
        let mut client = client(version, &first, &["a", "b"]);
        client.config.urls = [&first, &second].map(|broker| url(Scheme::Mqtt, broker.port())).to_vec();
        let running = client.start();
        eventually("the culprit is left out", || {
            error(&running, "b").is_some() && granted(&running, "a") == 1 && running.status().connected
        })
        .await;
        drop(first);
        eventually("the second is asked for both", || second.subscriptions() == ["a", "b"]).await;
        assert_passes(&second, &client, &["a", "b"]).await;
        assert_eq!(second.connections(), 1);
        running.finish().await;
    }
}

#[tokio::test]
async fn a_broker_that_says_why_it_ends_the_connection_is_asked_once_only() {
    let broker = PickyBroker::start(Manners { refusal: Refusal::Disconnects(0x87), ..forbidding(&["no/+"]) }).await;
    let client = client(Version::V5, &broker, &["a/+", "no/+"]);
    let running = client.start();
    eventually("the culprit is named", || error(&running, "no/+").is_some()).await;
    assert!(error(&running, "no/+").unwrap().contains("not authorised"));
    assert_passes(&broker, &client, &["a/1"]).await;
    assert_eq!(broker.connections(), 3);
    running.finish().await;
}

#[tokio::test]
async fn the_only_filter_is_asked_for_on_every_connection() {
    for version in BOTH {
        let broker = PickyBroker::start(forbidding(&["no/+"])).await;
        let client = client(version, &broker, &["no/+"]);
        let running = client.start();
        eventually("the culprit is named", || error(&running, "no/+").is_some()).await;
        assert!(error(&running, "no/+").unwrap().contains("on every connection"));
        broker.change(|manners| manners.forbidden.clear());
        eventually("it is subscribed to", || error(&running, "no/+").is_none() && granted(&running, "no/+") == 1).await;
        assert_passes(&broker, &client, &["no/1"]).await;
        running.finish().await;
    }
}

#[tokio::test]
async fn rules_under_a_filter_that_the_broker_will_not_have_are_subscribed_to_by_themselves() {
    for version in BOTH {
        for refusal in [Refusal::Closes, Refusal::Answers(0x80)] {
            let broker = PickyBroker::start(Manners { refusal, ..forbidding(&["#"]) }).await;
            let client = client(version, &broker, &["#", "a/+", "a/b"]);
            let running = client.start();
            eventually("the rest is subscribed to", || broker.subscriptions() == ["a/+"]).await;
            eventually("the refusal is shown", || error(&running, "#").is_some()).await;
            assert_passes(&broker, &client, &["a/b", "a/c"]).await;
            running.finish().await;
        }
    }
}

#[tokio::test]
async fn a_filter_that_is_left_out_stays_named_while_one_that_covers_it_is_tried_again() {
    let broker = PickyBroker::start(forbidding(&["#", "no/+"])).await;
    let mut client = client(Version::V3, &broker, &["#", "no/+", "a"]);
    client.config.retry.max = Duration::from_millis(100);
    let running = client.start();
    eventually("both are named", || ["#", "no/+"].iter().all(|filter| error(&running, filter).is_some())).await;
    let tries = broker.asked().iter().filter(|filters| **filters == ["#"]).count();
    eventually("the wider one is tried again", || {
        broker.asked().iter().filter(|filters| **filters == ["#"]).count() >= tries + 2
    })
    .await;
    eventually("both are still named", || {
        ["#", "no/+"].iter().all(|filter| error(&running, filter).is_some() && granted(&running, filter) == -1)
    })
    .await;
    running.finish().await;
}

#[tokio::test]
async fn what_connack_says_is_not_there_is_not_asked_for() {
    let cases = [
        (Feature::Wildcards, "a/+", "wildcards"),
        (Feature::SharedSubscriptions, "$share/g/a", "shared subscriptions"),
    ];
    for (feature, filter, words) in cases {
        let broker = PickyBroker::start(Manners { lacks: vec![feature], ..Manners::default() }).await;
        let client = client(Version::V5, &broker, &["b", filter]);
        let running = client.start();
        eventually("the other is subscribed to", || broker.subscriptions() == ["b"]).await;
        assert_passes(&broker, &client, &["b"]).await;
        let told = error(&running, filter).unwrap();
        assert!(told.contains(words), "{told}");
        assert_eq!([granted(&running, filter), granted(&running, "b")], [-1, 1]);
        assert_eq!((broker.connections(), broker.asked()), (1, vec![vec!["b".to_owned()]]));
        running.finish().await;
    }
}

#[tokio::test]
async fn no_packet_is_longer_than_the_broker_takes_whether_it_says_so_or_not() {
    for version in BOTH {
        let names: Vec<String> = (0..8).map(|n| format!("a/long/filter/{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let broker = PickyBroker::start(Manners { packet_bytes_max: Some(50), ..Manners::default() }).await;
        let client = client(version, &broker, &names);
        let running = client.start();
        eventually("all are subscribed to", || broker.subscriptions() == names).await;
        assert_passes(&broker, &client, &["a/long/filter/7"]).await;
        // 3.1.1 has no way to say it: the broker ends the first connection.
        assert_eq!(broker.connections(), if version == Version::V5 { 1 } else { 2 });
        running.finish().await;
    }
}

#[tokio::test]
async fn a_broker_that_answers_for_one_filter_of_several_is_asked_for_one_at_a_time() {
    for version in BOTH {
        let broker = PickyBroker::start(Manners { answers_once: true, ..Manners::default() }).await;
        let client = client(version, &broker, &["a", "b", "c"]);
        let running = client.start();
        eventually("all are granted", || ["a", "b", "c"].iter().all(|filter| granted(&running, filter) == 1)).await;
        assert_passes(&broker, &client, &["a", "b", "c"]).await;
        running.finish().await;
    }
}

#[tokio::test]
async fn a_message_that_two_filters_match_is_stored_once_where_no_identifiers_tell_the_copies_apart() {
    let without = Manners { copies: Copies::Each, lacks: vec![Feature::Identifiers], ..Manners::default() };
    for (version, manners) in [(Version::V3, Manners { lacks: vec![], ..without.clone() }), (Version::V5, without)] {
        let broker = PickyBroker::start(manners).await;
        let client = client(version, &broker, &["ov/+/x", "ov/k/+", "apart"]);
        let running = client.start();
        eventually("one filter covers both", || broker.subscriptions() == ["apart", "ov/+/+"]).await;
        broker.publish("ov/1/unwanted", "x");
        assert_passes(&broker, &client, &["ov/k/x", "ov/1/x", "ov/k/1", "apart"]).await;
        assert_eq!(running.metrics.messages_unwanted.get(), 1);
        running.finish().await;
    }
}

#[tokio::test]
async fn copies_that_all_have_the_same_identifiers_are_noticed_and_from_then_on_a_message_comes_once() {
    let broker = PickyBroker::start(Manners { copies: Copies::EachWithAll, ..Manners::default() }).await;
    let client = client(Version::V5, &broker, &["ov/+/x", "ov/k/+"]);
    let running = client.start();
    eventually("both are subscribed to", || broker.subscriptions() == ["ov/+/x", "ov/k/+"]).await;
    broker.publish("ov/k/x", "first");
    eventually("one filter covers both", || broker.subscriptions() == ["ov/+/+"]).await;
    assert_eq!(client.disk.messages().len(), 2, "the first message was two");
    assert_passes(&broker, &client, &["ov/k/x", "ov/1/x"]).await;
    eventually("the subscriptions are on the disk", || client.is_confirmed()).await;
    running.finish().await;

    // Known to the next process as well.
    let running = client.start();
    eventually("it connects", || running.status().connected).await;
    assert_passes(&broker, &client, &["ov/k/x"]).await;
    assert_eq!(broker.subscriptions(), ["ov/+/+"]);
    running.finish().await;
}

#[tokio::test]
async fn one_copy_with_all_identifiers_and_copies_with_one_each_leave_the_filters_as_they_are() {
    for (copies, count) in [(Copies::One, 1), (Copies::Each, 2)] {
        let broker = PickyBroker::start(Manners { copies, ..Manners::default() }).await;
        let client = client(Version::V5, &broker, &["ov/+/x", "ov/k/+"]);
        let running = client.start();
        eventually("both are subscribed to", || broker.subscriptions() == ["ov/+/x", "ov/k/+"]).await;
        for n in 1..=3 {
            broker.publish("ov/k/x", &n.to_string());
            eventually("it is stored", || client.disk.messages().len() == n * count).await;
        }
        let identifiers: usize = client.disk.messages().iter().map(|message| message.subscription_ids.len()).sum();
        assert_eq!(identifiers, 6, "each rule takes one copy of each message");
        assert_eq!(broker.subscriptions(), ["ov/+/x", "ov/k/+"]);
        running.finish().await;
    }
}

#[tokio::test]
async fn where_the_broker_refuses_one_of_two_filters_the_copies_of_the_other_stand_in() {
    for refusal in [Refusal::Closes, Refusal::Answers(0x87)] {
        let manners = Manners { refusal, copies: Copies::Each, ..forbidding(&["ov/+/x"]) };
        let broker = PickyBroker::start(manners).await;
        let client = client(Version::V5, &broker, &["ov/+/x", "ov/k/+"]);
        let ids = || client.disk.messages().iter().map(|message| message.subscription_ids.clone()).collect::<Vec<_>>();
        // The next process does not know what the broker refused, but what it granted.
        for count in 1..=2 {
            let running = client.start();
            eventually("one is refused", || {
                running.status().subscriptions.iter().any(|known| known.filter == "ov/+/x" && known.error.is_some())
            })
            .await;
            eventually("one is granted", || broker.subscriptions() == ["ov/k/+"] && client.is_confirmed()).await;
            broker.publish("ov/k/x", "both");
            eventually("it is stored", || client.disk.messages().len() == 2 * count - 1).await;
            broker.publish("ov/k/1", "one");
            eventually("it is stored", || client.disk.messages().len() == 2 * count).await;
            running.finish().await;
        }
        assert_eq!(ids(), [vec![2, 1], vec![2], vec![2, 1], vec![2]], "{refusal:?}");
        broker.publish("ov/k/x", "while nobody is connected");
        broker.change(|manners| manners.forbidden.clear());
        let running = client.start();
        eventually("both are granted", || broker.subscriptions() == ["ov/+/x", "ov/k/+"]).await;
        eventually("it is stored", || !client.disk.messages()[4..].is_empty()).await;
        let before = client.disk.messages().len();
        broker.publish("ov/k/x", "once each");
        eventually("it is stored", || client.disk.messages().len() == before + 2).await;
        assert!(ids()[4..before].iter().any(|ids| ids.contains(&1)), "{:?}", ids());
        let mut last = ids()[before..].to_vec();
        last.sort();
        assert_eq!(last, [[1], [2]], "{refusal:?}");
        running.finish().await;
    }
}

#[tokio::test]
async fn where_the_broker_refuses_the_wider_filter_the_rules_own_are_subscribed_to() {
    for refusal in [Refusal::Closes, Refusal::Answers(0x80)] {
        let broker = PickyBroker::start(Manners { refusal, ..forbidding(&["ov/+/+"]) }).await;
        let client = client(Version::V3, &broker, &["ov/+/x", "ov/k/+"]);
        let running = client.start();
        eventually("both are subscribed to", || broker.subscriptions() == ["ov/+/x", "ov/k/+"]).await;
        assert_passes(&broker, &client, &["ov/1/x", "ov/k/1"]).await;
        eventually("both are shown", || {
            let filters = running.status().subscriptions.into_iter().map(|known| (known.filter, known.qos_granted));
            filters.collect::<Vec<_>>() == [("ov/+/x".to_owned(), Some(1)), ("ov/k/+".to_owned(), Some(1))]
        })
        .await;
        running.finish().await;
    }
}
