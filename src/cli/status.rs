//! `rowbridge status`: what the running bridge says of itself. Exit code 1 when it does not answer, so that it serves as
//! a container's health check too.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{EXIT_FAILED, EXIT_USAGE, Layers, http};
use crate::config::{Http, Needs};

/// How often `--watch` looks again.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print the JSON of GET /status
    #[arg(long)]
    json: bool,
    /// Print again every two seconds, until ctrl-C
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(layers: &Layers, arguments: &StatusArgs) -> ExitCode {
    let config = match layers.load(Needs::only(&["http"])) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let Http::Listen(address) = config.http else {
        eprintln!("rowbridge status: http is off in the configuration; set http.listen to ask a running bridge");
        return ExitCode::from(EXIT_USAGE);
    };
    loop {
        let body = match http::get(address, &config.http_access, "/status") {
            Ok((200, body)) => body,
            Ok((code, _)) => return unreachable_bridge(&format!("http://{address}/status answered {code}")),
            Err(error) => return unreachable_bridge(&format!("http://{address}/status: {error}")),
        };
        if arguments.json {
            say!("{body}");
        } else {
            match serde_json::from_str(&body) {
                Ok(status) => print_status(&status),
                Err(error) => return unreachable_bridge(&format!("http://{address}/status is not JSON: {error}")),
            }
        }
        if !arguments.watch {
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

fn unreachable_bridge(why: &str) -> ExitCode {
    eprintln!("rowbridge status: no running bridge: {why}; is it started, and with this configuration?");
    ExitCode::from(EXIT_FAILED)
}

fn print_status(status: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    say!(
        "bridge {} {}, up {} s, unmatched {}",
        text(&status["bridge"]),
        text(&status["version"]),
        status["uptime_seconds"],
        status["unmatched"]
    );
    let mqtt = &status["mqtt"];
    let state = if mqtt["connected"] == true { "connected" } else { "NOT connected" };
    say!("broker {state} {}; sessions lost {}", text(&mqtt["url"]), mqtt["sessions_lost"]);
    if !mqtt["last_error"].is_null() {
        say!("  last error: {}", text(&mqtt["last_error"]));
    }
    for subscription in mqtt["subscriptions"].as_array().into_iter().flatten() {
        let error = if subscription["error"].is_null() { String::new() } else { text(&subscription["error"]) };
        let (asked, granted) = (&subscription["qos_asked"], &subscription["qos_granted"]);
        say!("  {}  QoS asked {asked}, granted {granted} {error}", text(&subscription["filter"]));
    }
    let journal = &status["journal"];
    let paused = if journal["paused"] == true { ", PAUSED" } else { "" };
    say!(
        "journal messages {} to {}, {} of {} bytes{paused}; lost {}",
        journal["oldest_seq"],
        journal["next_seq"],
        journal["bytes"],
        journal["max_bytes"],
        journal["lost"]
    );
    for (name, database) in status["databases"].as_object().into_iter().flatten() {
        let state = match (database["held"].is_object(), database["connected"] == true) {
            (true, _) => "held",
            (false, true) => "connected",
            (false, false) => "NOT connected",
        };
        let swallowed = match database["rows_swallowed"].as_u64() {
            None | Some(0) => String::new(),
            Some(rows) => format!("; tables swallowed {rows} rows"),
        };
        say!(
            "database {name} {state}, pending {}, oldest {:.1} s{swallowed}",
            database["pending"],
            database["oldest_pending_seconds"].as_f64().unwrap_or(0.0)
        );
        for parked in database["parked"].as_array().into_iter().flatten() {
            say!(
                "  PARKED: {} messages of rule {} since {}, until table {} is mended: {}",
                parked["messages"],
                text(&parked["rule"]),
                text(&parked["since"]),
                text(&parked["table"]),
                text(&parked["reason"])
            );
        }
        if let Some(held) = database["held"].as_object() {
            say!("  HELD: {}", text(&held["reason"]));
            say!("  mend: {}", text(&held["mend"]));
        } else if !database["last_error"].is_null() {
            say!("  last error: {}", text(&database["last_error"]));
        }
    }
    for rule in status["rules"].as_array().into_iter().flatten() {
        let swallowed = match rule["rows_swallowed"].as_u64() {
            None | Some(0) => String::new(),
            Some(rows) => format!(", {rows} swallowed by the table"),
        };
        say!(
            "rule {} → {}: matched {}, written {} ({} rows{}), filtered {}, dead letters {}, dropped {}",
            text(&rule["rule"]),
            text(&rule["database"]),
            rule["matched"],
            rule["written"],
            rule["rows"],
            swallowed,
            rule["filtered"],
            rule["dead_lettered"],
            rule["dropped"]
        );
    }
}
