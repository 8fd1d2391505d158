//! A longer way to the database: a TCP proxy that hands every byte on a fixed time after it came.
//!
//! A delay line, not a toll gate: what is under way does not hold up what follows, so only the round trip changes and
//! not the bandwidth, up to [`CHUNKS_MAX`] reads under way in each direction.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::bench::Result;

const CHUNK_BYTES: usize = 64 * 1024;
/// 128 MiB: more than a second of what a database takes.
const CHUNKS_MAX: usize = 2_048;

/// Begins to take connections to `target` on 127.0.0.1, until this process ends, and returns its port. Half of
/// `round_trip` lies on each direction.
pub(crate) fn delayed(target: u16, round_trip: Duration) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A server that is away refuses: so does the proxy.
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else { continue };
            let ends = (client.try_clone(), server.try_clone());
            if let (Ok(client_reads), Ok(server_reads)) = ends {
                line(client_reads, server, round_trip / 2);
                line(server_reads, client, round_trip / 2);
            }
        }
    });
    Ok(port)
}

fn line(from: TcpStream, to: TcpStream, delay: Duration) {
    let (enter, leave) = sync_channel(CHUNKS_MAX);
    std::thread::spawn(move || take(from, &enter));
    std::thread::spawn(move || release(to, &leave, delay));
}

fn take(mut from: TcpStream, enter: &SyncSender<(Instant, Vec<u8>)>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(len @ 1..) = from.read(&mut chunk) {
        if enter.send((Instant::now(), chunk[..len].to_vec())).is_err() {
            break;
        }
    }
}

fn release(mut to: TcpStream, leave: &Receiver<(Instant, Vec<u8>)>, delay: Duration) {
    // Without it the kernel may hold back a small write until the last one is acknowledged.
    let _ = to.set_nodelay(true);
    for (entered, bytes) in leave {
        std::thread::sleep((entered + delay).saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
