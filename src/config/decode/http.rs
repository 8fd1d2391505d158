//! The `http` section.

use std::net::SocketAddr;

use super::secret::secret;
use super::table::Table;
use super::value::Value;
use crate::config::{Http, HttpAccess, SecretSource};

/// Loopback: nothing of the bridge is offered to the network unasked.
const LISTEN: &str = "127.0.0.1:9469";

pub(super) fn decode(root: &Table<'_>) -> (Http, HttpAccess) {
    let Some(value) = root.get("http") else { return section(&root.table("http")) };
    if value.is_scalar() {
        if !matches!(value.as_text().as_deref(), Some("off" | "false" | "no" | "False" | "FALSE" | "Off" | "No")) {
            value.refuse(format!("found {}", value.shown()), "`off`, or a mapping such as { listen: 127.0.0.1:9469 }");
        }
        return (Http::Off, HttpAccess::default());
    }
    let table = value.table();
    let section = section(&table);
    table.finish();
    section
}

fn section(table: &Table<'_>) -> (Http, HttpAccess) {
    let http = listen(table);
    let token = secret(table, "token", "token_file");
    if let (Some(SecretSource::Value(given)), Some(value)) = (&token, table.get("token")) {
        if given.expose().trim().is_empty() {
            // Every client that sends an empty one would be let in.
            value.refuse("it is empty", "a secret text; or leave the key out, if only this machine is to read");
        } else if given.expose().contains(char::is_control) {
            value.refuse("it has a line break or another control character", "a secret that fits into a line");
        } else if given.expose().trim() != given.expose() {
            value.refuse("it begins or ends with a space", "a secret without, because clients do not send it");
        }
    }
    let hosts = table.get("hosts").map(|value| hosts(&value)).unwrap_or_default();
    let allows_all = table.flag("allow_unauthenticated", false);
    let (has_token, has_file) = (table.get("token").is_some(), table.get("token_file").is_some());
    if allows_all && (has_token || has_file) {
        let given = if has_file { "token_file" } else { "token" };
        if let Some(value) = table.get("allow_unauthenticated") {
            value.refuse(format!("`{given}` is given too"), format!("one of `{given}` and `allow_unauthenticated`"));
        }
    }
    let is_open = !allows_all && !has_token && !has_file;
    if let (Http::Listen(address), true, Some(value)) = (http, is_open, table.get("listen"))
        && !address.ip().to_canonical().is_loopback()
    {
        value.refuse(
            format!("found {}, an address that others can reach, and nothing says who may read there", value.shown()),
            "a loopback address such as 127.0.0.1:9469; or beside it `token_file: FILE` (clients then send \
             `Authorization: Bearer TOKEN`), or `allow_unauthenticated: true`",
        );
    }
    (http, HttpAccess { token, hosts })
}

fn listen(table: &Table<'_>) -> Http {
    let value = table.get("listen");
    let text = value.as_ref().and_then(Value::text).unwrap_or_else(|| LISTEN.to_owned());
    // The one name that means the same everywhere.
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.clone(),
    };
    if let Ok(address) = address.parse::<SocketAddr>() {
        return Http::Listen(address);
    }
    if let Some(value) = value {
        let suggestion = match text.strip_prefix(':').unwrap_or(&text).parse::<u16>() {
            Ok(port) => value.quoting(|| format!("127.0.0.1:{port}")),
            Err(_) => None,
        };
        let accepted = "an IP address and port such as 127.0.0.1:9469, 0.0.0.0:9469 or [::1]:9469";
        value.refuse_with(format!("found {}", value.shown()), Some(accepted.to_owned()), suggestion);
    }
    Http::Off
}

/// Names as they stand in a `Host` header, without port.
fn hosts(value: &Value<'_>) -> Vec<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let mut hosts = Vec::new();
    for (host, value) in value.texts() {
        if host.is_empty() || !host.chars().all(is_of_name) {
            value
                .refuse(format!("found {}", value.shown()), "a host name without scheme and port, such as gw1.example");
        }
        hosts.push(host.trim_end_matches('.').to_ascii_lowercase());
    }
    hosts
}
