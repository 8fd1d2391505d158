//! Access control of HTTP, and the headers of every answer.
//!
//! A page of any site can make its visitor's browser send requests to 127.0.0.1. With DNS rebinding the page could read
//! the answer: its owner first points the page's host name at another server, then at loopback. The `Host` header shows
//! such a foreign name, so requests that carry one are refused.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::time::Instant;

use crate::config::{HttpAccess, SecretSource};

/// Bytes of path and query. No path of ours is near it.
const TARGET_BYTES_MAX: usize = 2 << 10;

/// Probes of orchestrators and load balancers have no token.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// A token that cannot be read is logged once in this time.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// For answers that are no page.
const NOTHING_RUNS: &str = "default-src 'none'; frame-ancestors 'none'";

/// Whose requests are answered.
pub struct Access {
    listen: IpAddr,
    hosts: Vec<String>,
    token: Option<SecretSource>,
    told: Mutex<Option<Instant>>,
}

/// The token of a request that needs one.
struct GivenToken(Option<Vec<u8>>);

/// A request that is not answered, and why.
type Refusal = (StatusCode, String);

impl Access {
    /// To a server that listens on `address`.
    pub fn new(address: SocketAddr, access: HttpAccess) -> Access {
        Access { listen: address.ip().to_canonical(), hosts: access.hosts, token: access.token, told: Mutex::new(None) }
    }

    /// What can be said at once. `Some` if a token is needed, with the one that was sent.
    fn check(&self, request: &Request) -> Result<Option<GivenToken>, Refusal> {
        if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > TARGET_BYTES_MAX) {
            return Err((StatusCode::URI_TOO_LONG, "the address of the request is too long\n".to_owned()));
        }
        self.check_host(request)?;
        if self.token.is_none() || OPEN_PATHS.contains(&request.uri().path()) {
            return Ok(None);
        }
        Ok(Some(GivenToken(request.headers().get(header::AUTHORIZATION).and_then(given_token))))
    }

    fn check_host(&self, request: &Request) -> Result<(), Refusal> {
        let bad = |why: &str| Err((StatusCode::BAD_REQUEST, format!("{why}\n")));
        let mut named = request.headers().get_all(header::HOST).iter();
        let host = match (named.next(), named.next()) {
            (None, _) if request.version() == Version::HTTP_11 => return bad("the request has no Host header"),
            // No browser leaves it out.
            (None, _) => None,
            (Some(_), Some(_)) => return bad("the request has two Host headers"),
            (Some(host), None) => match host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) {
                Some(host) => Some(host),
                None => return bad("the Host header is no host name"),
            },
        };
        for authority in request.uri().authority().into_iter().chain(&host) {
            if !self.is_ours(authority.host()) {
                let host = authority.host();
                let why = format!(
                    "this bridge does not answer under the name {host}: use its address, or add the name to \
                     http.hosts in bridge.yaml\n"
                );
                return Err((StatusCode::MISDIRECTED_REQUEST, why));
            }
        }
        Ok(())
    }

    /// Whether a name in an address means this bridge. An IP address as such cannot be rebound; on loopback there is still
    /// no reason to be asked by another one.
    fn is_ours(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        match address.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback() || !self.listen.is_loopback(),
            Err(_) => host == "localhost" || self.hosts.contains(&host),
        }
    }

    async fn check_token(&self, given: GivenToken) -> Result<(), Refusal> {
        let needed = "this needs the token of http.token_file in bridge.yaml: send `Authorization: Bearer TOKEN`, or in a \
                      browser the token as password, with any user name\n";
        let unauthorized = || Err((StatusCode::UNAUTHORIZED, needed.to_owned()));
        let (Some(source), GivenToken(Some(given))) = (self.token.clone(), given) else { return unauthorized() };
        // A file is read each time: a new token holds at once. The event loop waits for no disk.
        match tokio::task::spawn_blocking(move || source.read()).await {
            Ok(Ok(token)) if is_same(token.expose().as_bytes(), &given) => Ok(()),
            Ok(Ok(_)) => unauthorized(),
            Ok(Err(error)) => {
                self.tell(&error);
                Err((StatusCode::SERVICE_UNAVAILABLE, "the bridge cannot read its token: see its log\n".to_owned()))
            }
            Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, "the bridge stops\n".to_owned())),
        }
    }

    fn tell(&self, error: &crate::config::SecretError) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(%error, "http: no request is answered: the token cannot be read");
        }
    }
}

/// Answers what may be answered, and gives every answer the headers that keep browsers from making anything else of it.
pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let checked = access.check(&request);
    let allowed = match checked {
        Ok(Some(given)) => access.check_token(given).await,
        Ok(None) => Ok(()),
        Err(refusal) => Err(refusal),
    };
    let mut response = match allowed {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    if is_unauthorized {
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rowbridge\""));
        // So that a browser asks for it.
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"rowbridge\""));
    }
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, NOTHING_RUNS);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CACHE_CONTROL, "no-store");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    response
}

/// The token in an `Authorization` header: of a program, or as the password that a browser asked for.
fn given_token(value: &HeaderValue) -> Option<Vec<u8>> {
    // A token need not be ASCII.
    let bytes = value.as_bytes();
    let (scheme, rest) = bytes.split_at(bytes.iter().position(|&byte| byte == b' ')?);
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(rest.to_vec());
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = BASE64_STANDARD.decode(rest).ok()?;
    let colon = pair.iter().position(|&byte| byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

/// Takes the same time for every wrong token of the right length, so the time does not reveal how much of it was right.
fn is_same(ours: &[u8], given: &[u8]) -> bool {
    ours.len() == given.len() && ours.iter().zip(given).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(listen: &str) -> Access {
        Access::new(listen.parse().unwrap(), HttpAccess { token: None, hosts: vec!["gw1.example".to_owned()] })
    }

    #[test]
    fn only_names_that_cannot_be_rebound_are_ours() {
        for host in ["localhost", "LocalHost.", "127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]", "GW1.example"]
        {
            assert!(access("127.0.0.1:80").is_ours(host), "{host}");
            assert!(access("0.0.0.0:80").is_ours(host), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "gw2.example", "", "0x7f000001"]
        {
            assert!(!access("127.0.0.1:80").is_ours(host), "{host}");
            assert!(!access("0.0.0.0:80").is_ours(host), "{host}");
        }
        for host in ["192.168.1.5", "[fd00::1]"] {
            assert!(!access("[::1]:80").is_ours(host) && access("[::]:80").is_ours(host), "{host}");
        }
    }

    #[test]
    fn a_token_is_taken_from_a_program_and_from_a_browser() {
        let given = |value: &str| given_token(&HeaderValue::from_str(value).unwrap());
        assert_eq!(given("Bearer abc").as_deref(), Some(&b"abc"[..]));
        assert_eq!(given("bearer  abc").as_deref(), Some(&b"abc"[..]));
        assert_eq!(given("Basic YW55Om9uZTphYmM=").as_deref(), Some(&b"one:abc"[..]), "any:one:abc");
        for nothing in ["abc", "Digest abc", "Basic ***", "Basic YWJj"] {
            assert_eq!(given(nothing), None, "{nothing}");
        }
        let other = HeaderValue::from_bytes("Bearer schlüssel".as_bytes()).unwrap();
        assert_eq!(given_token(&other).as_deref(), Some("schlüssel".as_bytes()));
        assert!(is_same(b"abc", b"abc"));
        for wrong in [&b""[..], b"ab", b"abcd", b"abd"] {
            assert!(!is_same(b"abc", wrong));
        }
    }
}
