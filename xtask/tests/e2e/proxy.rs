//! A server in front of a registry: it records every request, and lets a test answer in the registry's place.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What a connection by TLS begins with.
const TLS_HANDSHAKE: u8 = 0x16;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: Instant,
}

impl Request {
    pub fn post(headers: &[(&str, &str)], body: String) -> Request {
        let length = body.len().to_string();
        let headers = [headers, &[("Content-Length", &length)]].concat();
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Request { method: "POST".to_owned(), path: "/".to_owned(), headers, body: body.into(), at: Instant::now() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

/// What a request is answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Such as `200 OK`.
    pub status: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub end: End,
}

/// How the client gets to know where the body ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// By its length, which is told before.
    Length,
    /// By the end of the connection.
    Close,
    /// The connection ends before as much has come as was told.
    TooEarly,
    /// The connection ends, and there is no answer at all.
    Nothing,
}

impl Answer {
    pub fn new(status: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer { status: status.to_owned(), headers, body: body.into(), end: End::Length }
    }

    /// An error as registries word them.
    pub fn error(status: &str, headers: &[(&str, &str)], code: &str, message: &str) -> Answer {
        let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
        Answer::new(status, &[&[("Content-Type", "application/json")], headers].concat(), body.to_string())
    }

    /// No answer: the connection is closed.
    pub fn nothing() -> Answer {
        Answer { end: End::Nothing, ..Answer::new("", &[], "") }
    }

    /// Replaces a header.
    pub fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The server behind a proxy.
pub struct Upstream(pub String);

impl Upstream {
    /// Passes a request on.
    pub fn ask(&self, request: &Request) -> Answer {
        // What only reads is asked once more: on a machine at its limits, a connection may break off.
        let asked = self.try_ask(request);
        let is_read = matches!(request.method.as_str(), "GET" | "HEAD");
        let asked = asked.or_else(|error| if is_read { self.try_ask(request) } else { Err(error) });
        asked.unwrap_or_else(|error| Answer::new("502 Bad Gateway", &[], error.to_string()))
    }

    /// By HTTP/1.0, so that the answer is neither chunked nor followed by another.
    fn try_ask(&self, request: &Request) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(&self.0)?;
        write!(stream, "{} {} HTTP/1.0\r\n", request.method, request.path)?;
        for (name, value) in request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection")) {
            write!(stream, "{name}: {value}\r\n")?;
        }
        stream.write_all(b"\r\n")?;
        stream.write_all(&request.body)?;
        let mut reader = BufReader::new(stream);
        let (line, headers) = head(&mut reader)?;
        let status = line.split_once(' ').map_or("", |(_, status)| status).to_owned();
        let mut body = Vec::new();
        reader.read_to_end(&mut body)?;
        Ok(Answer { status, headers, body, end: End::Length })
    }
}

/// A proxy on a free port of this machine.
pub struct Proxy {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    /// Answers each request as `hook` says, which may ask the server behind.
    pub fn start(upstream: &str, hook: impl Fn(&Request, &Upstream) -> Answer + Send + Sync + 'static) -> Proxy {
        Proxy::on("127.0.0.1", upstream, hook)
    }

    /// The same on another address of this machine.
    pub fn on(
        host: &str,
        upstream: &str,
        hook: impl Fn(&Request, &Upstream) -> Answer + Send + Sync + 'static,
    ) -> Proxy {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, server) = (Arc::clone(&requests), Arc::new((Upstream(upstream.to_owned()), hook)));
        // It ends with the process: nothing but this thread holds the port.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, server) = (Arc::clone(&seen), Arc::clone(&server));
                // The client may hang up at any time.
                std::thread::spawn(move || drop(serve(&stream, &seen, |request| server.1(request, &server.0))));
            }
        });
        Proxy { address, requests }
    }

    /// Passes everything on.
    pub fn recording(upstream: &str) -> Proxy {
        Proxy::start(upstream, |request, upstream| upstream.ask(request))
    }

    /// A server of its own.
    pub fn server(hook: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Proxy {
        Proxy::start("", move |request, _| hook(request))
    }

    /// What has been asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// Answers the requests of one connection.
fn serve(
    mut stream: &TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: impl Fn(&Request) -> Answer,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    // Engines try TLS first, and plain HTTP where the answer is of that.
    if reader.fill_buf()?.first() == Some(&TLS_HANDSHAKE) {
        return stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nthis is HTTP");
    }
    loop {
        let (line, headers) = head(&mut reader)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut request = Request { method, path, headers, body: Vec::new(), at: Instant::now() };
        read_body(&mut reader, &mut request)?;
        seen.lock().unwrap().push(request.clone());
        let answer = answer(&request);
        if answer.end == End::Nothing {
            return Ok(());
        }
        send(&mut stream, &request, &answer)?;
        // Who asks by HTTP/1.0, as an `Upstream` does, waits for the end of the connection.
        if answer.end != End::Length || line.ends_with("HTTP/1.0") {
            return Ok(());
        }
    }
}

/// Reads what comes after a request's head; of a body in chunks, it notes the length.
fn read_body(reader: &mut impl BufRead, request: &mut Request) -> std::io::Result<()> {
    if request.header("transfer-encoding").is_none_or(|encoding| encoding != "chunked") {
        request.body = vec![0; request.header("content-length").map_or(0, |length| length.parse().unwrap())];
        return reader.read_exact(&mut request.body);
    }
    loop {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let size = u64::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
        reader.by_ref().take(size).read_to_end(&mut request.body)?;
        reader.read_line(&mut String::new())?;
        if size == 0 {
            break;
        }
    }
    request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("transfer-encoding"));
    request.headers.push(("Content-Length".to_owned(), request.body.len().to_string()));
    Ok(())
}

fn send(stream: &mut impl Write, request: &Request, answer: &Answer) -> std::io::Result<()> {
    let is_head = request.method == "HEAD";
    let mut text = format!("HTTP/1.1 {}\r\n", answer.status);
    for (name, value) in &answer.headers {
        let ours = ["connection", "transfer-encoding"].iter().any(|known| name.eq_ignore_ascii_case(known))
            || !is_head && name.eq_ignore_ascii_case("content-length");
        if !ours {
            text += &format!("{name}: {value}\r\n");
        }
    }
    text += &match (is_head, answer.end) {
        (true, _) | (_, End::Nothing) => String::new(),
        (false, End::Length) => format!("Content-Length: {}\r\n", answer.body.len()),
        (false, End::TooEarly) => format!("Content-Length: {}\r\n", answer.body.len() + 10),
        (false, End::Close) => "Connection: close\r\n".to_owned(),
    };
    stream.write_all(format!("{text}\r\n").as_bytes())?;
    if !is_head {
        stream.write_all(&answer.body)?;
    }
    stream.flush()
}

/// The first line and the headers of a request or an answer; an error at the end of the connection.
fn head(reader: &mut impl BufRead) -> std::io::Result<(String, Vec<(String, String)>)> {
    let mut line = || {
        let mut line = String::new();
        match reader.read_line(&mut line)? {
            0 => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
            _ => Ok(line.trim_end().to_owned()),
        }
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { return Ok((first, headers)) };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}
