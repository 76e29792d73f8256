//! A tiny HTTP server on a real socket that answers as it is told, connection by connection.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

/// What to do with one request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Answer with status and body.
    Answer(u16, &'static str),
    /// Answer with a status and the place to go to.
    Redirect(u16, &'static str),
    /// Answer with a stream that breaks off after these bytes.
    Cut(&'static str),
    /// Read the head and close.
    Hang,
}

/// A server that plays its acts, one per connection, and keeps what it was sent.
pub(crate) struct Script {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Script {
    pub(crate) fn play(acts: Vec<Act>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a port"), acts)
    }

    pub(crate) fn on(listener: TcpListener, acts: Vec<Act>) -> Self {
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            for act in acts {
                let (stream, _) = listener.accept().expect("a connection");
                let request = serve(stream, &act);
                kept.lock().expect("the list").push(request);
            }
        });
        Self { address, seen, thread: Some(thread) }
    }

    /// Waits until every act was played.
    pub(crate) fn requests(mut self) -> Vec<String> {
        self.thread.take().expect("not waited for yet").join().expect("the server ran to its end");
        let seen = self.seen.lock().expect("the list");
        seen.clone()
    }
}

fn serve(mut stream: TcpStream, act: &Act) -> String {
    let mut request = Vec::new();
    let mut buffer = [0u8; 4096];
    // Small requests only: a head, and a chunked or counted body that ends with the last piece.
    loop {
        let got = stream.read(&mut buffer).unwrap_or(0);
        request.extend_from_slice(&buffer[..got]);
        if got == 0 || is_whole(&request) {
            break;
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    match act {
        Act::Hang => {}
        Act::Answer(status, body) => {
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + body).as_bytes());
        }
        Act::Redirect(status, place) => {
            let head =
                format!("HTTP/1.1 {status} X\r\nlocation: {place}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        }
        Act::Cut(body) => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(format!("{head}{:x}\r\n{body}\r\n", body.len()).as_bytes());
        }
    }
    text
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length =
        head.lines().find_map(|it| it.strip_prefix("content-length: ")).and_then(|it| it.parse().ok()).unwrap_or(0);
    body.len() >= length
}
