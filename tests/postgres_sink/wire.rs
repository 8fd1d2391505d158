//! A wire between sink and server that is slow, or that breaks around COMMIT.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// When the wire breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Break {
    Never,
    /// COMMIT does not reach the server.
    BeforeCommit,
    /// COMMIT is applied, its answer does not come back.
    AfterCommit,
}

/// Relays connections until dropped.
pub(super) struct Wire {
    port: u16,
    breaks: Arc<Mutex<Break>>,
    _tasks: JoinSet<()>,
}

impl Wire {
    /// To the server's port; every byte takes `delay` in each direction.
    pub(super) async fn to(server_port: u16, delay: Duration) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let breaks = Arc::new(Mutex::new(Break::Never));
        let mut tasks = JoinSet::new();
        let for_connections = Arc::clone(&breaks);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server_port)).await.unwrap();
                connections.spawn(relay(client, server, delay, Arc::clone(&for_connections)));
            }
        });
        Wire { port, breaks, _tasks: tasks }
    }

    /// Breaks the next connection that commits.
    pub(super) fn break_at(&self, when: Break) {
        *self.breaks.lock().unwrap() = when;
    }

    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

async fn relay(client: TcpStream, server: TcpStream, delay: Duration, breaks: Arc<Mutex<Break>>) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whichever direction ends first ends both.
    tokio::select! {
        () = carry(from_client, to_server, delay, Some(breaks)) => {}
        () = carry(from_server, to_client, delay, None) => {}
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
    breaks: Option<Arc<Mutex<Break>>>,
) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            sender.send((Instant::now() + delay, buffer[..length].to_vec())).unwrap();
        }
        // Keeps the other direction alive until what is under way has arrived.
        tokio::time::sleep(delay).await;
    };
    let writing = async {
        while let Some((due, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            let commits = bytes.windows(8).any(|window| window == b"; COMMIT");
            let when = breaks.as_ref().map_or(Break::Never, |breaks| *breaks.lock().unwrap());
            if commits && when == Break::BeforeCommit {
                return;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
            if commits && when == Break::AfterCommit {
                // The answer would come within this time; the direction back is cut with this one.
                return;
            }
        }
    };
    tokio::select! { () = reading => {}, () = writing => {} }
}
