//! A relay that makes a registry on this machine as far away as one on the network.
//!
//! Every piece of data is passed on a fixed time after it came. The pieces wait in a queue, so that the relay takes
//! time from what is asked one after the other, and neither throughput nor what is asked side by side.
//! Opening a connection takes no time: the relay accepts before it asks.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How long a piece takes in one direction. There and back are 50 ms, as from a runner to a registry of another region.
const DELAY: Duration = Duration::from_millis(25);
/// How much is read at once.
const PIECE: usize = 64 * 1024;

/// Starts a relay to an address, and gives its own. It runs until this process ends.
///
/// # Errors
/// No port is free.
pub fn start(upstream: String) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("the relay found no free port")?;
    let address = listener.local_addr().context("the relay has no address")?.to_string();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A registry that is gone shows at the client as a closed connection.
            let _ = connect(client, &upstream);
        }
    });
    Ok(address)
}

/// Relays one connection, each direction by a thread that reads and one that writes.
fn connect(client: TcpStream, upstream: &str) -> std::io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    // The delay is ours alone: the kernel is not to hold back small pieces.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        let (sender, pieces) = channel();
        std::thread::spawn(move || write_late(&pieces, to));
        std::thread::spawn(move || {
            let mut from = from;
            let mut buffer = vec![0; PIECE];
            // An error ends a connection as its end does.
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                if sender.send((Instant::now() + DELAY, buffer[..length].to_vec())).is_err() {
                    return;
                }
            }
            // Nothing more to write, once that much time has passed.
            let _ = sender.send((Instant::now() + DELAY, Vec::new()));
        });
    }
    Ok(())
}

/// Writes each piece when its time has come.
fn write_late(pieces: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, piece) in pieces {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if piece.is_empty() || to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
