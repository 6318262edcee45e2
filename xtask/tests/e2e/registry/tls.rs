//! Registries that are not on this machine's loopback: HTTPS alone, with the machine's own authorities and proxies.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::published::{self, DockerConfig, READERS, USER};
use super::redirects::redirect;
use super::token::{Login, Scopes, Tokens, openssl};
use crate::cloud::PLAIN_PASSWORD;
use crate::harness::{Registry, TempDir};

/// An address of this machine that is not loopback.
fn address() -> String {
    let output = Command::new("hostname").arg("-I").output().unwrap();
    let addresses = String::from_utf8(output.stdout).unwrap();
    let address = addresses.split_whitespace().find(|address| address.contains('.') && !address.starts_with("127."));
    let address = address.expect("this machine has an IPv4 address");
    let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
    format!("{address}:{port}")
}

/// A registry with a certificate of an authority that nobody else knows.
struct Secure {
    registry: Registry,
    authority: TempDir,
}

impl Secure {
    /// `more` is how its configuration ends.
    fn start(more: &str) -> Secure {
        let (authority, address) = (TempDir::new(), address());
        let host = address.split(':').next().unwrap();
        let folder = &authority.0;
        openssl(folder, "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -keyout ca.key -out ca.pem", b"");
        openssl(folder, "req -newkey rsa:2048 -nodes -subj /CN=registry -keyout server.key -out server.csr", b"");
        std::fs::write(folder.join("names"), format!("subjectAltName=IP:{host}\n")).unwrap();
        let sign =
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem";
        openssl(folder, sign, b"");
        let folder = folder.display();
        let tls = format!("  tls: {{certificate: \"{folder}/server.pem\", key: \"{folder}/server.key\"}}\n{more}");
        Secure { registry: Registry::configured(published::data(), &address, &tls), authority }
    }

    /// The file with the authority's certificate.
    fn bundle(&self) -> String {
        self.authority.0.join("ca.pem").to_str().unwrap().to_owned()
    }
}

/// No proxies and no authorities but those of the test.
const DIRECT: [(&str, &str); 9] = [
    ("HTTPS_PROXY", ""),
    ("https_proxy", ""),
    ("ALL_PROXY", ""),
    ("all_proxy", ""),
    ("NO_PROXY", ""),
    ("no_proxy", ""),
    ("CURL_CA_BUNDLE", ""),
    ("SSL_CERT_DIR", ""),
    ("SSL_CERT_FILE", ""),
];

#[test]
fn a_registry_elsewhere_is_read_by_https() {
    let (secure, tree) = (Secure::start(""), published::tree());
    let bundle = secure.bundle();
    let env = [&DIRECT[..], &[("SSL_CERT_FILE", &bundle)]].concat();
    for command in READERS {
        DockerConfig::empty().run_with(&tree, &secure.registry.address, command, &env).ended(0);
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let (secure, tree) = (Secure::start(""), published::tree());
    for command in READERS {
        let run = DockerConfig::empty().run_with(&tree, &secure.registry.address, command, &DIRECT).ended(4);
        assert!(run.errors().contains("certificate"), "{}", run.errors());
    }
}

#[test]
fn a_registry_elsewhere_is_never_read_by_plain_http() {
    let (address, tree) = (address(), published::tree());
    let registry = Registry::configured(published::data(), &address, "");
    assert!(registry.request("GET", "/v2/", &[]).is_some_and(|answer| answer.contains("200 OK")), "it does answer");
    for command in READERS {
        let run = DockerConfig::empty().run_with(&tree, &address, command, &DIRECT).ended(4);
        assert!(run.errors().contains(&address), "{}", run.errors());
    }
}

/// A proxy for HTTPS, which notes whom it is asked to connect to.
struct Tunnel {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    fn start() -> Tunnel {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        // It ends with the process: nothing but this thread holds the port.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                // Either side may hang up at any time.
                std::thread::spawn(move || drop(connect(stream, &seen)));
            }
        });
        Tunnel { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Connects a client with the server that it names, until one of them hangs up.
fn connect(client: TcpStream, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    seen.lock().unwrap().push(request.trim_end().to_owned());
    let Some(address) = request.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) else {
        return (&client).write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
    };
    let server = TcpStream::connect(address)?;
    (&client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from, to) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut &to);
        let _ = to.shutdown(Shutdown::Both);
    });
    std::io::copy(&mut reader, &mut &server)?;
    server.shutdown(Shutdown::Both)
}

#[test]
fn a_proxy_is_used_unless_the_registry_is_excepted() {
    let (secure, tree, tunnel) = (Secure::start(""), published::tree(), Tunnel::start());
    let (address, bundle) = (&secure.registry.address, secure.bundle());
    let host = address.split(':').next().unwrap();
    let with = |more: &[(&'static str, &str)]| {
        let own = [("SSL_CERT_FILE", bundle.as_str()), ("HTTPS_PROXY", &tunnel.url)];
        let direct = DIRECT.iter().copied().filter(|(name, _)| own.iter().chain(more).all(|(known, _)| known != name));
        let env: Vec<(&str, &str)> = direct.chain(own).chain(more.iter().copied()).collect();
        DockerConfig::empty().run_with(&tree, address, &["verify"], &env).ended(0);
    };
    with(&[]);
    let asked = tunnel.asked();
    assert!(!asked.is_empty(), "the proxy was not asked");
    assert!(asked.iter().all(|line| *line == format!("CONNECT {address} HTTP/1.1")), "{asked:?}");
    with(&[("NO_PROXY", host)]);
    assert_eq!(tunnel.asked(), asked, "the proxy was asked although the registry is excepted");
}

/// A server of plain HTTP on an address that is not loopback, for what nobody may ask there.
struct Plain {
    url: String,
    listener: TcpListener,
    /// Only for a certificate that registries can read.
    tokens: Tokens,
}

impl Plain {
    fn start() -> Plain {
        let address = address();
        let listener = TcpListener::bind(&address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let tokens = Tokens::start(Login::Anybody, Scopes::All, "token");
        Plain { url: format!("http://{address}"), listener, tokens }
    }

    /// The part of a registry's configuration with which it sends everybody here for tokens.
    fn tokens(&self) -> String {
        self.tokens.configuration().replace(&format!("http://{}", self.tokens.server.address), &self.url)
    }

    #[track_caller]
    fn assert_not_asked(&self) {
        assert!(self.listener.accept().is_err(), "{} was asked", self.url);
    }
}

#[test]
fn a_secure_registry_cannot_send_to_plain_http() {
    let plain = Plain::start();
    let (secure, tree) = (Secure::start(&redirect(&plain.url)), published::tree());
    let bundle = secure.bundle();
    let env = [&DIRECT[..], &[("SSL_CERT_FILE", &bundle)]].concat();
    DockerConfig::empty().run_with(&tree, &secure.registry.address, &["verify"], &env).ended(4);
    let secure = Secure::start(&plain.tokens());
    let bundle = secure.bundle();
    let env = [&DIRECT[..], &[("SSL_CERT_FILE", &bundle)]].concat();
    let docker = DockerConfig::with_password(&secure.registry.address, USER, PLAIN_PASSWORD.0);
    docker.run_with(&tree, &secure.registry.address, &["verify"], &env).ended(4);
    plain.assert_not_asked();
}

#[test]
fn a_registry_on_loopback_cannot_send_to_plain_http_elsewhere() {
    let plain = Plain::start();
    let tree = published::tree();
    let registry = published::registry(&redirect(&plain.url));
    DockerConfig::empty().run_with(&tree, &registry.address, &["verify"], &DIRECT).ended(4);
    plain.assert_not_asked();
}

#[test]
fn a_password_is_not_sent_by_plain_http_elsewhere() {
    let plain = Plain::start();
    let (registry, tree) = (published::registry(&plain.tokens()), published::tree());
    let docker = DockerConfig::with_password(&registry.address, USER, PLAIN_PASSWORD.0);
    docker.run_with(&tree, &registry.address, &["verify"], &DIRECT).ended(4);
    plain.assert_not_asked();
}
