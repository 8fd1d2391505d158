//! The user name and password of CONNECT, read again for every connection.

use crate::config::{self, Secret, SecretError, SecretSource};

/// What this connection logs in with. Empty parts are not sent.
pub(crate) struct Login {
    pub(crate) username: Secret,
    pub(crate) password: Secret,
}

/// Reads what lies in files, off the session's task. The error names the key, the file and the reason.
pub(crate) async fn read(config: &config::Mqtt) -> Result<Login, String> {
    let read =
        |source: &Option<SecretSource>| source.as_ref().map_or(Ok(Secret::new(String::new())), SecretSource::read);
    let (username, password) = (config.username.clone(), config.password.clone());
    let is_file = |source: &Option<SecretSource>| matches!(source, Some(SecretSource::File(_)));
    let (username, password) = if is_file(&username) || is_file(&password) {
        let reading = tokio::task::spawn_blocking(move || (read(&username), read(&password)));
        reading.await.map_err(|error| format!("reading mqtt.password_file failed: {error}"))?
    } else {
        (read(&username), read(&password))
    };
    let failed = |error: SecretError| format!("mqtt.{} {error}; it is read again at the next attempt", error.key);
    Ok(Login { username: username.map_err(failed)?, password: password.map_err(failed)? })
}
