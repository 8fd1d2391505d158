//! Addresses in texts for people: always without credentials.

use std::fmt;

use tokio_postgres::config::Host;

use super::{MqttUrl, PostgresUrl, Scheme};

impl MqttUrl {
    /// The whole URL, for the WebSocket handshake alone: its query may hold a token.
    pub fn expose(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    fn origin(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Mqtt => "mqtt",
            Scheme::Mqtts => "mqtts",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

impl fmt::Display for MqttUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, query) = self.path.split_once('?').map_or((self.path.as_str(), ""), |(path, _)| (path, "?…"));
        write!(f, "{}{path}{query}", self.origin())
    }
}

impl fmt::Display for PostgresUrl {
    /// `host:port,host:port/dbname`. Not the user: who forgets a colon has written a password there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match host {
                Host::Tcp(host) => write!(f, "{comma}{host}")?,
                Host::Unix(path) => write!(f, "{comma}{}", path.display())?,
            }
            let ports = self.config.get_ports();
            if let Some(port) = ports.get(index).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresUrl")
            .field("at", &self.to_string())
            .field("password", &self.password)
            .field("passfile", &self.passfile)
            .field("ssl_mode", &self.ssl_mode)
            .field("tls", &self.tls)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_path_is_not_shown() {
        let path = "/mqtt?token=geheim".to_owned();
        let url = MqttUrl { scheme: Scheme::Wss, host: "::1".to_owned(), port: 443, path };
        assert_eq!(url.to_string(), "wss://[::1]:443/mqtt?…");
        assert_eq!(url.expose(), "wss://[::1]:443/mqtt?token=geheim");
    }
}
