//! Requests to a server on this machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use super::{Http, HttpError, Request, Response};
use crate::reach::{Network, Permits, WebPattern};

fn granted(patterns: &[&str]) -> Permits {
    let patterns: Vec<WebPattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
    Permits::from(patterns.as_slice())
}

fn http() -> Http {
    Http::new(Arc::default())
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

    fn pattern(&self) -> String {
        self.url("/*")
    }

    fn granted(&self) -> Permits {
        granted(&[&self.pattern()])
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
    let Response { status, headers, body } = http().send(&request, &server.granted()).unwrap();
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
    let http = http();
    let granted = granted(&["https://hooks.example.org/*"]);
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
    let granted = granted(&["http://*:1/*"]);
    let error = http().send(&get("http://localhost:1/"), &granted).unwrap_err();
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
    let granted = granted(&[&first.pattern(), &last.pattern()]);
    let response = http().send(&request, &granted).unwrap();
    assert_eq!(response.body, b"here");
    assert!(first.requests()[1].starts_with("GET /next "));
    assert!(!last.requests()[0].contains("secret"));
}

#[test]
fn a_redirect_that_is_not_granted_is_not_followed() {
    let server = Server::answering(vec![answer("302 Found", "Location: http://127.0.0.1:1/admin\r\n", "")]);
    let error = http().send(&get(&server.url("/")), &server.granted()).unwrap_err();
    assert_eq!(error, HttpError::NotGranted("http://127.0.0.1:1/admin".to_owned()));
}

#[test]
fn size_and_time_have_limits() {
    let body = "x".repeat(9 * 1024 * 1024);
    let server = Server::answering(vec![answer("200 OK", "", &body)]);
    let error = http().send(&get(&server.url("/")), &server.granted()).unwrap_err();
    assert_eq!(error, HttpError::TooLarge);

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", silent.local_addr().unwrap());
    let request = Request {
        timeout: Some(Duration::from_millis(300)),
        ..get(&address)
    };
    let error = http().send(&request, &granted(&[&format!("{address}*")])).unwrap_err();
    assert_eq!(error, HttpError::TimedOut);
}

#[test]
fn fields_of_the_connection_are_the_hosts() {
    let granted = granted(&["https://hooks.example.org/*"]);
    for name in ["Host", "content-length", "Transfer-Encoding", "bad name"] {
        let request = Request {
            headers: vec![(name.to_owned(), "x".to_owned())],
            ..get("https://hooks.example.org/")
        };
        let error = http().send(&request, &granted).unwrap_err();
        assert!(matches!(error, HttpError::BadRequest(_)), "{name}: {error:?}");
    }
}

#[test]
fn a_password_for_another_machine_goes_over_tls_or_where_the_operator_says_so() {
    let granted = granted(&["http://secrets.invalid/*"]);
    for name in ["Authorization", "Cookie"] {
        let request = Request {
            headers: vec![(name.to_owned(), "hush".to_owned())],
            ..get("http://secrets.invalid/")
        };
        let error = http().send(&request, &granted).unwrap_err();
        assert!(
            matches!(&error, HttpError::NotGranted(why) if why.contains("clear-text-hosts = [\"secrets.invalid\"]") && !why.contains("hush")),
            "{error:?}"
        );
        let network = Network {
            clear_text_hosts: vec!["secrets.invalid".parse().unwrap()],
            ..Network::default()
        };
        // The name resolves to nothing: it was tried.
        let error = Http::new(Arc::new(network)).send(&request, &granted).unwrap_err();
        assert!(matches!(error, HttpError::Unavailable(_)), "{error:?}");
    }
}
