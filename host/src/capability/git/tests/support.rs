//! Repositories to read, and the servers that have them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::capability::git::{CredentialSources, Git, GitConfig, GitError, Granted, Location, Ref, Refused, Source};
use crate::reach::{Pattern, Permits};

/// A repository `x.git`, with a work tree that pushes to it.
pub(in crate::capability::git) struct Upstream {
    root: tempfile::TempDir,
}

impl Upstream {
    /// With one commit on `master`.
    pub(in crate::capability::git) fn new() -> Self {
        let upstream = Self {
            root: tempfile::tempdir().unwrap(),
        };
        let (bare, work) = (upstream.bare(), upstream.work());
        git(
            upstream.root(),
            &["init", "-q", "--bare", "-b", "master", bare.to_str().unwrap()],
        );
        git(upstream.root(), &["init", "-q", "-b", "master", work.to_str().unwrap()]);
        git(&work, &["remote", "add", "origin", bare.to_str().unwrap()]);
        upstream.commit("first");
        upstream
    }

    pub(in crate::capability::git) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(in crate::capability::git) fn bare(&self) -> PathBuf {
        self.root().join("x.git")
    }

    pub(in crate::capability::git) fn work(&self) -> PathBuf {
        self.root().join("work")
    }

    pub(in crate::capability::git) fn git(&self, arguments: &[&str]) -> String {
        git(&self.work(), arguments)
    }

    /// Commit a file with this content and push it; returns the commit.
    pub(in crate::capability::git) fn commit(&self, content: &str) -> String {
        std::fs::write(self.work().join("file"), content).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", content]);
        self.push();
        self.git(&["rev-parse", "HEAD"])
    }

    /// Push all branches and tags, by force, and write what a dumb server needs.
    pub(in crate::capability::git) fn push(&self) {
        self.git(&[
            "push",
            "-q",
            "--force",
            "--prune",
            "origin",
            "refs/heads/*:refs/heads/*",
            "refs/tags/*:refs/tags/*",
        ]);
        git(&self.bare(), &["update-server-info"]);
    }
}

/// Bytes that don't compress (xorshift).
pub(in crate::capability::git) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state >> 56).unwrap()
    };
    std::iter::repeat_with(step).take(length).collect()
}

/// Run git without anybody's configuration.
pub(in crate::capability::git) fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = hermetic("git").current_dir(directory).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(in crate::capability::git) fn hermetic(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "A U Thor")
        .env("GIT_AUTHOR_EMAIL", "author@example.org")
        .env("GIT_COMMITTER_NAME", "C O Mitter")
        .env("GIT_COMMITTER_EMAIL", "committer@example.org")
        .env("GIT_AUTHOR_DATE", "2026-01-02T03:04:05Z")
        .env("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z");
    command
}

/// A service with its own cache, which asks nobody for credentials.
pub(in crate::capability::git) struct Service {
    pub(in crate::capability::git) git: Git,
    pub(in crate::capability::git) directory: tempfile::TempDir,
}

pub(in crate::capability::git) fn service() -> Service {
    service_with(|_| {})
}

pub(in crate::capability::git) fn service_with(change: impl FnOnce(&mut GitConfig)) -> Service {
    let mut config = GitConfig {
        refs_timeout: Duration::from_secs(20),
        checkout_timeout: Duration::from_secs(60),
        credentials: CredentialSources {
            netrc: None,
            git: None,
            environment: Vec::new(),
        },
        ..GitConfig::default()
    };
    change(&mut config);
    let directory = tempfile::tempdir().unwrap();
    Service {
        git: Git::new(directory.path(), config).unwrap(),
        directory,
    }
}

/// What a bot has that was granted this URL, and these patterns.
pub(in crate::capability::git) fn granted_beside(url: &str, more: &[&str]) -> Result<Granted, GitError> {
    let mut patterns: Vec<_> = more.iter().map(|text| text.parse().unwrap()).collect();
    patterns.push(Location::parse(url)?.pattern());
    Granted::check(url, &Permits::from(patterns.as_slice())).map_err(|refused| match refused {
        Refused::Bad(error) => error,
        Refused::NotGranted { .. } => panic!("{refused}"),
    })
}

/// What a bot has that was granted these patterns.
pub(in crate::capability::git) fn granted_by(url: &str, patterns: &[&str]) -> Granted {
    let patterns: Vec<Pattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
    Granted::check(url, &Permits::from(patterns.as_slice())).unwrap()
}

/// What a bot has that was granted this URL alone.
pub(in crate::capability::git) fn granted(url: &str) -> Granted {
    granted_beside(url, &[]).unwrap()
}

impl Service {
    pub(in crate::capability::git) async fn refs(&self, url: &str) -> Result<Vec<Ref>, GitError> {
        self.git.refs(&granted_beside(url, &[])?).await
    }

    /// Several at the same time, answered in order.
    pub(in crate::capability::git) async fn refs_of(&self, urls: &[String]) -> Vec<Result<Vec<Ref>, GitError>> {
        futures::future::join_all(urls.iter().map(|url| self.refs(url))).await
    }

    pub(in crate::capability::git) async fn checkout(
        &self,
        url: &str,
        branch: &str,
        commit: &str,
    ) -> Result<Source, GitError> {
        self.git.checkout(&granted_beside(url, &[])?, branch, commit).await
    }

    /// Check out, and return the content of `file`.
    pub(in crate::capability::git) async fn file(
        &self,
        url: &str,
        branch: &str,
        commit: &str,
    ) -> Result<String, GitError> {
        let source = self.checkout(url, branch, commit).await?;
        assert_eq!(source.info().id, commit);
        Ok(String::from_utf8(source.read("file")?.unwrap()).unwrap())
    }
}

/// A server that ends with the test.
pub(in crate::capability::git) struct Server {
    child: Child,
    pub(in crate::capability::git) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn started(mut command: Command, port: u16) -> Server {
    let server = Server {
        child: command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
        port,
    };
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "the server does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

/// `git daemon` over all repositories in a directory.
pub(in crate::capability::git) fn git_daemon(directory: &Path) -> Server {
    let port = free_port();
    // Not `git daemon`: that would leave its child behind when it is killed.
    let exec_path = git(directory, &["--exec-path"]);
    let mut command = hermetic(&format!("{exec_path}/git-daemon"));
    command.args([
        "--export-all",
        "--listen=127.0.0.1",
        &format!("--port={port}"),
        "--reuseaddr",
        "--informative-errors",
    ]);
    command
        .arg(format!("--base-path={}", directory.display()))
        .arg(directory);
    started(command, port)
}

/// A web server that only serves files: Python's.
pub(in crate::capability::git) fn file_server(directory: &Path) -> Server {
    let port = free_port();
    let mut command = Command::new("python3");
    command
        .args([
            "-m",
            "http.server",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--directory",
        ])
        .arg(directory);
    started(command, port)
}

/// An OpenSSH server, and the client's arguments that reach it.
pub(in crate::capability::git) struct SshServer {
    pub(in crate::capability::git) server: Server,
    pub(in crate::capability::git) arguments: Vec<String>,
    directory: tempfile::TempDir,
}

impl SshServer {
    /// None where no sshd is installed.
    pub(in crate::capability::git) fn start() -> Option<Self> {
        let program = ["/usr/sbin/sshd", "/usr/bin/sshd"]
            .into_iter()
            .find(|program| Path::new(program).exists())?;
        // As root, sshd wants this; its service makes it.
        let _ = std::fs::create_dir("/run/sshd");
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)])
                .status()
                .unwrap();
            assert!(made.success());
        }
        let port = free_port();
        let public = std::fs::read_to_string(at("host.pub")).unwrap();
        std::fs::write(at("known_hosts"), format!("[127.0.0.1]:{port} {public}")).unwrap();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PasswordAuthentication no\nPermitRootLogin yes\n",
            at("host"),
            at("user.pub"),
        );
        std::fs::write(at("sshd_config"), config).unwrap();
        let client = format!(
            "IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\n",
            at("user"),
            at("known_hosts")
        );
        std::fs::write(at("ssh_config"), client).unwrap();
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-f", &at("sshd_config")]);
        let arguments = vec!["-F".to_owned(), at("ssh_config")];
        Some(Self {
            server: started(command, port),
            arguments,
            directory,
        })
    }

    pub(in crate::capability::git) fn forget_host(&self) {
        std::fs::write(self.directory.path().join("known_hosts"), "").unwrap();
    }

    pub(in crate::capability::git) fn forget_user(&self) {
        std::fs::write(self.directory.path().join("user.pub"), "").unwrap();
    }
}

/// What a [`SmartServer`] does besides serving.
#[derive(Clone, Default)]
pub(in crate::capability::git) struct Manners {
    /// Ask for this user and password.
    pub(in crate::capability::git) login: Option<&'static str>,
    /// Redirect everything below `/old` to this prefix.
    pub(in crate::capability::git) redirect: Option<String>,
}

/// `git http-backend` behind a small web server.
pub(in crate::capability::git) struct SmartServer {
    pub(in crate::capability::git) port: u16,
    /// First lines of the requests, with the credentials that came with them.
    pub(in crate::capability::git) requests: Arc<Mutex<Vec<String>>>,
}

impl SmartServer {
    pub(in crate::capability::git) fn start(directory: &Path, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, directory) = (Arc::clone(&requests), directory.to_owned());
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, directory, manners) = (Arc::clone(&seen), directory.clone(), manners.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &directory, &manners, &seen));
            }
        });
        Self { port, requests }
    }
}

fn serve(stream: TcpStream, directory: &Path, manners: &Manners, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut words = first.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return;
    };
    let (mut length, mut content_type, mut authorization) = (0, String::new(), String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "content-type" => value.trim().clone_into(&mut content_type),
            "authorization" => value.trim().clone_into(&mut authorization),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    seen.lock().unwrap().push(format!("{} {authorization}", first.trim()));
    let answer = |stream: &mut TcpStream, text: String| {
        let _ = stream.write_all(text.as_bytes());
    };
    let below_old = target.strip_prefix("/old").filter(|rest| rest.starts_with('/'));
    if let (Some(prefix), Some(rest)) = (&manners.redirect, below_old) {
        let location = format!("{prefix}{rest}");
        return answer(
            &mut stream,
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        );
    }
    if manners
        .login
        .is_some_and(|login| authorization != format!("Basic {login}"))
    {
        let text = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return answer(&mut stream, text.to_owned());
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut backend = hermetic("git");
    backend
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", directory)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", content_type)
        .env("CONTENT_LENGTH", length.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut backend = backend.spawn().unwrap();
    backend.stdin.take().unwrap().write_all(&body).unwrap();
    let output = backend.wait_with_output().unwrap().stdout;
    let head_end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&output[..head_end]).into_owned();
    let status = head
        .lines()
        .find_map(|line| line.strip_prefix("Status: "))
        .unwrap_or("200 OK");
    let body = &output[head_end + 4..];
    answer(
        &mut stream,
        format!(
            "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        ),
    );
    let _ = stream.write_all(body);
}

/// TLS in front of a plain server, with a certificate of its own.
pub(in crate::capability::git) struct TlsServer {
    pub(in crate::capability::git) server: Server,
    pub(in crate::capability::git) certificate: PathBuf,
    _directory: tempfile::TempDir,
}

impl TlsServer {
    pub(in crate::capability::git) fn start(plain: u16) -> Self {
        const PROXY: &str = "
import socket, ssl, sys, threading
def copy(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass
def serve(raw):
    try:
        tls = context.wrap_socket(raw, server_side=True)
        plain = socket.create_connection(('127.0.0.1', int(sys.argv[2])))
    except OSError:
        return
    threading.Thread(target=copy, args=(tls, plain), daemon=True).start()
    copy(plain, tls)
    tls.close()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[3], sys.argv[4])
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
";
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = (
            directory.path().join("certificate.pem"),
            directory.path().join("key.pem"),
        );
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:false", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        let port = free_port();
        let mut command = Command::new("python3");
        command
            .args(["-c", PROXY, &port.to_string(), &plain.to_string()])
            .arg(&certificate)
            .arg(&key);
        Self {
            server: started(command, port),
            certificate,
            _directory: directory,
        }
    }
}
