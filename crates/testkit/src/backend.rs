//! A service in the test's own process: it says back what it was sent, and one of its addresses falls ill and gets
//! well all the time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Serves on all of 127.0.0.0/8 until the test's process ends.
///
/// An answer's body is the request's path, a line feed and the request's body; after an upgrade every byte comes back
/// as it was. `GET /health` is answered 200, but at 127.0.0.2 only every other time, and 503 in between.
#[derive(Debug)]
pub struct Backend {
    port: u16,
    checks: Arc<AtomicU64>,
}

/// What was read of a head.
#[derive(Default)]
struct Head {
    path: String,
    length: Option<u64>,
    upgrade: bool,
}

impl Backend {
    /// Begins.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = listener.local_addr()?.port();
        let checks = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&checks);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let checks = Arc::clone(&counted);
                thread::spawn(move || serve(stream, &checks));
            }
        });
        Ok(Self { port, checks })
    }

    /// One of its addresses, 127.0.0.`last`.
    pub fn member(&self, last: u8) -> SocketAddr {
        SocketAddr::new(IpAddr::from([127, 0, 0, last]), self.port)
    }

    /// How often the one that falls ill was asked for its health.
    pub fn checks(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, checks: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let flaps = stream.local_addr()?.ip() == IpAddr::from([127, 0, 0, 2]);
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader)? {
        if head.upgrade {
            writer
                .write_all(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
            return io::copy(&mut reader, &mut writer).map(drop);
        }
        let is_check = flaps && head.path == "/health";
        let is_ill = is_check && checks.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let mut body = format!("{}\n", head.path).into_bytes();
        (&mut reader)
            .take(head.length.unwrap_or(0))
            .read_to_end(&mut body)?;
        let status = if is_ill { "503 Ill" } else { "200 OK" };
        let mut answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.append(&mut body);
        writer.write_all(&answer)?;
    }
    Ok(())
}

/// The next head; `None`: there is none. Bodies are expected with a length.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut head = Head::default();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            head.length = value.trim().parse().ok();
        }
        head.upgrade |= lower.starts_with("upgrade:");
        if head.path.is_empty() {
            line.split(' ').nth(1).unwrap_or("/").clone_into(&mut head.path);
        }
    }
    Ok(Some(head))
}
