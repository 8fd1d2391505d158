//! The least HTTP/1.1 client that can read the bridge's endpoints, and its metrics.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// An answer, with its header lines in lower case.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

/// GET from 127.0.0.1, one connection each.
pub(crate) fn get(port: u16, path: &str) -> io::Result<Response> {
    ask(port, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"))
}

/// A request as it is written, on a connection of its own that the bridge closes.
pub(crate) fn ask(port: u16, request: &str) -> io::Result<Response> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer");
    let (headers, body) = text.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = headers.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    Ok(Response { status, headers: headers.to_ascii_lowercase(), body: body.to_owned() })
}

/// A scrape of `/metrics`.
pub(crate) struct Scrape(String);

impl Scrape {
    pub(crate) fn new(text: String) -> Scrape {
        Scrape(text)
    }

    /// The sample of that name whose labels include all those given; `None` if there is none.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.samples().find_map(|(sample, sample_labels, value)| {
            let fits = |(key, value): &(&str, &str)| sample_labels.contains(&format!("{key}=\"{value}\""));
            (sample == name && labels.iter().all(fits)).then_some(value)
        })
    }

    /// The sum of all samples of that name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.samples().filter(|(sample, _, _)| *sample == name).map(|(_, _, value)| value).sum()
    }

    fn samples(&self) -> impl Iterator<Item = (&str, &str, f64)> {
        self.0.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            Some((name, labels, value.parse().ok()?))
        })
    }
}
