//! Patterns, addresses, and requests to a server on this machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use url::Url;

use super::addresses::is_public;
use super::{Http, HttpError, HttpPattern, Request, Response};

fn pattern(text: &str) -> HttpPattern {
    text.parse().unwrap()
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

#[test]
fn a_pattern_compares_scheme_host_port_and_path_one_by_one() {
    let hooks = pattern("https://hooks.example.org/services/*");
    assert!(hooks.allows(&url("https://hooks.example.org/services/T0/B0?x=1")));
    assert!(hooks.allows(&url("https://HOOKS.example.org:443/services/x")));
    for other in [
        "http://hooks.example.org/services/x",
        "https://hooks.example.org/other",
        "https://hooks.example.org/services/../other",
        "https://hooks.example.org:8443/services/x",
        "https://hooks.example.org.evil.net/services/x",
        "https://evil.net/https://hooks.example.org/services/x",
        "https://evil.net/?https://hooks.example.org/services/",
    ] {
        assert!(!hooks.allows(&url(other)), "{other}");
    }
    let any = pattern("https://*.example.org");
    assert!(any.allows(&url("https://a.b.example.org/x")));
    assert!(!any.allows(&url("https://evil.net/.example.org")));
    assert!(!any.allows(&url("https://example.org/")));
    assert!(pattern("http://[::1]:80/*").allows(&url("http://[::1]/x")));
}

#[test]
fn what_is_no_pattern_says_why() {
    for (text, why) in [
        ("hooks.example.org", "https://"),
        ("ftp://example.org/", "https://"),
        ("https:///x", "no host"),
        ("https://example.org:x/", "not a port"),
        ("https://user@example.org/", "password"),
    ] {
        let error = text.parse::<HttpPattern>().unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn only_addresses_of_the_internet_are_public() {
    for public in ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"] {
        assert!(is_public(public.parse().unwrap()), "{public}");
    }
    for private in [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "198.18.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:db8::1",
    ] {
        assert!(!is_public(private.parse().unwrap()), "{private}");
    }
}

/// A server that answers each connection in turn; what it was sent comes back when it ends.
struct Server {
    port: u16,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Server {
    fn answering(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
                let length = head
                    .lines()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                reader.read_exact(&mut body).unwrap();
                requests.push(head + &String::from_utf8(body).unwrap());
                let _ = stream.write_all(answer.as_bytes());
            }
            requests
        });
        Self { port, thread }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn granted(&self) -> [HttpPattern; 1] {
        [pattern(&self.url("/*"))]
    }

    fn requests(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn get(url: &str) -> Request {
    Request {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: Some(Duration::from_secs(20)),
    }
}

#[test]
fn a_request_arrives_and_its_answer_comes_back() {
    let server = Server::answering(vec![answer("404 Not Found", "X-Say: hello\r\n", "nothing here")]);
    let request = Request {
        method: "POST".to_owned(),
        headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
        body: b"{\"text\":\"hi\"}".to_vec(),
        ..get(&server.url("/hook?token=1"))
    };
    let Response { status, headers, body } = Http::default().send(&request, &server.granted()).unwrap();
    assert_eq!((status, body.as_slice()), (404, &b"nothing here"[..]));
    assert!(
        headers.contains(&("x-say".to_owned(), "hello".to_owned())),
        "{headers:?}"
    );
    let requests = server.requests();
    assert!(
        requests[0].starts_with("POST /hook?token=1 HTTP/1.1\r\n"),
        "{requests:?}"
    );
    assert!(
        requests[0]
            .to_lowercase()
            .contains("content-type: application/json\r\n")
    );
    assert!(requests[0].ends_with("{\"text\":\"hi\"}"));
}

#[test]
fn what_is_not_granted_is_never_asked() {
    let http = Http::default();
    let granted = [pattern("https://hooks.example.org/*")];
    for target in ["https://example.com/", "http://127.0.0.1:1/", "file:///etc/passwd"] {
        let error = http.send(&get(target), &granted).unwrap_err();
        assert!(matches!(error, HttpError::NotGranted(_)), "{target}: {error:?}");
    }
    let error = http.send(&get("https://u:p@hooks.example.org/"), &granted).unwrap_err();
    assert!(matches!(error, HttpError::BadRequest(_)), "{error:?}");
}

#[test]
fn a_name_that_leads_to_this_machine_is_refused() {
    // The grant holds a star, so it names no private address on purpose; localhost resolves to one.
    let granted = [pattern("http://local*:1/*")];
    let error = Http::default().send(&get("http://localhost:1/"), &granted).unwrap_err();
    assert!(
        matches!(&error, HttpError::NotGranted(why) if why.contains("private address")),
        "{error:?}"
    );
}

#[test]
fn a_redirect_is_followed_if_it_is_granted_and_without_the_headers_for_another_server() {
    let last = Server::answering(vec![answer("200 OK", "", "here")]);
    let to = format!("Location: {}\r\n", last.url("/last"));
    let first = Server::answering(vec![
        answer("302 Found", "Location: /next\r\n", ""),
        answer("302 Found", &to, ""),
    ]);
    let request = Request {
        headers: vec![("Authorization".to_owned(), "Bearer secret".to_owned())],
        ..get(&first.url("/"))
    };
    let granted = [first.granted(), last.granted()].concat();
    let response = Http::default().send(&request, &granted).unwrap();
    assert_eq!(response.body, b"here");
    assert!(first.requests()[1].starts_with("GET /next "));
    assert!(!last.requests()[0].contains("secret"));
}

#[test]
fn a_redirect_that_is_not_granted_is_not_followed() {
    let server = Server::answering(vec![answer("302 Found", "Location: http://127.0.0.1:1/admin\r\n", "")]);
    let error = Http::default()
        .send(&get(&server.url("/")), &server.granted())
        .unwrap_err();
    assert_eq!(error, HttpError::NotGranted("http://127.0.0.1:1/admin".to_owned()));
}

#[test]
fn size_and_time_have_limits() {
    let body = "x".repeat(9 * 1024 * 1024);
    let server = Server::answering(vec![answer("200 OK", "", &body)]);
    let error = Http::default()
        .send(&get(&server.url("/")), &server.granted())
        .unwrap_err();
    assert_eq!(error, HttpError::TooLarge);

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", silent.local_addr().unwrap());
    let request = Request {
        timeout: Some(Duration::from_millis(300)),
        ..get(&address)
    };
    let error = Http::default()
        .send(&request, &[pattern(&format!("{address}*"))])
        .unwrap_err();
    assert_eq!(error, HttpError::TimedOut);
}

#[test]
fn fields_of_the_connection_are_the_hosts() {
    let granted = [pattern("https://hooks.example.org/*")];
    for name in ["Host", "content-length", "Transfer-Encoding", "bad name"] {
        let request = Request {
            headers: vec![(name.to_owned(), "x".to_owned())],
            ..get("https://hooks.example.org/")
        };
        let error = Http::default().send(&request, &granted).unwrap_err();
        assert!(matches!(error, HttpError::BadRequest(_)), "{name}: {error:?}");
    }
}
