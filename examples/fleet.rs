//! A fleet of simulated devices that publish sensor readings over real MQTT, one connection per device.
//!
//! ```text
//! cargo run --release --example fleet -- --broker mqtt://localhost:1883 --devices 20 --rate 200
//! ```
//!
//! Device 7 publishes `{"reading":12,"temperature":21.4,"humidity":48.2,"pressure":1013.1}` on
//! `demo/west/device-07/telemetry`, with QoS 1. `reading` counts from 1 in every device, so that a reader of the table can
//! tell what is missing and what came twice. SIGINT or SIGTERM ends it: it stops publishing, waits for the broker's
//! acknowledgements and prints `acknowledged A of P`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval_at, sleep, timeout};
use url::Url;

/// How long the end waits for the broker's last acknowledgements.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Pause before a device whose connection failed tries again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Readings a device may hold while the broker is slow; past it the device waits, as a small device would.
const QUEUED_READINGS_MAX: usize = 100;
const SITES: [&str; 4] = ["north", "east", "south", "west"];

/// Publishes readings of simulated devices.
#[derive(Parser)]
struct Arguments {
    /// `mqtt://[user:password@]host[:port]`
    #[arg(long, default_value = "mqtt://localhost:1883")]
    broker: Url,
    /// First level of the topics.
    #[arg(long, default_value = "demo")]
    prefix: String,
    /// Devices, each with a connection of its own.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    devices: u32,
    /// Readings per second, of all devices together.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
}

/// What the devices count together.
#[derive(Default)]
struct Fleet {
    published: AtomicU64,
    acknowledged: AtomicU64,
    /// Set by the first failed connection: the same failure of a thousand devices is told once.
    failure_told: AtomicBool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let fleet = Arc::new(Fleet::default());
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;

    let mut publishers = Vec::new();
    for number in 1..=arguments.devices {
        let (client, event_loop) = AsyncClient::new(options(&arguments.broker, number)?, QUEUED_READINGS_MAX);
        tokio::spawn(keep_connected(event_loop, Arc::clone(&fleet)));
        publishers.push(tokio::spawn(publish_readings(client, Device::new(number, &arguments), Arc::clone(&fleet))));
    }

    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    for publisher in &publishers {
        publisher.abort();
    }
    // When the time is up the count below says what is missing.
    let _ = timeout(DRAIN_MAX, fleet.all_acknowledged()).await;
    let (acknowledged, published) = fleet.counts();
    println!("acknowledged {acknowledged} of {published}");
    Ok(())
}

impl Fleet {
    fn counts(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::Relaxed), self.published.load(Ordering::Relaxed))
    }

    async fn all_acknowledged(&self) {
        while matches!(self.counts(), (acknowledged, published) if acknowledged < published) {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// One device: where it publishes, how often, and the phase of its slow waves.
struct Device {
    topic: String,
    period: Duration,
    first: Instant,
    phase: f64,
}

impl Device {
    fn new(number: u32, arguments: &Arguments) -> Device {
        let site = SITES[number as usize % SITES.len()];
        let period = Duration::from_secs(1) * arguments.devices / arguments.rate;
        Device {
            topic: format!("{}/{site}/device-{number:02}/telemetry", arguments.prefix),
            period,
            // Spread over the period, so that the fleet is a stream and not a burst.
            first: Instant::now() + period * number / arguments.devices,
            phase: f64::from(number),
        }
    }

    /// A slow wave for the day, a quick one for the weather; no randomness is needed to look alive.
    fn reading(&self, count: u32) -> String {
        let slow = (f64::from(count) / 300.0 + self.phase).sin();
        let quick = (f64::from(count) / 7.0 + self.phase * 3.0).sin();
        let temperature = 21.0 + 4.0 * slow + 0.3 * quick;
        let humidity = 48.0 - 9.0 * slow + 0.8 * quick;
        let pressure = 1013.0 + 6.0 * (self.phase + slow / 2.0).cos();
        format!(
            r#"{{"reading":{count},"temperature":{temperature:.1},"humidity":{humidity:.1},"pressure":{pressure:.1}}}"#
        )
    }
}

fn options(broker: &Url, number: u32) -> Result<MqttOptions, Box<dyn Error>> {
    let host = broker.host_str().filter(|_| broker.scheme() == "mqtt");
    let host = host.ok_or("--broker: this fleet speaks plain MQTT only, give mqtt://host or mqtt://host:port")?;
    let client_id = format!("fleet-{}-{number:02}", std::process::id());
    let mut options = MqttOptions::new(client_id, host, broker.port().unwrap_or(1883));
    options.set_keep_alive(Duration::from_secs(30));
    if !broker.username().is_empty() {
        options.set_credentials(broker.username(), broker.password().unwrap_or_default());
    }
    Ok(options)
}

/// Counts the broker's acknowledgements and connects again whenever the connection fails.
async fn keep_connected(mut event_loop: EventLoop, fleet: Arc<Fleet>) {
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::PubAck(_))) => {
                fleet.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(error) => {
                if !fleet.failure_told.swap(true, Ordering::Relaxed) {
                    eprintln!("fleet: the broker does not answer, trying again every second: {error}");
                }
                sleep(RECONNECT_PAUSE).await;
            }
        }
    }
}

/// Publishes until it is aborted. The count follows the hand-over with no await between, so both happen or neither.
async fn publish_readings(client: AsyncClient, device: Device, fleet: Arc<Fleet>) {
    let mut ticks = interval_at(device.first, device.period);
    for count in 1.. {
        ticks.tick().await;
        if client.publish(&device.topic, QoS::AtLeastOnce, false, device.reading(count)).await.is_err() {
            return;
        }
        fleet.published.fetch_add(1, Ordering::Relaxed);
    }
}
